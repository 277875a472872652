"""The analysis of real speech."""

import numpy as np
import pytest

from services.common.inference import Inference
from services.common.labels import LABELS
from services.voice.activity import SpeechDetector, speech_spans
from services.voice.analyze import VoiceAnalyzer
from services.voice.audio import Selection
from services.voice.options import Options
from services.voice.transcription import Transcriber
from tests.voice.recordings import bytes_of, encoded, silence, speech

PLAIN = Options(transcript=False)


async def test_hears_what_was_said_and_when(analyzer: VoiceAnalyzer) -> None:
    analysis = await analyzer.analyze(bytes_of("0880"), Options())
    (found,) = analysis.findings
    assert found.transcript
    assert found.transcript.text == "He was not an ill-disposed young man."
    assert found.language == "en"
    words = found.transcript.words
    assert [word.text.strip() for word in words][:3] == ["He", "was", "not"]
    starts = [word.start_ms for word in words]
    assert starts == sorted(starts)
    assert 150 <= starts[0] <= 500
    assert words[-1].end_ms <= analysis.duration_ms
    assert all(0 <= word.confidence <= 1 for word in words)


async def test_the_language_given_comes_back_with_its_region(analyzer: VoiceAnalyzer) -> None:
    analysis = await analyzer.analyze(bytes_of("0880"), Options(language="EN-us"))
    assert analysis.findings[0].language == "en-US"


async def test_says_nothing_twice_and_makes_nothing_up(analyzer: VoiceAnalyzer) -> None:
    long = np.concatenate(
        [part for name in ("0870", "0890", "0920") for part in (speech(name), silence(1.5))]
    )
    analysis = await analyzer.analyze(encoded(long), Options(segment_by="sentence"))
    found = analysis.findings[0]
    assert found.transcript
    assert len(found.transcript.words) in range(50, 58)
    texts = [segment.piece.text for segment in found.segments]
    assert len(texts) >= 2
    assert texts[0].startswith("And Mr. John Dashwood")
    assert texts[0].endswith("do for them.")
    assert texts[-1].endswith("than he was.")
    assert " ".join(texts) == found.transcript.text


async def test_emotions_are_probabilities_of_known_labels(analyzer: VoiceAnalyzer) -> None:
    found = (await analyzer.analyze(bytes_of("0870"), PLAIN)).findings[0]
    assert set(found.emotions) <= set(LABELS)
    assert len(found.emotions) == 7
    assert sum(found.emotions.values()) == pytest.approx(1)
    assert found.dimensions
    assert -1 <= found.dimensions.valence <= 1
    assert -1 <= found.dimensions.arousal <= 1


async def test_gain_does_not_change_the_emotion(analyzer: VoiceAnalyzer) -> None:
    loud = (await analyzer.analyze(encoded(speech(), subtype="FLOAT"), PLAIN)).findings[0]
    soft = (await analyzer.analyze(encoded(speech() * 0.2, subtype="FLOAT"), PLAIN)).findings[0]
    for label, value in loud.emotions.items():
        assert soft.emotions[label] == pytest.approx(value, abs=0.05)


async def test_the_same_request_gives_the_same_answer(analyzer: VoiceAnalyzer) -> None:
    options = Options(segment_by="word")
    first = await analyzer.analyze(bytes_of("0880"), options)
    assert await analyzer.analyze(bytes_of("0880"), options) == first


async def test_without_transcript_no_recogniser_is_loaded(inference: Inference) -> None:
    unused = Transcriber(data_dir=None, threads=1)  # type: ignore[arg-type]
    analyzer = VoiceAnalyzer(inference, unused, "open")
    found = (await analyzer.analyze(bytes_of("0880"), PLAIN)).findings[0]
    assert found.transcript is None
    assert found.language is None
    assert [segment.piece.text for segment in found.segments] == [""]
    await analyzer.close()
    await unused.close()


