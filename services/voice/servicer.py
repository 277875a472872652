"""The voice service's contract."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from typing import Any, Literal

import grpc
import structlog

from affectmesh.v1 import types_pb2, voice_pb2, voice_pb2_grpc
from services.common import errors, live, results
from services.common.inference import ModelInfo
from services.common.results import Stopwatch
from services.common.server import Service
from services.voice import audio, messages, weights
from services.voice.analyze import (
    Analysis,
    Dimensions,
    Finding,
    VoiceAnalyzer,
)
from services.voice.audio import Selection
from services.voice.live import LiveSession
from services.voice.options import Options
from services.voice.prosody import Prosody
from services.voice.sessions import Limits, Sessions
from services.voice.transcription import Transcriber

log = structlog.get_logger()

_Switch = Literal["return_transcript", "return_prosody", "return_dimensions"]
#: A connection that breaks first looks closed by the client; by then its call is cancelled.
_GONE_S = 0.05
_DRAINED_S, _QUIET_S = 1.0, 0.05

_Context = grpc.aio.ServicerContext[Any, Any]


class VoiceServicer(voice_pb2_grpc.VoiceServiceServicer):
    """Answers for the voice analyzer."""

    def __init__(self, analyzer: VoiceAnalyzer, sessions: Sessions, service: Service) -> None:
        self._analyzer = analyzer
        self._media = service.media
        self._sessions = sessions

    async def AnalyzeVoice(
        self, request: voice_pb2.AnalyzeVoiceRequest, context: _Context
    ) -> voice_pb2.AnalyzeVoiceResponse:
        watch = Stopwatch()
        asked = _options(request.options)
        async with self._media.open(
            kind="audio",
            url=request.audio_url,
            data=request.audio,
            media_id=request.media_id,
            limit_bytes=audio.MAX_BYTES,
        ) as file:
            request.ClearField("audio")
            analysis = await self._analyzer.analyze(file, asked)
        response = _response(analysis, asked)
        response.MergeFrom(voice_pb2.AnalyzeVoiceResponse(**watch.head()))
        return response

    async def StreamVoice(
        self, request_iterator: AsyncIterator[voice_pb2.StreamVoiceRequest], context: _Context
    ) -> AsyncIterator[voice_pb2.StreamVoiceResponse]:
        try:
            first = await _next(request_iterator, self._sessions.limits.idle_s)
        except _Idle:
            raise errors.DeadlineExceeded(
                "No config came.", suggestion="Send config as soon as the stream is open."
            ) from None
        try:
            config: voice_pb2.StreamVoiceConfig = live.config(first, "audio")
            session = self._sessions.open(config.stream_id, messages.live_options(config))
        except errors.AffectMeshError:
            await _drain(request_iterator)
            raise
        named = _models_named(self._analyzer.infos, config.return_transcript)
        receiving = asyncio.create_task(self._receive(session, request_iterator))
        try:
            yield messages.live_ready(session.received_ms, session.warnings, named)
            async for output in session.outbox.read():
                yield messages.live_response(output, config.output, named)
        finally:
            receiving.cancel()
            await asyncio.gather(receiving, return_exceptions=True)
            self._sessions.leave(config.stream_id, session)

    async def _receive(
        self,
        session: LiveSession,
        requests: AsyncIterator[voice_pb2.StreamVoiceRequest],
    ) -> None:
        """Hands a client's messages to the session until it closes or goes."""
        limits = self._sessions.limits
        try:
            async with asyncio.timeout(limits.length_s):
                while (request := await _next(requests, limits.idle_s)) is not None:
                    if not await _hand_on(session, request, limits):
                        break
                    if session.received_ms >= limits.length_s * 1000:
                        raise TimeoutError
                else:
                    await asyncio.sleep(_GONE_S)
            await session.close()
        except _Idle:
            await session.limit(f"No message came for {limits.idle_s:g} s.")
        except TimeoutError:
            await session.limit(f"A stream lasts {limits.length_s / 3600:g} hours at most.")
        except errors.AffectMeshError as error:
            await _drain(requests)
            session.fail(error)
        except Exception:
            log.exception("live input failed")
            session.fail(errors.Internal())


