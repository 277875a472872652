"""Live audio as WIA section 5.4.2 shows it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from affectmesh.v1 import types_pb2, voice_pb2, voice_pb2_grpc
from services.common import errors
from services.gateway.streaming import config, messages
from services.gateway.streaming.clock import SentAudio
from services.gateway.streaming.stream import Stream
from services.gateway.streaming.upstream import Upstream

_PART = "voice"


@dataclass(frozen=True)
class _Kept:
    """The clock of a dropped stream: what it added to the service's, and how far it was."""

    config: dict[str, Any]
    offset_ms: int
    heard_ms: int


class VoiceStream(Stream):
    """/v1/analyze/voice/stream."""

    route = "/v1/analyze/voice/stream"
    item = "analyze.voice.stream"
    hears_pauses = True

    async def configure(self, kind: str, message: dict[str, Any]) -> None:
        """A config; a stream_id of a session that was dropped continues it."""
        if kind != "config":
            raise errors.InvalidRequest(
                f"The first message is of type {kind[:32]!r}.",
                field="type",
                suggestion="Send the config first.",
            )
        asked = config.read(config.VoiceConfig, message)
        self.consent(asked.consent_token)
        self._asked = asked
        self._id = asked.stream_id or "stream_" + secrets.token_hex(8)
        self._message = message
        dropped = self.resumed(self._id)
        self._kept: _Kept | None = dropped.state if dropped else None
        if self._kept is not None and self._kept.config != message:
            self._kept = None
        self._count = SentAudio(asked.encoding, asked.sample_rate or 0)
        self._offset_ms = 0
        self._summary: types_pb2.SessionSummary | None = None
        org_id = self.standing.admission.principal.org_id
        request = voice_pb2.StreamVoiceConfig(
            stream_id=f"{org_id}:{asked.stream_id}" if asked.stream_id else "",
            sample_rate_hz=asked.sample_rate or 0,
            encoding=asked.encoding,
            language=asked.language,
            return_transcript=asked.return_transcript is not False,
            output=types_pb2.StreamOutput(
                include_dimensions=asked.include_dimensions,
                include_raw_scores=asked.include_raw_scores,
            ),
        )
        stub = self.surroundings.channels.stub("voice", voice_pb2_grpc.VoiceServiceStub)
        self.parts[_PART] = Upstream(
            "voice",
            stub.StreamVoice,
            voice_pb2.StreamVoiceRequest(config=request),
            self.limits.audio_chunks_waiting,
        )

    async def take(self, data: bytes) -> None:
        """A chunk of audio; a slow service makes the client wait."""
        if not data:
            raise errors.InvalidRequest("The chunk is empty.", suggestion="Send audio.")
        if len(data) > self.limits.audio_bytes:
            raise errors.InvalidRequest(
                f"The chunk has {len(data)} bytes.",
                suggestion=f"Send at most {self.limits.audio_bytes} bytes at once.",
            )
        self._count.add(len(data))
        await self.parts[_PART].put(voice_pb2.StreamVoiceRequest(audio=data))

    def action(self, _part: str, action: types_pb2.StreamAction.ValueType) -> Any:
        """An action for the voice service."""
        return voice_pb2.StreamVoiceRequest(action=action)

    async def answer(self, _part: str, response: Any) -> None:
        """Partials and finals in the document's form."""
        match response.WhichOneof("message"):
            case "ready":
                await self._ready(response.ready)
            case "partial":
                await self._partial(response.partial)
            case "final":
                await self._final(response.final.segment)
            case "event":
                response.event.timestamp_ms = self._time(response.event.timestamp_ms)
                await self.client.send("event", **messages.event(response.event))
            case "error":
                await self.tell_error(_PART, response.error)
            case "summary":
                response.summary.duration_ms = self._time(response.summary.duration_ms)
                self._summary = response.summary

    async def _ready(self, ready: voice_pb2.StreamVoiceReady) -> None:
        """A session that the voice service no longer has goes on in time all the same."""
        self._count.begin_ms = ready.received_ms
        if self._kept is not None:
            self._offset_ms = self._kept.offset_ms if ready.received_ms else self._kept.heard_ms
        await self.client.send(
            "ready",
            stream_id=self._id,
            timestamp_ms=self._time(ready.received_ms),
            warnings=messages.warnings(ready.warnings),
            provenance=messages.provenance(ready.provenance),
        )

    def _time(self, service_ms: int) -> int:
        """The client's time of the service's."""
        self._count.heard(service_ms)
        return service_ms + self._offset_ms

    async def _partial(self, partial: voice_pb2.StreamVoicePartial) -> None:
        if not partial.HasField("emotion"):
            return
        more: dict[str, Any] = {}
        if self._asked.include_raw_scores:
            more["all"] = [messages.emotion(one) for one in partial.all]
        if self._asked.include_dimensions:
            more["dimensions"] = messages.dimensions(partial.dimensions)
        if self._asked.return_transcript and partial.HasField("transcript"):
            more["transcript"] = partial.transcript
        await self.client.send(
            "partial",
            timestamp_ms=self._time(partial.timestamp_ms),
            emotion=messages.emotion(partial.emotion),
            **more,
        )

    async def _final(self, segment: voice_pb2.StreamVoiceSegment) -> None:
        out: dict[str, Any] = {
            "start_ms": self._time(segment.start_ms),
            "end_ms": self._time(segment.end_ms),
            "text": segment.text,
            "emotion": messages.emotion(segment.emotion),
        }
        if self._asked.include_dimensions:
            out["dimensions"] = messages.dimensions(segment.dimensions)
        await self.client.send("final", segment=out)

    def summary(self) -> Mapping[str, Any] | None:
        """The voice service's."""
        if self._summary is None:
            return None
        return {"stream_id": self._id, **messages.summary([self._summary], 0)}

    @property
    def id(self) -> str:
        """The one that was chosen or made."""
        return self._id

    def resumable(self) -> _Kept | None:
        """Its clock, where the client chose an id."""
        if not self._asked.stream_id:
            return None
        return _Kept(self._message, self._offset_ms, self._time(self._count.ms))
