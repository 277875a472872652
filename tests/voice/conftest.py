"""The voice analyzer on the real models, once for all tests."""

from collections.abc import AsyncIterator

import pytest

from services.common.inference import Inference
from services.common.inference.open import open_inference
from services.common.settings import Settings
from services.voice.analyze import VoiceAnalyzer
from services.voice.transcription import Transcriber


@pytest.fixture(scope="session")
async def inference() -> AsyncIterator[Inference]:
    embedded = open_inference(Settings(voice_pack="research"))
    yield embedded
    await embedded.close()


@pytest.fixture(scope="session")
async def transcriber() -> AsyncIterator[Transcriber]:
    real = Transcriber(Settings().data_dir, threads=2)
    yield real
    await real.close()


@pytest.fixture(scope="session")
async def analyzer(inference: Inference, transcriber: Transcriber) -> AsyncIterator[VoiceAnalyzer]:
    found = VoiceAnalyzer(inference, transcriber, "open")
    await inference.load(*found.models)
    yield found
    await found.close()