async def register(server: grpc.aio.Server, service: Service) -> str:
    """Adds the voice service to a server."""
    transcriber = Transcriber(service.settings.data_dir, service.settings.threads)
    service.closers.append(transcriber.close)
    try:
        await transcriber.prepare()
        if service.settings.voice_preload:
            service.closers.append(_in_background(transcriber.load()))
    except errors.Unavailable as error:
        log.warning("no speech recognition", reason=error.message)
    analyzer = VoiceAnalyzer(service.inference, transcriber, service.settings.voice_pack)
    service.closers.append(analyzer.close)
    await service.inference.load(*analyzer.models)
    sessions = Sessions(analyzer, Limits())
    service.closers.append(sessions.close)
    servicer = VoiceServicer(analyzer, sessions, service)
    voice_pb2_grpc.add_VoiceServiceServicer_to_server(servicer, server)
    return str(voice_pb2.DESCRIPTOR.services_by_name["VoiceService"].full_name)


def _in_background(work: Coroutine[Any, Any, None]) -> Callable[[], Awaitable[None]]:
    """Starts work that serving does not wait for; gives what stops it."""
    task = asyncio.create_task(work)

    async def stop() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    return stop


class _Idle(Exception):
    """The client sent nothing for too long."""


async def _next(
    requests: AsyncIterator[voice_pb2.StreamVoiceRequest], idle_s: float
) -> voice_pb2.StreamVoiceRequest | None:
    """The next message, None after the last."""
    try:
        async with asyncio.timeout(idle_s):
            return await anext(requests, None)
    except TimeoutError:
        raise _Idle from None


async def _drain(requests: AsyncIterator[voice_pb2.StreamVoiceRequest]) -> None:
    """Reads what is on its way: a client whose write fails would not see why the call ended."""
    with suppress(_Idle, TimeoutError):
        async with asyncio.timeout(_DRAINED_S):
            while await _next(requests, _QUIET_S) is not None:
                pass


async def _hand_on(
    session: LiveSession, request: voice_pb2.StreamVoiceRequest, limits: Limits
) -> bool:
    """Hands on one message; False where it closes the stream."""
    kind = request.WhichOneof("message")
    if kind == "audio":
        if len(request.audio) > limits.chunk_bytes:
            raise errors.PayloadTooLarge(
                f"A chunk of {len(request.audio)} bytes is too large.",
                limit=f"{limits.chunk_bytes} bytes",
                suggestion="Send chunks of 20 to 1000 ms.",
            )
        await session.feed(request.audio)
    elif kind == "action" and request.action == types_pb2.STREAM_ACTION_PAUSE:
        await session.pause()
    elif kind == "action" and request.action == types_pb2.STREAM_ACTION_RESUME:
        session.resume()
    elif kind == "action" and request.action == types_pb2.STREAM_ACTION_CLOSE:
        return False
    else:
        raise errors.InvalidRequest(
            "A message of the stream is neither audio nor an action.",
            field=kind or "message",
            suggestion="After the config send audio and actions only.",
        )
    return True


def _options(asked: voice_pb2.VoiceOptions) -> Options:
    given = Options()
    return Options(
        language=asked.language,
        transcript=_chosen(asked, "return_transcript", given.transcript),
        prosody=_chosen(asked, "return_prosody", given.prosody),
        dimensions=_chosen(asked, "return_dimensions", given.dimensions),
        segment_by=asked.segment_by or given.segment_by,
        window_ms=asked.window_ms if asked.HasField("window_ms") else given.window_ms,
        selection=_selection(asked),
        max_speech_ms=asked.max_speech_ms if asked.HasField("max_speech_ms") else None,
    )


def _selection(asked: voice_pb2.VoiceOptions) -> Selection:
    return Selection(
        channel_mode=asked.channel_mode or Selection.channel_mode,
        channels=tuple(asked.channels),
        start_ms=asked.start_time_ms,
        end_ms=asked.end_time_ms if asked.HasField("end_time_ms") else None,
        encoding=asked.encoding,
        rate_hz=asked.sample_rate_hz if asked.HasField("sample_rate_hz") else None,
    )


def _chosen(asked: voice_pb2.VoiceOptions, name: _Switch, otherwise: bool) -> bool:
    return bool(getattr(asked, name)) if asked.HasField(name) else otherwise


