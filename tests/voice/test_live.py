"""Live speech over a real gRPC server, with the real models."""

import asyncio
from collections.abc import AsyncIterator
from itertools import count, pairwise

import numpy as np
import pytest
import soxr

from affectmesh.v1 import types_pb2
from services.common import errors
from services.common.inference import Inference
from services.voice.analyze import Finding, VoiceAnalyzer
from services.voice.audio import Selection
from services.voice.live import LiveSession
from services.voice.live_options import LiveOptions
from services.voice.options import Options
from services.voice.outputs import Final
from services.voice.sessions import Limits
from services.voice.transcription import Transcriber
from tests.voice.recordings import Floats, contained, encoded, noise, silence, speech
from tests.voice.streams import (
    CLOSE,
    PAUSE,
    RESUME,
    Live,
    Request,
    audio,
    config,
    events,
    finals,
    living,
    partials,
    pcm,
    problems,
)

#: How far the times of a stream may lie from those of the file, and probabilities.
TIMES_MS, PROBABILITY = 40, 0.06


def talk() -> Floats:
    """Two utterances, 6.8 s and 2.7 s, with silence around."""
    parts = (silence(0.5), speech("0870"), silence(1), speech("0880"), silence(0.8))
    return np.concatenate(parts)


@pytest.fixture(scope="module")
async def live(analyzer: VoiceAnalyzer) -> AsyncIterator[Live]:
    """A server whose clock stands: no partial comes late, however slow the machine."""
    async with living(analyzer, Limits(), clock=lambda: 0.0) as found:
        yield found


async def as_file(analyzer: VoiceAnalyzer, data: bytes, selection: Selection) -> Finding:
    options = Options(language="en", transcript=False, selection=selection)
    return (await analyzer.analyze(data, options)).findings[0]


@pytest.mark.parametrize(
    ("encoding", "rate_hz", "size"),
    [
        ("LINEAR16", 16_000, 3201),
        ("LINEAR16", 48_000, 19_200),
        ("LINEAR16", 44_100, 777),
        ("LINEAR16", 8000, 160),
        ("MULAW", 8000, 160),
        ("ALAW", 8000, 1000),
        ("FLAC", 16_000, 999),
        ("FLAC", 0, 50_000),
        ("OGG_OPUS", 48_000, 500),
        ("OGG_OPUS", 0, 20_000),
    ],
)
async def test_a_stream_gives_the_segments_of_the_file(
    analyzer: VoiceAnalyzer, live: Live, encoding: str, rate_hz: int, size: int
) -> None:
    selection = Selection()
    if encoding == "FLAC":
        data = encoded(talk(), "FLAC", rate_hz=rate_hz or 48_000)
    elif encoding == "OGG_OPUS":
        data = contained(talk(), "ogg", "libopus", 48_000)
    else:
        subtype = {"LINEAR16": "PCM_16", "MULAW": "ULAW", "ALAW": "ALAW"}[encoding]
        data = encoded(talk(), "RAW", subtype, rate_hz)
        selection = Selection(encoding=encoding, rate_hz=rate_hz)
    found = await as_file(analyzer, data, selection)
    received = await live.answers(config(encoding, rate_hz), *audio(data, size))
    segments = finals(received)
    assert len(segments) == len(found.segments) == 2
    for heard, expected in zip(segments, found.segments, strict=True):
        assert heard.start_ms == pytest.approx(expected.piece.span.start_ms, abs=TIMES_MS)
        assert heard.end_ms == pytest.approx(expected.piece.span.end_ms, abs=TIMES_MS)
        assert heard.emotion.confidence == pytest.approx(expected.confidence, abs=PROBABILITY)
        assert heard.text == ""
    assert received[-1].summary.duration_ms == pytest.approx(talk().size / 16, abs=30)
    assert set(problems(received)) <= {("RATE_EXCEEDED", True)}


async def test_partials_come_each_second_while_someone_speaks(live: Live) -> None:
    received = await live.answers(config(), *audio(pcm(talk())))
    times = [partial.timestamp_ms for partial in partials(received)]
    for segment in finals(received):
        within = [t for t in times if segment.start_ms <= t <= segment.end_ms]
        marks = [segment.start_ms, *within, segment.end_ms]
        assert all(later - earlier <= 1000 for earlier, later in pairwise(marks))
    assert all(partial.emotion.label for partial in partials(received))
    assert not any(partial.HasField("transcript") for partial in partials(received))


async def test_events_tell_when_speech_starts_and_ends(live: Live) -> None:
    received = await live.answers(config(), *audio(pcm(talk())))
    spoken = [event for event in events(received) if event[0].startswith("SPEECH")]
    first, second = finals(received)
    assert spoken == [
        ("SPEECH_STARTED", first.start_ms),
        ("SPEECH_ENDED", first.end_ms),
        ("SPEECH_STARTED", second.start_ms),
        ("SPEECH_ENDED", second.end_ms),
    ]


