"""DeepAffects' two endpoints."""

from collections.abc import AsyncIterator, Iterator
from decimal import Decimal

import orjson
from starlette.routing import Route

from affectmesh.v1 import jobs_pb2 as pb
from affectmesh.v1 import voice_pb2, voice_pb2_grpc
from services.common import errors
from services.common.channels import Channels, call
from services.common.settings import Settings
from services.gateway import uploads
from services.gateway.access import Access
from services.gateway.dialects.deepaffects import reading
from services.gateway.dialects.deepaffects.words import DeepAffects
from services.gateway.dialects.jobs import Jobs, idempotency_key
from services.gateway.dialects.verbs import route
from services.gateway.endpoint import Answer, Exchange
from services.gateway.policy import Policy
from services.jobs.representations.deepaffects import WINDOW_MS, segments

BASE = "/audio/generic/api/v2"
API = "recognise_emotion"

LONGEST_SYNC_MS = 60_000
PADDING_MS = 1000
"""What encoders add to a minute."""

_ITEM = "audio.emotion"
_MINUTE_MS = Decimal(60_000)
_PIECE_BYTES = 256 * 1024


def routes(settings: Settings, channels: Channels, policy: Policy) -> Iterator[Route]:
    """Every route of the dialect."""
    endpoints = _Endpoints(settings, channels, policy)
    words = DeepAffects()
    yield route(f"{BASE}/sync/{API}", words, {"POST": endpoints.answer})
    yield route(f"{BASE}/async/{API}", words, {"POST": endpoints.queue})


class _Endpoints:
    """The handlers."""

    def __init__(self, settings: Settings, channels: Channels, policy: Policy) -> None:
        self._policy = policy
        self._access = Access(policy)
        self._channels = channels
        self._limit_bytes = settings.max_body_mb * 1024 * 1024
        self._timeout_s = settings.request_timeout_s
        self._jobs = Jobs(channels, pb.DIALECT_DEEPAFFECTS)
        self._voice = channels.stub("voice", voice_pb2_grpc.VoiceServiceStub)

    async def answer(self, exchange: Exchange) -> Answer:
        """The segments of at most a minute of content."""
        admission = await self._access.analyse(exchange)
        audio = reading.audio(await exchange.json(self._limit_bytes))
        if audio.url:
            raise errors.InvalidRequest(
                "A url is supported for async requests only.",
                field="url",
                suggestion=f"Pass the audio as content, or use {BASE}/async/{API}.",
            )
        most_ms = LONGEST_SYNC_MS + PADDING_MS
        options = _options(audio.language)
        options.end_time_ms = most_ms + 1
        request = voice_pb2.AnalyzeVoiceRequest(audio=audio.content, options=options)
        found = await call("voice", self._voice.AnalyzeVoice, request, self._timeout_s)
        if found.duration_ms > most_ms:
            raise errors.PayloadTooLarge(
                "The audio is longer than a minute.",
                limit=f"{LONGEST_SYNC_MS} ms",
                suggestion=f"Use {BASE}/async/{API} for longer audio.",
            )
        minutes = Decimal(found.duration_ms) / _MINUTE_MS
        await self._policy.record(admission, exchange.request_id, _ITEM, minutes)
        return Answer(orjson.dumps(segments(found)))

    async def queue(self, exchange: Exchange) -> Answer:
        """Queues a job whose end is told to the webhook."""
        await self._access.analyse(exchange)
        parameters = exchange.connection.query_params
        webhook = reading.webhook(parameters)
        request_id = reading.request_id(parameters, idempotency_key(exchange))
        audio = reading.audio(await exchange.json(self._limit_bytes))
        job = pb.Job(kind=pb.JOB_KIND_VOICE)
        options = _options(audio.language)
        job.options.update({field.name: value for field, value in options.ListFields()})
        job.metadata.update({"request_id": request_id})
        if audio.url:
            job.input.url = audio.url
        else:
            kept = await uploads.store(self._channels, "audio", "", _pieces(audio.content))
            await self._jobs.check_sound(kept)
            job.input.media_id = kept.media_id
        await self._jobs.create(exchange, job, webhook)
        return Answer({"request_id": request_id, "api": API})


def _options(language: str) -> voice_pb2.VoiceOptions:
    return voice_pb2.VoiceOptions(
        language=language,
        segment_by="window",
        window_ms=WINDOW_MS,
        return_transcript=False,
        return_prosody=False,
        return_dimensions=False,
    )


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), _PIECE_BYTES):
        yield content[start : start + _PIECE_BYTES]
