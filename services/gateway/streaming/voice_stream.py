"""Live audio as WIA section 5.4.2 shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from affectmesh.v1 import types_pb2, voice_pb2, voice_pb2_grpc
from services.common import errors
from services.gateway.streaming import config, messages
from services.gateway.streaming.stream import Stream
from services.gateway.streaming.upstream import Upstream

_PART = "voice"


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
        await self.parts[_PART].put(voice_pb2.StreamVoiceRequest(audio=data))

    def action(self, _part: str, action: types_pb2.StreamAction.ValueType) -> Any:
        """An action for the voice service."""
        return voice_pb2.StreamVoiceRequest(action=action)

    async def answer(self, _part: str, response: Any) -> None:
        """Partials and finals in the document's form."""
        match response.WhichOneof("message"):
            case "partial":
                await self._partial(response.partial)
            case "final":
                await self._final(response.final.segment)
            case "event":
                await self.client.send("event", **messages.event(response.event))
            case "error":
                await self.tell_error(_PART, response.error)
            case "summary":
                self._summary = response.summary

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
            timestamp_ms=partial.timestamp_ms,
            emotion=messages.emotion(partial.emotion),
            **more,
        )

    async def _final(self, segment: voice_pb2.StreamVoiceSegment) -> None:
        out: dict[str, Any] = {
            "start_ms": segment.start_ms,
            "end_ms": segment.end_ms,
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
        return {"stream_id": self._asked.stream_id, **messages.summary([self._summary], 0)}