async def test_the_summary_is_last_and_sums_up_the_utterances(live: Live) -> None:
    chunks = audio(pcm(talk()))
    received = await live.answers(config(), *chunks, CLOSE)
    summary = received[-1].summary
    assert [one.HasField("summary") for one in received].count(True) == 1
    assert (summary.frames_processed, summary.frames_dropped) == (len(chunks), 0)
    shares: dict[str, float] = {}
    lengths = [segment.end_ms - segment.start_ms for segment in finals(received)]
    for segment, length in zip(finals(received), lengths, strict=True):
        label = segment.emotion.label
        shares[label] = shares.get(label, 0) + length / sum(lengths)
    assert summary.emotion_distribution == pytest.approx(shares, abs=1e-3)
    assert summary.average_dimensions.derived


async def test_scores_and_dimensions_come_only_where_asked_for(live: Live) -> None:
    chunks = audio(pcm(speech()))
    rich = await live.answers(config(scores=True), *chunks)
    plain = await live.answers(config(), *chunks)
    for partial in partials(rich):
        assert partial.all[0] == partial.emotion
        assert sum(emotion.confidence for emotion in partial.all) == pytest.approx(1, abs=1e-3)
        assert partial.dimensions.derived
    assert finals(rich)[0].HasField("dimensions")
    assert not any(partial.all or partial.HasField("dimensions") for partial in partials(plain))
    assert not finals(plain)[0].HasField("dimensions")


async def test_the_rate_chooses_the_partials_and_never_the_finals(live: Live) -> None:
    found = {}
    for name, rate, threshold in (
        ("second", types_pb2.OUTPUT_RATE_PER_SECOND, 0.0),
        ("frame", types_pb2.OUTPUT_RATE_PER_FRAME, 0.0),
        ("change", types_pb2.OUTPUT_RATE_ON_CHANGE, 0.0),
        ("sure", types_pb2.OUTPUT_RATE_THRESHOLD, 1.0),
        ("any", types_pb2.OUTPUT_RATE_THRESHOLD, 0.1),
    ):
        asked = config(rate=rate, threshold=threshold)
        found[name] = await live.answers(asked, *audio(pcm(talk())))
    counts = {name: len(partials(received)) for name, received in found.items()}
    changes = [name for name, _ in events(found["change"])].count("EMOTION_CHANGE")
    assert counts["frame"] > 1.6 * counts["second"]
    assert counts["change"] == 1 + changes < counts["second"]
    assert counts["sure"] == 0
    assert counts["any"] == counts["second"]
    assert all(len(finals(received)) == 2 for received in found.values())


@pytest.mark.slow
async def test_transcripts_come_where_asked_for(live: Live) -> None:
    received = await live.answers(config(language="", transcript=True), *audio(pcm(talk())), CLOSE)
    first, second = finals(received)
    assert first.text.startswith("And Mr. John Dashwood")
    assert second.text == "He was not an ill-disposed young man."


@pytest.mark.slow
async def test_partials_carry_the_transcript_so_far(analyzer: VoiceAnalyzer, live: Live) -> None:
    chunks = audio(pcm(np.concatenate((speech("0870"), silence(1)))))

    async def with_a_breath() -> AsyncIterator[Request]:
        yield config(transcript=True)
        for chunk in chunks[:40]:
            yield chunk
        for recognising in (True, False):
            while analyzer.transcriber.busy is not recognising:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        for chunk in chunks[40:]:
            yield chunk

    async with asyncio.timeout(60):
        received = [response async for response in live.stub.StreamVoice(with_a_breath())]
    said = [partial.transcript for partial in partials(received)]
    assert said[:3] == ["", "", ""]
    assert "John" in said[-1]


async def test_without_transcript_no_recogniser_is_loaded(inference: Inference) -> None:
    unused = Transcriber(data_dir=None, threads=1)  # type: ignore[arg-type]
    analyzer = VoiceAnalyzer(inference, unused, "open")
    session = LiveSession(analyzer, LiveOptions("LINEAR16", 16_000))
    await session.feed(pcm(speech()))
    await session.close()
    outputs = [output async for output in session.outbox.read()]
    assert any(isinstance(output, Final) for output in outputs)
    await analyzer.close()
    await unused.close()


