"""The service over a real gRPC server."""

from collections.abc import AsyncIterator

import grpc
import numpy as np
import pytest

from affectmesh.v1 import voice_pb2, voice_pb2_grpc
from services.common import errors
from services.common.server import Service
from services.common.settings import Settings
from services.voice.servicer import register
from tests.common.serving import serving
from tests.voice.recordings import bytes_of, encoded, silence, speech

Stub = voice_pb2_grpc.VoiceServiceStub


@pytest.fixture(scope="module")
async def stub() -> AsyncIterator[Stub]:
    service = Service("voice", Settings())

    async def add(server: grpc.aio.Server) -> None:
        await register(server, service)

    async with serving(add) as address, grpc.aio.insecure_channel(address) as channel:
        yield voice_pb2_grpc.VoiceServiceStub(channel)
    for close in reversed(service.closers):
        await close()


async def analyze(stub: Stub, audio: bytes, **options: object) -> voice_pb2.AnalyzeVoiceResponse:
    asked = voice_pb2.VoiceOptions(**options)  # type: ignore[arg-type]
    return await stub.AnalyzeVoice(voice_pb2.AnalyzeVoiceRequest(audio=audio, options=asked))


async def test_answers_every_field_of_the_contract(stub: Stub) -> None:
    answer = await analyze(
        stub,
        bytes_of("0870"),
        language="en-US",
        return_transcript=True,
        return_prosody=True,
        segment_by="utterance",
    )
    given = {field.name for field, _ in answer.ListFields()}
    left = {field.name for field in answer.DESCRIPTOR.fields} - given
    assert left <= {"channels", "processing_time_ms"}
    assert answer.duration_ms == 7100
    assert answer.language_detected == "en-US"
    assert answer.emotions.primary == answer.emotions.all[0]
    assert answer.dimensions.derived
    assert "John Dashwood" in answer.segments[0].text
    assert 60 < answer.prosody.pitch_mean_hz < 300
    assert 120 < answer.prosody.speech_rate_wpm < 250
    assert 0 <= answer.prosody.pause_ratio < 0.5
    names = {one.model: one for one in answer.provenance}
    assert set(names) >= {"voice_activity", "voice_encoder", "voice_emotion_open", "whisper-base"}
    assert "EmoDB" in names["voice_emotion_open"].calibration
    assert all(len(names[name].digest) == 64 for name in ("voice_encoder", "whisper-base"))


async def test_options_switch_parts_off(stub: Stub) -> None:
    answer = await analyze(
        stub,
        bytes_of("0880"),
        return_transcript=False,
        return_prosody=False,
        return_dimensions=False,
    )
    for absent in ("transcript", "language_detected", "prosody", "dimensions"):
        assert not answer.HasField(absent)
    assert not answer.words
    assert "whisper-base" not in {one.model for one in answer.provenance}


async def test_times_are_those_of_the_recording(stub: Stub) -> None:
    audio = encoded(np.concatenate((silence(2), speech())))
    answer = await analyze(stub, audio, start_time_ms=2000, end_time_ms=4900)
    assert answer.duration_ms == 2900
    assert 2100 <= answer.segments[0].start_ms <= 2400
    assert answer.words[0].start_ms == pytest.approx(answer.segments[0].start_ms, abs=200)


async def test_split_channels_are_all_given(stub: Stub) -> None:
    stereo = encoded(np.column_stack((silence(2.99), speech())))
    answer = await analyze(stub, stereo, channel_mode="split", return_transcript=False)
    assert [channel.channel for channel in answer.channels] == [0, 1]
    assert not answer.channels[0].HasField("emotions")
    assert answer.channels[1].emotions == answer.emotions


async def test_headerless_audio_is_read_as_declared(stub: Stub) -> None:
    raw = encoded(speech(), "RAW", "ULAW", 8000)
    answer = await analyze(
        stub, raw, encoding="MULAW", sample_rate_hz=8000, return_transcript=False
    )
    assert answer.duration_ms == 2990
    assert "NARROWBAND" in {warning.code for warning in answer.warnings}


@pytest.mark.parametrize(
    ("audio", "kind"),
    [
        (b"words, not sound", errors.UnsupportedMedia),
        (encoded(silence(1)), errors.InvalidAudio),
        (encoded(speech())[:30], errors.InvalidAudio),
        (encoded(speech()[:800]), errors.InvalidAudio),
        (b"", errors.InvalidRequest),
    ],
    ids=["text", "silence", "header cut", "50 ms", "empty"],
)
async def test_bad_input_is_named_and_the_next_request_works(
    stub: Stub, audio: bytes, kind: type[errors.AffectMeshError]
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await analyze(stub, audio, return_transcript=False)
    error = errors.from_rpc(caught.value, "voice")
    assert type(error) is kind
    assert error.details["suggestion"]
    answer = await analyze(stub, bytes_of("0880"), return_transcript=False)
    assert answer.emotions.primary.label


async def test_only_so_much_speech_is_analysed(stub: Stub) -> None:
    options = {"return_transcript": False, "segment_by": "utterance"}
    whole = await analyze(stub, bytes_of("0870"), **options)
    part = await analyze(stub, bytes_of("0870"), **options, max_speech_ms=1500)
    assert whole.speech_ms > 4000
    assert part.speech_ms == 1500
    assert part.segments[-1].end_ms < whole.segments[-1].end_ms
    assert sum(s.end_ms - s.start_ms for s in part.segments) == pytest.approx(1500, abs=2)
    more = await analyze(stub, bytes_of("0870"), **options, max_speech_ms=60_000)
    assert more.speech_ms == whole.speech_ms


async def test_too_little_speech_to_analyse_is_refused(stub: Stub) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await analyze(stub, bytes_of("0870"), max_speech_ms=10)
    error = errors.from_rpc(raised.value, "voice")
    assert isinstance(error, errors.InvalidRequest)
    assert error.details["field"] == "options.max_speech_ms"
