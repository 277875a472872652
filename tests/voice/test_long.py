"""Recordings of hours: the memory they take is that of minutes."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import IO

import numpy as np
import psutil
import pytest
import soundfile

from services.voice.analyze import VoiceAnalyzer
from services.voice.audio import Selection
from services.voice.options import Options
from tests.voice.recordings import RATE_HZ, bytes_of, silence, speech

MIB = 1024 * 1024


def talk(hours: float, silent_s: float, channels: int = 1) -> IO[bytes]:
    """A FLAC file in which the samples of samples/voice are said again and again."""
    numbers = ("0870", "0880", "0890", "0920", "0930")
    once = np.concatenate([part for n in numbers for part in (speech(n), silence(0.8))])
    once = np.concatenate((once, silence(silent_s)))
    file = tempfile.TemporaryFile()  # noqa: SIM115
    with soundfile.SoundFile(
        file, "w", RATE_HZ, channels, format="FLAC", subtype="PCM_16"
    ) as target:
        for _ in range(round(hours * 3600 * RATE_HZ / once.size)):
            target.write(np.column_stack([once] * channels))
    file.seek(0)
    return file


@asynccontextmanager
async def growing_at_most(bytes_: int) -> AsyncIterator[None]:
    """The resident memory of this process at its most, over that before."""
    process = psutil.Process()
    before = most = process.memory_info().rss

    async def look() -> None:
        nonlocal most
        while True:
            most = max(most, process.memory_info().rss)
            await asyncio.sleep(0.05)

    looking = asyncio.create_task(look())
    try:
        yield
    finally:
        looking.cancel()
    assert most - before < bytes_


@pytest.mark.slow
@pytest.mark.parametrize(("hours", "silent_s"), [(0.5, 0.0), (3.98, 120.0)])
async def test_hours_take_no_more_memory_than_minutes(
    analyzer: VoiceAnalyzer, hours: float, silent_s: float
) -> None:
    options = Options(transcript=False, segment_by="window", window_ms=10_000)
    await analyzer.analyze(bytes_of("0870"), options)
    with talk(hours, silent_s) as file:
        async with growing_at_most(96 * MIB):
            analysis = await analyzer.analyze(file, options)
    (found,) = analysis.findings
    assert analysis.duration_ms == pytest.approx(hours * 3_600_000, rel=0.02)
    assert len(found.segments) > analysis.duration_ms / 10_000 / (5 if silent_s else 1.2)
    assert found.prosody is not None
    assert found.prosody.pitch_mean_hz == pytest.approx(160, abs=60)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["mix", "split"])
async def test_eight_channels_take_little_memory(analyzer: VoiceAnalyzer, mode: str) -> None:
    options = Options(transcript=False, prosody=False, selection=Selection(channel_mode=mode))
    await analyzer.analyze(bytes_of("0870"), options)
    with talk(0.25, 100.0, channels=8) as file:
        async with growing_at_most(128 * MIB):
            analysis = await analyzer.analyze(file, options)
    assert len(analysis.findings) == (8 if mode == "split" else 1)
    lengths = {found.speech_ms for found in analysis.findings}
    assert len(lengths) == 1


@pytest.mark.slow
async def test_long_recordings_are_transcribed_in_little_memory(analyzer: VoiceAnalyzer) -> None:
    options = Options(language="en", prosody=False)
    await analyzer.analyze(bytes_of("0870"), options)
    with talk(0.1, 20.0) as file:
        async with growing_at_most(160 * MIB):
            analysis = await analyzer.analyze(file, options)
    transcript = analysis.findings[0].transcript
    assert transcript is not None
    assert transcript.words[-1].end_ms > analysis.duration_ms - 60_000
    assert len(transcript.words) > 300