async def test_a_pause_ends_the_utterance_and_its_time_passes(live: Live) -> None:
    long, short = pcm(speech("0870")), pcm(np.concatenate((speech("0880"), silence(0.8))))
    cut = 16_000 * 2 * 3
    received = await live.answers(
        config(), *audio(long[:cut]), PAUSE, *audio(long[cut:]), RESUME, *audio(short)
    )
    first, second = finals(received)
    assert first.end_ms == pytest.approx(3000, abs=40)
    assert second.start_ms > 7100
    assert received[-1].summary.frames_processed == len(audio(long[:cut])) + len(audio(short))
    assert received[-1].summary.duration_ms == pytest.approx(7100 + 2990 + 800, abs=20)


async def test_an_utterance_is_cut_after_30_seconds(live: Live) -> None:
    endless = np.concatenate([speech("0870")[3000:-6000]] * 6)
    received = await live.answers(config(), *audio(pcm(endless), 32_000))
    first, second = finals(received)
    assert first.end_ms - first.start_ms == pytest.approx(30_000, abs=100)
    assert second.start_ms == first.end_ms
    spoken = [name for name, _ in events(received) if name.startswith("SPEECH")]
    assert spoken == ["SPEECH_STARTED", "SPEECH_ENDED"]


@pytest.mark.parametrize(
    "samples",
    [silence(3), noise(3), silence(0), silence(0.01)],
    ids=["silence", "noise", "nothing", "10 ms"],
)
async def test_without_speech_there_is_only_a_summary(live: Live, samples: Floats) -> None:
    ready, last = await live.answers(config(), *audio(pcm(samples)), CLOSE)
    assert ready.HasField("ready")
    assert not last.summary.emotion_distribution
    assert not last.summary.HasField("average_dimensions")
    assert last.summary.duration_ms == samples.size // 16


async def test_the_first_and_the_last_message_name_models_and_doubts(live: Live) -> None:
    quiet = config(rate_hz=8000, language="fr")
    short = speech("0880")[3000:12_000]
    telephone = np.asarray(soxr.resample(short, 16_000, 8000), np.float32)
    chunks = audio(pcm(np.concatenate((silence(0.2), telephone, silence(0.5)))))
    first, *others = await live.answers(quiet, *chunks, CLOSE)
    assert first.ready.received_ms == 0
    assert [one.code for one in first.ready.warnings] == ["NARROWBAND", "LANGUAGE_NOT_TRAINED"]
    models = [one.model for one in first.ready.provenance]
    assert models == ["voice_activity", "voice_encoder", "voice_emotion_open"]
    assert all(len(one.digest) == 64 for one in first.ready.provenance)
    (final,) = finals(others)
    assert [one.code for one in final.warnings] == ["LANGUAGE_NOT_TRAINED", "SHORT_SPEECH"]
    told = {one.code for one in others[-1].summary.warnings}
    assert told == {"NARROWBAND", "LANGUAGE_NOT_TRAINED", "SHORT_SPEECH"}
    assert others[-1].summary.provenance == first.ready.provenance


async def test_a_trained_language_at_16_khz_is_no_reason_for_doubt(live: Live) -> None:
    first, *_ = await live.answers(config(language="de"), CLOSE)
    assert not first.ready.warnings


async def test_empty_chunks_and_a_half_sample_do_no_harm(live: Live) -> None:
    empty, half = Request(audio=b""), Request(audio=b"\x01")
    received = await live.answers(config(), empty, *audio(pcm(speech()), 1601), empty, half)
    assert len(finals(received)) == 1
    assert not problems(received)


@pytest.mark.parametrize(
    ("requests", "kind", "field"),
    [
        ([], errors.InvalidRequest, "config"),
        (audio(b"12"), errors.InvalidRequest, "config"),
        ([CLOSE], errors.InvalidRequest, "config"),
        ([config(), config()], errors.InvalidRequest, "config"),
        ([config(), Request()], errors.InvalidRequest, "message"),
        ([config(), Request(action=7)], errors.InvalidRequest, "action"),  # type: ignore[arg-type]
        ([config("MP3")], errors.InvalidRequest, "config.encoding"),
        ([config("")], errors.InvalidRequest, "config.encoding"),
        ([config(rate_hz=0)], errors.InvalidRequest, "config.sample_rate"),
        ([config(rate_hz=7999)], errors.InvalidRequest, "config.sample_rate"),
        ([config("FLAC", rate_hz=96_000)], errors.InvalidRequest, "config.sample_rate"),
        ([config(language="english")], errors.InvalidRequest, "config.language"),
        ([config(language="tlh", transcript=True)], errors.InvalidRequest, "config.language"),
        ([config(threshold=2)], errors.InvalidRequest, "config.output.threshold"),
        ([config(rate=9)], errors.InvalidRequest, "config.output.rate"),  # type: ignore[arg-type]
        ([config("FLAC"), *audio(pcm(speech()))], errors.UnsupportedMedia, None),
        ([config("OGG_OPUS"), *audio(pcm(speech()))], errors.UnsupportedMedia, None),
        ([config("FLAC"), Request(audio=b"fLaC" + b"\xff" * 60)], errors.InvalidAudio, None),
        (
            [config("OGG_OPUS"), *audio(encoded(speech(), "OGG", "VORBIS"))],
            errors.UnsupportedMedia,
            None,
        ),
        ([config(), *audio(encoded(speech()))], errors.UnsupportedMedia, None),
        (
            [config("MULAW"), *audio(encoded(speech(), "FLAC")[:600], 3)],
            errors.UnsupportedMedia,
            None,
        ),
        ([config(), Request(audio=bytes((1 << 20) + 1))], errors.PayloadTooLarge, None),
    ],
)
async def test_bad_input_ends_the_stream_by_name_and_the_next_one_works(
    live: Live, requests: list[Request], kind: type[errors.AffectMeshError], field: str | None
) -> None:
    error = await live.refusal(*requests)
    assert type(error) is kind
    assert error.details["suggestion"]
    assert error.details.get("field") == field
    assert len(finals(await live.answers(config(), *audio(pcm(speech()))))) == 1