def _response(analysis: Analysis, asked: Options) -> voice_pb2.AnalyzeVoiceResponse:
    """The fields of the first track that has speech, and every channel where they were split."""
    first = next(found for found in analysis.findings if found.speech_ms)
    split = asked.selection.channel_mode == "split"
    return voice_pb2.AnalyzeVoiceResponse(
        duration_ms=analysis.duration_ms,
        speech_ms=first.speech_ms,
        language_detected=first.language,
        transcript=first.transcript.text if first.transcript else None,
        emotions=results.emotions(first.emotions),
        dimensions=_dimensions(first.dimensions),
        prosody=_prosody(first.prosody),
        segments=_segments(first, analysis.start_ms),
        words=_words(first, analysis.start_ms),
        channels=[_channel(found, analysis.start_ms) for found in analysis.findings if split],
        warnings=messages.warned((*analysis.warnings, *first.warnings)),
        provenance=_provenance(analysis, asked),
    )


def _channel(found: Finding, start_ms: int) -> voice_pb2.VoiceChannel:
    return voice_pb2.VoiceChannel(
        channel=found.channel,
        speech_ms=found.speech_ms,
        transcript=found.transcript.text if found.transcript else None,
        emotions=results.emotions(found.emotions) if found.emotions else None,
        dimensions=_dimensions(found.dimensions),
        prosody=_prosody(found.prosody),
        segments=_segments(found, start_ms),
        words=_words(found, start_ms),
        warnings=messages.warned(found.warnings),
    )


def _dimensions(found: Dimensions | None) -> types_pb2.Dimensions | None:
    if found is None:
        return None
    return types_pb2.Dimensions(valence=found.valence, arousal=found.arousal, derived=True)


def _prosody(found: Prosody | None) -> voice_pb2.Prosody | None:
    if found is None:
        return None
    return voice_pb2.Prosody(
        pitch_mean_hz=_rounded(found.pitch_mean_hz),
        pitch_range_hz=_rounded(found.pitch_range_hz),
        pitch_std_hz=_rounded(found.pitch_std_hz),
        intensity_db=_rounded(found.intensity_db),
        speech_rate_wpm=_rounded(found.speech_rate_wpm),
        pause_ratio=round(found.pause_ratio, 4),
        jitter=_rounded(found.jitter),
        shimmer=_rounded(found.shimmer),
        hnr_db=_rounded(found.hnr_db),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _segments(found: Finding, start_ms: int) -> list[voice_pb2.VoiceSegment]:
    return [
        voice_pb2.VoiceSegment(
            start_ms=start_ms + segment.piece.span.start_ms,
            end_ms=start_ms + segment.piece.span.end_ms,
            text=segment.piece.text,
            emotion=segment.emotion,
            confidence=round(segment.confidence, 4),
            dimensions=_dimensions(segment.dimensions),
        )
        for segment in found.segments
    ]


def _words(found: Finding, start_ms: int) -> list[voice_pb2.Word]:
    return [
        voice_pb2.Word(
            text=word.text.strip(),
            start_ms=start_ms + word.start_ms,
            end_ms=start_ms + word.end_ms,
            confidence=round(word.confidence, 4),
        )
        for word in (found.transcript.words if found.transcript else ())
    ]


def _provenance(analysis: Analysis, asked: Options) -> list[types_pb2.Provenance]:
    named = _models_named(analysis.models, asked.transcript)
    if asked.prosody:
        method = "transcript words" if asked.transcript else "syllable nuclei, 1.5 a word"
        named += [
            types_pb2.Provenance(model="pitch", version="autocorrelation (Boersma 1993)"),
            types_pb2.Provenance(model="jitter", version="waveform matching (Boersma 2009)"),
            types_pb2.Provenance(model="speech_rate", version=method),
        ]
    return named


def _models_named(models: Iterable[ModelInfo], transcript: bool) -> list[types_pb2.Provenance]:
    named = [results.provenance(model) for model in models]
    if transcript:
        named.append(
            types_pb2.Provenance(model=weights.NAME, version=weights.VERSION, digest=weights.SHA256)
        )
    return named
