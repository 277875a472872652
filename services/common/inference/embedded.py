"""Runs the models of the repository on ONNX Runtime in this process."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from math import ceil
from typing import cast

import numpy as np
import onnxruntime
import structlog

from services.common import errors, metrics
from services.common.inference import Arrays, ModelInfo, Next
from services.common.inference.repository import ModelFolder, Repository

log = structlog.get_logger()

_Outputs = dict[str, np.ndarray]
_Shape = tuple[tuple[str, np.dtype, tuple[int, ...]], ...]


@dataclass(frozen=True)
class _Following:
    """A model that goes on in the same run, what it is handed, and the shape of what it is given
    besides."""

    model: "_Model"
    handed: tuple[str, ...]
    shape: _Shape


@dataclass(frozen=True, eq=False)
class _Call:
    """Inputs that wait for some outputs, how many they are, and what they may be joined with."""

    inputs: Arrays
    outputs: tuple[str, ...]
    count: int
    shape: _Shape
    following: _Following | None
    besides: Arrays
    future: asyncio.Future[_Outputs] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def joins(self, other: "_Call") -> bool:
        """Whether one run can serve both."""
        return (self.shape, self.outputs, self.following) == (
            other.shape,
            other.outputs,
            other.following,
        )

    def end(self, outcome: _Outputs | Exception) -> None:
        """Hands the outcome to whoever waits, unless they left."""
        if self.future.done():
            return
        if isinstance(outcome, Exception):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome)


class EmbeddedInference:
    """Inference in process; concurrent calls of equal shape for the same outputs run as one batch.

    Batching follows the model's config.pbtxt as Triton's does: only where `dynamic_batching` is
    given, up to `max_batch_size`. While a batch runs, later calls gather, so a lone call never
    waits for others. Where the model has a parameter `run_tokens`, a batch is of no more rows than
    have so many tokens together: beyond that it takes memory and is no faster. A model whose
    `instance_group` counts several, as far as there are threads, runs as many batches at once, each
    on its share of the threads: a net of many small operators gains more by that than by threads
    within each. Models of one instance take turns. A model that goes on from another runs right
    after it, for the same batch.
    """

    def __init__(self, repository: Repository, threads: int) -> None:
        self._repository = repository
        self._threads = threads
        self._in_turn = ThreadPoolExecutor(1, thread_name_prefix="inference")
        self._at_once = ThreadPoolExecutor(threads, thread_name_prefix="instances")
        self._models: dict[str, _Model] = {}

    async def load(self, *models: str) -> None:
        for name in models:
            self._model(name)

    async def infer(
        self,
        model: str,
        inputs: Arrays,
        outputs: tuple[str, ...] = (),
        then: Next | None = None,
    ) -> dict[str, np.ndarray]:
        if then is None:
            return await self._model(model).infer(inputs, outputs, None, {})
        last = self._model(then.model)
        following = _Following(last, then.handed(last.inputs), _item_shape(then.inputs))
        return await self._model(model).infer(inputs, outputs, following, then.inputs)

    def info(self, model: str) -> ModelInfo:
        return self._repository[model].info

    async def ready(self) -> bool:
        return True

    async def close(self) -> None:
        self._in_turn.shutdown(cancel_futures=True)
        self._at_once.shutdown(cancel_futures=True)

    def _model(self, name: str) -> "_Model":
        if name not in self._models:
            folder = self._repository[name]
            instances = min(
                sum(group.count for group in folder.config.instance_group), self._threads
            )
            executor = self._at_once if instances > 1 else self._in_turn
            self._models[name] = _Model(folder, executor, max(instances, 1), self._threads)
        return self._models[name]


class _Model:
    """One session, its instances, and the calls waiting for them."""

    def __init__(
        self, folder: ModelFolder, executor: ThreadPoolExecutor, instances: int, threads: int
    ) -> None:
        _share_memory()
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.use_env_allocators", "1")
        options.intra_op_num_threads = threads // instances
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            str(folder.weights), options, providers=["CPUExecutionProvider"]
        )
        self._name = folder.info.name
        self.inputs = tuple(tensor.name for tensor in self._session.get_inputs())
        self._outputs = tuple(tensor.name for tensor in self._session.get_outputs())
        self._executor = executor
        batched = folder.config.HasField("dynamic_batching")
        self._max_batch = folder.config.max_batch_size if batched else 1
        self._run_tokens = int(folder.info.parameters.get("run_tokens", 0))
        self._waiting: list[_Call] = []
        self._instances = instances
        self._idle = instances
        self._workers: set[asyncio.Task[None]] = set()

    async def infer(
        self,
        inputs: Arrays,
        outputs: tuple[str, ...],
        following: _Following | None,
        besides: Arrays,
    ) -> _Outputs:
        handed = following.handed if following else ()
        wanted = outputs or tuple(name for name in self._outputs if name not in handed)
        shape = _item_shape(inputs)
        call = _Call(inputs, wanted, _count(inputs), shape, following, besides)
        self._waiting.append(call)
        if len(self._workers) < self._instances:
            self._workers.add(asyncio.create_task(self._work()))
        try:
            return await call.future
        except errors.Unavailable:
            raise
        except Exception as error:
            log.exception("model failed", model=self._name)
            raise errors.Internal() from error

    async def _work(self) -> None:
        """One instance at work until no call waits."""
        loop = asyncio.get_running_loop()
        try:
            while calls := self._next_batch():
                self._idle -= 1
                try:
                    outcomes = await loop.run_in_executor(self._executor, self._run, calls)
                except (RuntimeError, asyncio.CancelledError):
                    stopping = errors.Unavailable(
                        "The service is stopping.", suggestion="Try again."
                    )
                    outcomes = [stopping] * len(calls)
                finally:
                    self._idle += 1
                for call, outcome in zip(calls, outcomes, strict=True):
                    call.end(outcome)
        finally:
            self._workers.remove(cast("asyncio.Task[None]", asyncio.current_task()))

    def _next_batch(self) -> list[_Call]:
        """Takes the oldest call and those that join it, as far as the batch goes and no more than
        leaves the other idle instances their share."""
        self._waiting = [call for call in self._waiting if not call.future.cancelled()]
        share = ceil(sum(call.count for call in self._waiting) / self._idle)
        most = min(self._max_batch, share)
        if self._run_tokens and self._waiting:
            _, _, (length, *_) = self._waiting[0].shape[0]
            most = min(most, self._run_tokens // length)
        taken: list[_Call] = []
        left: list[_Call] = []
        size = 0
        for call in self._waiting:
            if not taken or (call.joins(taken[0]) and size + call.count <= most):
                taken.append(call)
                size += call.count
            else:
                left.append(call)
        self._waiting = left
        return taken

    def _run(self, calls: list[_Call]) -> list[_Outputs | Exception]:
        """The outcome of each call; a batch that fails is run again call by call."""
        try:
            return [*self._run_batch(calls)]
        except Exception as error:
            if len(calls) > 1:
                return [outcome for call in calls for outcome in self._run([call])]
            return [error]

    def _run_batch(self, calls: list[_Call]) -> list[_Outputs]:
        counts, first = [call.count for call in calls], calls[0]
        inputs = _joined([call.inputs for call in calls])
        if first.following is None:
            outputs = self._run_once(inputs, first.outputs, sum(counts))
        else:
            last, handed = first.following.model, first.following.handed
            names = tuple(dict.fromkeys(first.outputs + handed))
            made = self._run_once(inputs, names, sum(counts))
            given = {name: made[name] for name in handed}
            besides = _joined([call.besides for call in calls])
            outputs = {name: made[name] for name in first.outputs}
            outputs |= last._run_once({**given, **besides}, last._outputs, sum(counts))
        if len(calls) == 1:
            return [outputs]
        places = np.cumsum(counts)[:-1]
        parts = [np.split(output, places) for output in outputs.values()]
        return [dict(zip(outputs, part, strict=True)) for part in zip(*parts, strict=True)]

    def _run_once(self, inputs: Arrays, names: tuple[str, ...], count: int) -> _Outputs:
        metrics.MODEL_BATCH_SIZE.labels(self._name).observe(count)
        with metrics.MODEL_SECONDS.labels(self._name).time():
            return dict(zip(names, self._session.run(names, dict(inputs)), strict=True))


def _joined(inputs: list[Arrays]) -> Arrays:
    if len(inputs) == 1:
        return inputs[0]
    return {name: np.concatenate([one[name] for one in inputs]) for name in inputs[0]}


@cache
def _share_memory() -> None:
    """Has all models of this process work in the same memory; each would keep as much for itself as
    its largest batch ever took."""
    memory = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    onnxruntime.create_and_register_allocator(memory, onnxruntime.OrtArenaCfg({}))


def _count(inputs: Arrays) -> int:
    first = next(iter(inputs.values()), None)
    return int(first.shape[0]) if first is not None and first.ndim else 1


def _item_shape(inputs: Arrays) -> _Shape:
    return tuple((name, array.dtype, array.shape[1:]) for name, array in sorted(inputs.items()))