@pytest.mark.parametrize(
    "data",
    [b"Hello, how are you today? " * 4000, b'{"type": "audio"}' * 6000],
    ids=["words", "JSON"],
)
async def test_text_sent_as_audio_is_no_speech(live: Live, data: bytes) -> None:
    received = await live.answers(config(), *audio(data), CLOSE)
    assert not finals(received)
    assert received[-1].summary.frames_processed > 10


async def test_speech_at_a_wrong_declared_rate_is_doubted(live: Live) -> None:
    received = await live.answers(config(rate_hz=8000, scores=True), *audio(pcm(talk())), CLOSE)
    assert {"NARROWBAND", "LANGUAGE_NOT_TRAINED"} <= {
        one.code for one in received[-1].summary.warnings
    }
    assert all(one.emotion.confidence < 0.75 for one in finals(received))


@pytest.mark.parametrize("encoding", ["FLAC", "OGG_OPUS"])
async def test_damage_is_named_and_the_stream_goes_on(live: Live, encoding: str) -> None:
    flac = encoding == "FLAC"
    data = bytearray(
        encoded(talk(), "FLAC") if flac else contained(talk(), "ogg", "libopus", 48_000)
    )
    place = len(data) // 3
    data[place : place + 400] = bytes(400)
    received = await live.answers(config(encoding), *audio(bytes(data), 1000))
    assert ("INVALID_AUDIO", True) in problems(received)
    assert finals(received)[-1].end_ms > 9000
    assert received[-1].HasField("summary")


async def test_a_truncated_stream_gives_what_came(live: Live) -> None:
    data = encoded(talk(), "FLAC")
    received = await live.answers(config("FLAC"), *audio(data[: len(data) // 2]))
    assert len(finals(received)) == 1
    assert received[-1].HasField("summary")


async def test_audio_faster_than_the_analysis_waits_and_is_not_lost(live: Live) -> None:
    long = np.concatenate([talk()] * 4)
    received = await live.answers(config(), *audio(pcm(long), 1 << 19), CLOSE)
    assert problems(received)[0] == ("RATE_EXCEEDED", True)
    assert len(finals(received)) == 8
    assert received[-1].summary.duration_ms == pytest.approx(long.size / 16, abs=1)


async def test_where_the_analysis_lags_partials_are_dropped_and_finals_are_not(
    analyzer: VoiceAnalyzer, live: Live
) -> None:
    seconds = count()
    async with living(analyzer, Limits(), clock=lambda: 2.0 * next(seconds)) as slow:
        late = await slow.answers(config(), *audio(pcm(talk())), CLOSE)
    prompt = await live.answers(config(), *audio(pcm(talk())), CLOSE)
    assert not partials(late)
    dropped = [one.event.dropped_count for one in late if one.event.HasField("dropped_count")]
    assert sum(dropped) == late[-1].summary.frames_dropped == len(partials(prompt))
    assert finals(late) == finals(prompt)


async def test_many_streams_at_once_give_what_each_gives_alone(live: Live) -> None:
    requests = (config(), *audio(pcm(speech())))
    alone = finals(await live.answers(*requests))
    together = await asyncio.gather(*(live.answers(*requests) for _ in range(20)))
    for received in together:
        (segment,) = finals(received)
        assert (segment.start_ms, segment.end_ms) == (alone[0].start_ms, alone[0].end_ms)
        assert segment.emotion.confidence == pytest.approx(alone[0].emotion.confidence, abs=0.02)
