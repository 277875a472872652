"""Runs the models on NVIDIA Triton, which batches."""

import asyncio
import math
import random
import time
from collections import defaultdict

import numpy as np
import structlog
from tritonclient.grpc import InferInput, InferRequestedOutput, InferResult
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from services.common import errors, metrics
from services.common.inference import Arrays, ModelInfo, Next, ensembles
from services.common.inference.breaker import Breaker, RetryBudget, State
from services.common.inference.repository import DIGEST, Repository

RETRIES = 2
FIRST_BACKOFF_S = 0.05
PROBE_TIMEOUT_S = 2.0
"""Of a probe, and of the call that tries whether a model is back."""
QUIET_S = 5.0
"""A model that answered within this time needs no probe."""

_CHANNEL = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
)

_OUR_FAULT = frozenset({"StatusCode.INVALID_ARGUMENT", "StatusCode.UNIMPLEMENTED"})
_LATE = "StatusCode.DEADLINE_EXCEEDED"

log = structlog.get_logger()


class TritonInference:
    """Inference over the KServe v2 protocol; what is known of a model comes from the repository.

    Every call has a deadline. A model run changes nothing, so a call that failed, other than by
    its deadline, is made again, twice at most and within a budget of all calls. A model that failed
    three times in a row is not asked any more for a while; then one call tries it. A model that
    goes on from another is called with it where Triton has the ensemble of both.
    """

    def __init__(self, repository: Repository, url: str, timeout_s: float = 10.0) -> None:
        self._repository = repository
        self._client = InferenceServerClient(url, channel_args=_CHANNEL)
        self._timeout_s = timeout_s
        self._breakers: dict[str, Breaker] = defaultdict(Breaker)
        self._budget = RetryBudget()
        self._loaded: set[str] = set()
        self._pairs = ensembles.pairs(repository)
        self._ensembles: set[str] = set()

    async def load(self, *models: str) -> None:
        """Makes sure that Triton has these models, with the weights of the repository, and that
        each answers. Raises Unavailable naming the model that does not."""
        for model in models:
            await self._compare(model)
            if not await self._probe(model, self._timeout_s):
                raise errors.Unavailable(
                    f"Triton has the model {model}, which does not answer.",
                    suggestion="Read Triton's log.",
                )
            self._loaded.add(model)
        await self._look_for_ensembles(self._loaded)

    async def infer(
        self,
        model: str,
        inputs: Arrays,
        outputs: tuple[str, ...] = (),
        then: Next | None = None,
    ) -> dict[str, np.ndarray]:
        if then is None:
            return await self._infer(model, inputs, outputs)
        handed = then.handed(self._repository[then.model].inputs)
        every = self._repository[model].outputs
        wanted = outputs or tuple(name for name in every if name not in handed)
        ensemble = ensembles.name(model, then.model)
        if ensemble in self._ensembles and not set(wanted).intersection(handed):
            asked = wanted + self._repository[then.model].outputs
            try:
                return await self._infer(ensemble, {**inputs, **then.inputs}, asked)
            except errors.Unavailable as error:
                self._ensembles.discard(ensemble)
                if _was_late(error):
                    raise
        made = await self._infer(model, inputs, tuple(dict.fromkeys(wanted + handed)))
        given = {name: made[name] for name in handed}
        last = await self._infer(then.model, {**given, **then.inputs}, ())
        return {name: made[name] for name in wanted} | last

    async def _infer(
        self, model: str, inputs: Arrays, outputs: tuple[str, ...]
    ) -> dict[str, np.ndarray]:
        breaker = self._breakers[model]
        if not breaker.lets_through():
            raise _unavailable(model, "It has failed repeatedly.", breaker.retry_after_s)
        trying = breaker.state is State.HALF_OPEN
        timeout_s = min(PROBE_TIMEOUT_S, self._timeout_s) if trying else self._timeout_s
        try:
            with metrics.MODEL_SECONDS.labels(model).time():
                retries = 0 if trying else RETRIES
                found = await self._ask(model, inputs, outputs, timeout_s, retries)
        except InferenceServerException as error:
            if error.status() in _OUR_FAULT:
                breaker.succeeded()
                log.error("model refused its input", model=model, problem=error.message())
                raise errors.Internal() from error
            breaker.failed()
            raise _unavailable(model, str(error.message()), breaker.retry_after_s) from error
        except BaseException:
            breaker.withdrawn()
            raise
        breaker.succeeded()
        return found

    def info(self, model: str) -> ModelInfo:
        return self._repository[model].info

    async def ready(self) -> bool:
        """Whether every loaded model answers; one that did lately is not asked."""
        quiet = [model for model in self._loaded if self._breakers[model].quiet_s > QUIET_S]
        found = await asyncio.gather(*(self._probe(model, PROBE_TIMEOUT_S) for model in quiet))
        answering = {*self._loaded.difference(quiet)}
        answering.update(model for model, answers in zip(quiet, found, strict=True) if answers)
        for model in self._loaded:
            metrics.MODEL_READY.labels(model).set(model in answering)
        await self._look_for_ensembles(answering)
        return answering == self._loaded

    async def close(self) -> None:
        await self._client.close()

    async def _look_for_ensembles(self, answering: set[str]) -> None:
        """Notes which ensembles of models that answer Triton has."""
        for first, then in self._pairs:
            ensemble = ensembles.name(first, then)
            if ensemble not in self._ensembles and {first, then} <= answering:
                try:
                    if await self._client.is_model_ready(ensemble, client_timeout=PROBE_TIMEOUT_S):
                        self._ensembles.add(ensemble)
                except InferenceServerException as error:
                    log.debug("no ensemble", model=ensemble, problem=str(error.message()))

    async def _ask(
        self,
        model: str,
        inputs: Arrays,
        outputs: tuple[str, ...],
        timeout_s: float,
        retries: int,
    ) -> dict[str, np.ndarray]:
        deadline = time.monotonic() + timeout_s
        tensors = [_input(name, array) for name, array in inputs.items()]
        wanted = [InferRequestedOutput(name) for name in outputs] or None
        self._budget.count()
        for attempt in range(retries + 1):
            left_s = deadline - time.monotonic()
            try:
                return _outputs(
                    await self._client.infer(
                        model, tensors, outputs=wanted, client_timeout=max(left_s, 0.001)
                    )
                )
            except InferenceServerException as error:
                backoff_s = FIRST_BACKOFF_S * 2**attempt * random.uniform(0.5, 1.5)  # noqa: S311
                last = attempt == retries or error.status() in {*_OUR_FAULT, _LATE}
                if last or backoff_s >= left_s or not self._budget.spend():
                    raise
            await asyncio.sleep(backoff_s)
        raise AssertionError("the last attempt returns or raises")

    async def _probe(self, model: str, timeout_s: float) -> bool:
        """Runs the model on an example: one that Triton calls ready may still fail every request,
        or answer with empty arrays."""
        breaker = self._breakers[model]
        folder = self._repository[model]
        try:
            found = await self._ask(model, folder.example(), (), timeout_s, 0)
        except InferenceServerException as error:
            log.warning("model does not answer", model=model, problem=str(error.message()))
            breaker.failed()
            return False
        whole = found.keys() == set(folder.outputs) and all(
            array.size and np.isfinite(array).all() for array in found.values()
        )
        if not whole:
            log.error("model answers without its outputs", model=model, outputs=sorted(found))
        breaker.succeeded() if whole else breaker.failed()
        return whole

    async def _compare(self, model: str) -> None:
        """Raises Unavailable where Triton lacks the model, or says that it has other weights."""
        try:
            found = await self._client.get_model_config(model, client_timeout=self._timeout_s)
        except InferenceServerException as error:
            raise errors.Unavailable(
                f"Triton does not serve the model {model}: {error.message()}",
                suggestion="Look at AFFECTMESH_TRITON_URL and at the model repository of Triton.",
            ) from error
        ours = self._repository[model]
        theirs = found.config.parameters[DIGEST].string_value
        if not theirs:
            log.warning("the digest of the model on Triton is not known", model=model)
        elif theirs != ours.info.digest:
            raise errors.Unavailable(
                f"Triton serves other weights of {model} than the model repository holds: "
                f"{theirs[:12]}, not {ours.info.digest[:12]}.",
                suggestion="Give both the same model repository (affectmesh triton prepare).",
            )


def _unavailable(model: str, reason: str, retry_after_s: float) -> errors.Unavailable:
    return errors.Unavailable(
        f"The model {model} is not answering.",
        reason=reason,
        suggestion="Try again in a few seconds.",
        retry_after=str(max(1, math.ceil(retry_after_s))),
    )


def _was_late(error: errors.Unavailable) -> bool:
    cause = error.__cause__
    return isinstance(cause, InferenceServerException) and cause.status() == _LATE


def _input(name: str, array: np.ndarray) -> InferInput:
    tensor = InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
    tensor.set_data_from_numpy(array)
    return tensor


def _outputs(result: InferResult) -> dict[str, np.ndarray]:
    names = (output.name for output in result.get_response().outputs)
    return {name: result.as_numpy(name) for name in names}
