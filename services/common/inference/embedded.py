"""Runs the models of the repository on ONNX Runtime in this process."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime

from services.common import metrics
from services.common.inference import Arrays, ModelInfo
from services.common.inference.repository import ModelFolder, Repository

_Waiting = tuple[Arrays, asyncio.Future[dict[str, np.ndarray]]]


class EmbeddedInference:
    """Inference in process; concurrent calls of equal shape are run as one batch.

    Batching follows the model's config.pbtxt as Triton's does: only where `dynamic_batching` is
    given, up to `max_batch_size`. While a batch runs, later calls gather, so a lone call never
    waits for others.
    """

    def __init__(self, repository: Repository, threads: int) -> None:
        self._repository = repository
        self._threads = threads
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="inference")
        self._models: dict[str, _Model] = {}

    async def load(self, *models: str) -> None:
        for name in models:
            self._model(name)

    async def infer(self, model: str, inputs: Arrays) -> dict[str, np.ndarray]:
        return await self._model(model).infer(inputs)

    def info(self, model: str) -> ModelInfo:
        return self._repository[model].info

    async def close(self) -> None:
        self._executor.shutdown(cancel_futures=True)

    def _model(self, name: str) -> "_Model":
        if name not in self._models:
            self._models[name] = _Model(self._repository[name], self._executor, self._threads)
        return self._models[name]


class _Model:
    """One session and the calls waiting for it."""

    def __init__(self, folder: ModelFolder, executor: ThreadPoolExecutor, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            str(folder.weights), options, providers=["CPUExecutionProvider"]
        )
        self._name = folder.info.name
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._executor = executor
        batched = folder.config.HasField("dynamic_batching")
        self._max_batch = folder.config.max_batch_size if batched else 1
        self._waiting: list[_Waiting] = []
        self._worker: asyncio.Task[None] | None = None

    async def infer(self, inputs: Arrays) -> dict[str, np.ndarray]:
        future: asyncio.Future[dict[str, np.ndarray]] = asyncio.get_running_loop().create_future()
        self._waiting.append((inputs, future))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            calls = self._next_batch()
            if not calls:
                return
            try:
                results = await loop.run_in_executor(
                    self._executor, self._run, [inputs for inputs, _ in calls]
                )
            except Exception as error:  # handed to the callers, whose interceptor logs it
                for _, future in calls:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), result in zip(calls, results, strict=True):
                if not future.done():
                    future.set_result(result)

    def _next_batch(self) -> list[_Waiting]:
        """Takes the oldest call and the calls of its shape, as far as the batch goes."""
        self._waiting = [call for call in self._waiting if not call[1].cancelled()]
        if not self._waiting:
            return []
        shape = _item_shape(self._waiting[0][0])
        taken: list[_Waiting] = []
        left: list[_Waiting] = []
        size = 0
        for call in self._waiting:
            count = _count(call[0])
            if (not taken or size + count <= self._max_batch) and _item_shape(call[0]) == shape:
                taken.append(call)
                size += count
            else:
                left.append(call)
        self._waiting = left
        return taken

    def _run(self, calls: list[Arrays]) -> list[dict[str, np.ndarray]]:
        metrics.MODEL_BATCH_SIZE.labels(self._name).observe(sum(map(_count, calls)))
        with metrics.MODEL_SECONDS.labels(self._name).time():
            return self._run_batch(calls)

    def _run_batch(self, calls: list[Arrays]) -> list[dict[str, np.ndarray]]:
        if len(calls) == 1:
            outputs = self._session.run(self._outputs, dict(calls[0]))
            return [dict(zip(self._outputs, outputs, strict=True))]
        joined = {name: np.concatenate([call[name] for call in calls]) for name in calls[0]}
        outputs = self._session.run(self._outputs, joined)
        ends = np.cumsum([_count(call) for call in calls])[:-1]
        parts = [np.split(output, ends) for output in outputs]
        return [dict(zip(self._outputs, part, strict=True)) for part in zip(*parts, strict=True)]


def _count(inputs: Mapping[str, np.ndarray]) -> int:
    first = next(iter(inputs.values()))
    return int(first.shape[0]) if first.ndim else 1


def _item_shape(inputs: Mapping[str, np.ndarray]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return tuple((name, array.shape[1:]) for name, array in sorted(inputs.items()))
