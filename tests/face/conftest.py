"""Real nets and a real photograph."""

from collections.abc import AsyncIterator, Mapping

import numpy as np
import pytest

from services.common.inference import Inference, ModelInfo, Next
from services.common.inference.open import open_inference
from services.common.settings import Settings
from services.face.analyze import FaceAnalyzer
from services.face.image import Pixels, decode
from tests.face.pictures import PHOTOGRAPH


class Recorded:
    """An inference that also notes which nets were run, in order."""

    def __init__(self, inference: Inference) -> None:
        self._inference = inference
        self.runs: list[str] = []

    async def infer(
        self,
        model: str,
        inputs: Mapping[str, np.ndarray],
        outputs: tuple[str, ...] = (),
        then: Next | None = None,
    ) -> dict[str, np.ndarray]:
        self.runs.append(model)
        return await self._inference.infer(model, inputs, outputs, then)

    def info(self, model: str) -> ModelInfo:
        return self._inference.info(model)

    async def load(self, *models: str) -> None:
        await self._inference.load(*models)

    async def ready(self) -> bool:
        return await self._inference.ready()

    async def close(self) -> None:
        await self._inference.close()


@pytest.fixture(scope="session")
async def inference() -> AsyncIterator[Recorded]:
    recorded = Recorded(open_inference(Settings()))
    yield recorded
    await recorded.close()


@pytest.fixture(scope="session")
def analyzer(inference: Recorded) -> FaceAnalyzer:
    return FaceAnalyzer(inference)


@pytest.fixture(scope="session")
def photograph() -> bytes:
    return PHOTOGRAPH.read_bytes()


@pytest.fixture(scope="session")
def portrait(photograph: bytes) -> Pixels:
    return decode(photograph)
