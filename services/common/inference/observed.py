"""Counts and traces every call of a model, whoever runs it."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from services.common import errors, metrics, tracing
from services.common.inference import Arrays, Inference, ModelInfo, Next


@contextmanager
def observed(model: str, version: str, then: str = "") -> Iterator[None]:
    """A call of a model: a span, one of those that wait, and a failure where it raises.

    then: the model that goes on, which is part of the call.
    """
    attributes = {"affectmesh.model": model, "affectmesh.model.version": version}
    if then:
        attributes["affectmesh.model.then"] = then
    waiting = metrics.MODEL_WAITING.labels(model).track_inprogress()
    with waiting, tracing.span(f"model {model}", attributes):
        try:
            yield
        except Exception as error:
            code = error.code if isinstance(error, errors.AffectMeshError) else "INTERNAL"
            metrics.MODEL_FAILURES.labels(model, code).inc()
            raise


class ObservedInference:
    """An Inference whose calls are observed."""

    def __init__(self, inner: Inference) -> None:
        self._inner = inner

    async def load(self, *models: str) -> None:
        await self._inner.load(*models)

    async def infer(
        self,
        model: str,
        inputs: Arrays,
        outputs: tuple[str, ...] = (),
        then: Next | None = None,
    ) -> dict[str, np.ndarray]:
        with observed(model, self.info(model).version, then.model if then else ""):
            return await self._inner.infer(model, inputs, outputs, then)

    def info(self, model: str) -> ModelInfo:
        return self._inner.info(model)

    async def ready(self) -> bool:
        return await self._inner.ready()

    async def close(self) -> None:
        await self._inner.close()
