"""What cannot be analysed, or only with less trust."""

from itertools import cycle

import numpy as np
import pytest

from services.common.errors import InvalidAudio, InvalidRequest, UnsupportedMedia
from services.voice.analyze import Analysis, VoiceAnalyzer
from services.voice.audio import Selection
from services.voice.options import Options
from tests.voice.recordings import Floats, encoded, noise, silence, speech

PLAIN = Options(transcript=False)


def codes(analysis: Analysis) -> set[str]:
    return {w.code for w in (*analysis.warnings, *analysis.findings[0].warnings)}


@pytest.mark.parametrize(
    "samples",
    [
        silence(3),
        noise(3),
        noise(3, level=0.5),
        (0.3 * np.sin(2 * np.pi * 440 * np.arange(48_000) / 16_000)).astype(np.float32),
        silence(0.2),
    ],
    ids=["silence", "noise", "loud noise", "tone", "200 ms"],
)
async def test_without_speech_there_is_no_emotion(
    analyzer: VoiceAnalyzer, samples: np.ndarray
) -> None:
    with pytest.raises(InvalidAudio, match="No speech found") as caught:
        await analyzer.analyze(encoded(samples), Options())
    assert "someone speaks" in caught.value.details["suggestion"]


async def test_clipped_speech_is_named(analyzer: VoiceAnalyzer) -> None:
    overdriven = np.clip(speech() * 20, -1, 1)
    assert "CLIPPED" in codes(await analyzer.analyze(encoded(overdriven), PLAIN))


async def test_narrowband_speech_is_named(analyzer: VoiceAnalyzer) -> None:
    analysis = await analyzer.analyze(encoded(speech(), rate_hz=8000), PLAIN)
    assert "NARROWBAND" in codes(analysis)
    assert analysis.findings[0].speech_ms > 2000


async def test_noise_lowers_the_confidence_and_is_named(analyzer: VoiceAnalyzer) -> None:
    quiet = np.concatenate((silence(1), speech(), silence(1)))
    noisy = quiet + noise(quiet.size / 16_000, level=0.03)
    clear = await analyzer.analyze(encoded(quiet), PLAIN)
    hard = await analyzer.analyze(encoded(noisy), PLAIN)
    assert "NOISY" not in codes(clear)
    assert "NOISY" in codes(hard)
    assert max(hard.findings[0].emotions.values()) < 0.7


async def test_short_speech_lowers_the_confidence_and_is_named(analyzer: VoiceAnalyzer) -> None:
    word = speech()[3000:12_000]
    analysis = await analyzer.analyze(encoded(word), PLAIN)
    assert "SHORT_SPEECH" in codes(analysis)
    assert max(analysis.findings[0].emotions.values()) < 0.6


async def test_truncated_speech_is_named(analyzer: VoiceAnalyzer) -> None:
    data = encoded(speech("0870"))
    assert "TRUNCATED" in codes(await analyzer.analyze(data[: len(data) // 2], PLAIN))


async def test_an_untrained_language_is_named(analyzer: VoiceAnalyzer) -> None:
    data = encoded(speech())
    german = await analyzer.analyze(data, Options(transcript=False, language="de-AT"))
    english = await analyzer.analyze(data, Options(transcript=False, language="en"))
    assert "LANGUAGE_NOT_TRAINED" not in codes(german)
    assert "LANGUAGE_NOT_TRAINED" in codes(english)
    trust = [max(found.findings[0].emotions.values()) for found in (english, german)]
    assert trust[0] < trust[1]


async def test_a_wrong_language_is_named(analyzer: VoiceAnalyzer) -> None:
    analysis = await analyzer.analyze(encoded(speech("0870")), Options(language="de"))
    assert "LANGUAGE_MISMATCH" in codes(analysis)


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("segment_by", {"segment_by": "paragraph"}),
        ("segment_by", {"segment_by": "word", "transcript": False}),
        ("segment_by", {"segment_by": "sentence", "transcript": False}),
        ("language", {"language": "english"}),
        ("language", {"language": "en_US"}),
        ("language", {"language": "tlh"}),
        ("window_ms", {"window_ms": 10}),
        ("window_ms", {"window_ms": 60_001}),
        ("encoding", {"selection": Selection(encoding="ADPCM")}),
        ("sample_rate", {"selection": Selection(encoding="MULAW", rate_hz=4000)}),
        ("channel_mode", {"selection": Selection(channel_mode="stereo")}),
        ("start_time_ms", {"selection": Selection(start_ms=-1)}),
        ("end_time_ms", {"selection": Selection(start_ms=500, end_ms=500)}),
    ],
)
def test_a_wrong_option_is_refused_by_name(field: str, given: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Options(**given)  # type: ignore[arg-type]
    assert caught.value.details["field"] == f"options.{field}"
    assert caught.value.details["suggestion"]


def music(seconds: float) -> Floats:
    """Chords of three plucked strings over a beat, four a bar."""
    rng = np.random.default_rng(11)
    samples = np.zeros(round(seconds * 16_000) + 16_000)
    for place, root_hz in zip(
        range(0, samples.size - 16_000, 8000), cycle((220, 174, 196, 165)), strict=False
    ):
        times = np.arange(16_000) / 16_000
        for ratio in (1, 1.26, 1.5):
            for partial in range(1, 7):
                wave = np.sin(2 * np.pi * root_hz * ratio * partial * times) / partial
                samples[place : place + 16_000] += wave * np.exp(-3 * partial * times)
        samples[place : place + 800] += rng.standard_normal(800) * np.linspace(0.5, 0, 800)
    return np.asarray(0.2 * samples / np.abs(samples).max(), np.float32)


async def test_music_is_no_speech(analyzer: VoiceAnalyzer) -> None:
    with pytest.raises(InvalidAudio, match="No speech found"):
        await analyzer.analyze(encoded(music(8)), PLAIN)


async def test_speech_over_music_is_less_certain(analyzer: VoiceAnalyzer) -> None:
    said = np.concatenate((silence(1), speech("0880"), silence(1)))
    over = said + 2 * music(said.size / 16_000)[: said.size]
    analysis = await analyzer.analyze(encoded(over), PLAIN)
    assert "NOISY" in codes(analysis)
    assert max(analysis.findings[0].emotions.values()) < 0.7


@pytest.mark.parametrize(
    "declared",
    [Selection(encoding="MULAW", rate_hz=16_000), Selection(encoding="LINEAR16", rate_hz=8000)],
    ids=["encoding", "rate"],
)
async def test_speech_declared_wrong_is_no_speech(
    analyzer: VoiceAnalyzer, declared: Selection
) -> None:
    raw = encoded(speech("0870"), "RAW", "PCM_16")
    with pytest.raises(InvalidAudio, match="No speech found"):
        await analyzer.analyze(raw, Options(transcript=False, selection=declared))


@pytest.mark.parametrize("wrong", ["WAV as MP3", "text", "JSON"])
async def test_what_is_not_what_it_begins_as_is_refused(
    analyzer: VoiceAnalyzer, wrong: str
) -> None:
    data = {
        "WAV as MP3": b"ID3\x04" + bytes(6) + encoded(speech()),
        "text": b"Hello, how are you today? " * 400,
        "JSON": b'{"audio": "none"}' * 400,
    }[wrong]
    with pytest.raises((InvalidAudio, UnsupportedMedia)) as caught:
        await analyzer.analyze(data, PLAIN)
    assert caught.value.details["suggestion"]
