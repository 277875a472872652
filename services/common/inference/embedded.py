"""Runs the models of the repository on ONNX Runtime in this process."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import onnxruntime
import structlog

from services.common import errors, metrics
from services.common.inference import Arrays, ModelInfo
from services.common.inference.repository import ModelFolder, Repository

log = structlog.get_logger()

_Outputs = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class _Call:
    """Inputs that wait for their outputs, how many they are, and what they may be joined with."""

    inputs: Arrays
    count: int
    shape: tuple[tuple[str, np.dtype, tuple[int, ...]], ...]
    future: asyncio.Future[_Outputs] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


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

    async def ready(self) -> bool:
        return True

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
        self._waiting: list[_Call] = []
        self._worker: asyncio.Task[None] | None = None

    async def infer(self, inputs: Arrays) -> _Outputs:
        call = _Call(inputs, _count(inputs), _item_shape(inputs))
        self._waiting.append(call)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        try:
            return await call.future
        except errors.Unavailable:
            raise
        except Exception as error:
            log.exception("model failed", model=self._name)
            raise errors.Internal() from error

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while calls := self._next_batch():
            inputs = [call.inputs for call in calls]
            try:
                outcomes = await loop.run_in_executor(self._executor, self._run, inputs)
            except (RuntimeError, asyncio.CancelledError):
                stopping = errors.Unavailable("The service is stopping.", suggestion="Try again.")
                outcomes = [stopping] * len(calls)
            for call, outcome in zip(calls, outcomes, strict=True):
                if call.future.done():
                    continue
                if isinstance(outcome, Exception):
                    call.future.set_exception(outcome)
                else:
                    call.future.set_result(outcome)

    def _next_batch(self) -> list[_Call]:
        """Takes the oldest call and the calls of its shape, as far as the batch goes."""
        self._waiting = [call for call in self._waiting if not call.future.cancelled()]
        taken: list[_Call] = []
        left: list[_Call] = []
        size = 0
        for call in self._waiting:
            if not taken or (call.shape == taken[0].shape and size + call.count <= self._max_batch):
                taken.append(call)
                size += call.count
            else:
                left.append(call)
        self._waiting = left
        return taken

    def _run(self, calls: list[Arrays]) -> list[_Outputs | Exception]:
        """The outcome of each call; a batch that fails is run again call by call."""
        try:
            return [*self._run_batch(calls)]
        except Exception as error:
            if len(calls) > 1:
                return [outcome for call in calls for outcome in self._run([call])]
            return [error]

    def _run_batch(self, calls: list[Arrays]) -> list[_Outputs]:
        metrics.MODEL_BATCH_SIZE.labels(self._name).observe(sum(map(_count, calls)))
        with metrics.MODEL_SECONDS.labels(self._name).time():
            if len(calls) == 1:
                outputs = self._session.run(self._outputs, dict(calls[0]))
                return [dict(zip(self._outputs, outputs, strict=True))]
            joined = {name: np.concatenate([call[name] for call in calls]) for name in calls[0]}
            outputs = self._session.run(self._outputs, joined)
        ends = np.cumsum([_count(call) for call in calls])[:-1]
        parts = [np.split(output, ends) for output in outputs]
        return [dict(zip(self._outputs, part, strict=True)) for part in zip(*parts, strict=True)]


def _count(inputs: Arrays) -> int:
    first = next(iter(inputs.values()), None)
    return int(first.shape[0]) if first is not None and first.ndim else 1


def _item_shape(inputs: Arrays) -> tuple[tuple[str, np.dtype, tuple[int, ...]], ...]:
    return tuple((name, array.dtype, array.shape[1:]) for name, array in sorted(inputs.items()))
