"""The text analyzer on the real models, once for all tests."""

from collections import Counter
from collections.abc import AsyncIterator

import numpy as np
import pytest

from services.common.inference import Arrays, ModelInfo, Next
from services.common.inference.embedded import EmbeddedInference
from services.common.inference.repository import Repository
from services.common.settings import Settings
from services.text.analyze import TextAnalyzer


class CountingInference:
    """Embedded inference that remembers what it was asked."""

    def __init__(self) -> None:
        self._inner = EmbeddedInference(Repository(Settings().model_repository), threads=2)
        self.rows: Counter[str] = Counter()
        self.shapes: list[tuple[int, ...]] = []

    async def load(self, *models: str) -> None:
        await self._inner.load(*models)

    async def infer(
        self,
        model: str,
        inputs: Arrays,
        outputs: tuple[str, ...] = (),
        then: Next | None = None,
    ) -> dict[str, np.ndarray]:
        first = next(iter(inputs.values()))
        self.rows[model] += len(first)
        self.shapes.append(first.shape)
        return await self._inner.infer(model, inputs, outputs, then)

    def info(self, model: str) -> ModelInfo:
        return self._inner.info(model)

    async def ready(self) -> bool:
        return await self._inner.ready()

    async def close(self) -> None:
        await self._inner.close()

    def forget(self) -> None:
        self.rows.clear()
        self.shapes.clear()


@pytest.fixture(scope="session")
async def inference() -> AsyncIterator[CountingInference]:
    counting = CountingInference()
    yield counting
    await counting.close()


@pytest.fixture(scope="session")
async def analyzer(inference: CountingInference) -> TextAnalyzer:
    return TextAnalyzer(inference)