async def test_options_switch_parts_off(analyzer: VoiceAnalyzer) -> None:
    options = Options(transcript=False, prosody=False, dimensions=False)
    found = (await analyzer.analyze(bytes_of("0880"), options)).findings[0]
    assert found.prosody is None
    assert found.dimensions is None
    assert found.segments[0].dimensions is None


async def test_utterances_are_parted_by_silence(analyzer: VoiceAnalyzer) -> None:
    two = np.concatenate((speech("0880"), silence(1), speech("0930")))
    segments = (await analyzer.analyze(encoded(two), PLAIN)).findings[0].segments
    assert len(segments) == 2
    assert segments[0].piece.span.end_ms < 3500 < segments[1].piece.span.start_ms + 1000


async def test_windows_are_of_one_length_and_have_speech(analyzer: VoiceAnalyzer) -> None:
    two = np.concatenate((speech("0880"), silence(5), speech("0930")))
    options = Options(transcript=False, segment_by="window", window_ms=1000)
    segments = (await analyzer.analyze(encoded(two), options)).findings[0].segments
    starts = [segment.piece.span.start_ms for segment in segments]
    assert starts == [0, 1000, 2000, 8000, 9000, 10_000, 11_000]


async def test_every_word_has_an_emotion(analyzer: VoiceAnalyzer) -> None:
    analysis = await analyzer.analyze(bytes_of("0880"), Options(segment_by="word"))
    texts = [segment.piece.text for segment in analysis.findings[0].segments]
    assert " ".join(texts) == "He was not an ill-disposed young man."
    assert all(segment.emotion in LABELS for segment in analysis.findings[0].segments)


async def test_channels_are_analysed_apart(analyzer: VoiceAnalyzer) -> None:
    stereo = np.column_stack((silence(speech().size / 16_000), speech()))
    options = Options(transcript=False, selection=Selection(channel_mode="split"))
    silent, spoken = (await analyzer.analyze(encoded(stereo), options)).findings
    assert [found.channel for found in (silent, spoken)] == [0, 1]
    assert silent.speech_ms == 0
    assert [warning.code for warning in silent.warnings] == ["NO_SPEECH"]
    assert spoken.speech_ms > 2000


async def test_speech_is_found_alike_in_pieces_and_as_a_whole(inference: Inference) -> None:
    samples = np.concatenate((silence(1), speech("0870"), silence(1)))
    whole = await SpeechDetector(inference).feed(samples, last=True)
    detector = SpeechDetector(inference)
    parts = [await detector.feed(part) for part in np.array_split(samples, 17)]
    parts.append(await detector.feed(silence(0), last=True))
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5)
    (span,) = speech_spans(whole, samples.size, min_silence_ms=500)
    assert 1000 <= span.start_ms <= 1400
    assert 7500 <= span.end_ms <= 8300


def test_spans_do_not_overlap_and_stay_inside() -> None:
    chances = np.array(([0.9] * 12 + [0.1] * 4) * 5, np.float32)
    spans = speech_spans(chances, 80 * 512 - 100, min_silence_ms=100)
    assert len(spans) == 5
    edges = [edge for span in spans for edge in (span.start, span.end)]
    assert edges == sorted(edges)
    assert edges[0] == 0
    assert edges[-1] <= 80 * 512 - 100


async def test_the_research_pack_knows_english_and_more_emotions(
    inference: Inference, transcriber: Transcriber
) -> None:
    research = VoiceAnalyzer(inference, transcriber, "research")
    analysis = await research.analyze(bytes_of("0870"), Options(transcript=False, language="en-US"))
    (found,) = analysis.findings
    assert {"calm", "surprise"} < set(found.emotions) < set(LABELS)
    assert found.warnings == ()
    head = {model.name: model for model in analysis.models}["voice_emotion_research"]
    assert head.parameters["license"] == "CC-BY-NC-SA-4.0"
    await research.close()
