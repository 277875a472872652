"""The WIA streaming protocol: faces and voice on the client's clock."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from affectmesh.v1 import face_pb2, face_pb2_grpc, types_pb2, voice_pb2, voice_pb2_grpc
from services.common import errors
from services.gateway.streaming import config, frames, messages
from services.gateway.streaming.clock import AudioClock, ImageClock, Moment, iso
from services.gateway.streaming.closing import CloseCode, Ended
from services.gateway.streaming.rates import Bucket, Rating
from services.gateway.streaming.stream import Stream
from services.gateway.streaming.upstream import Upstream

_LONGEST_SPAN_MS = 24 * 3600 * 1000
"""Most that a frame's timestamp may lie after the first."""

_EVERYTHING = types_pb2.StreamOutput(
    rate=types_pb2.OUTPUT_RATE_PER_FRAME, include_dimensions=True, include_raw_scores=True
)
"""The services say all; the output rate is applied here, alike for every modality."""


@dataclass(frozen=True)
class _Kept:
    """What a dropped stream goes on from."""

    config: dict[str, Any]
    voice_id: str
    audio: AudioClock | None
    first_ms: int | None
    last_ms: int


class WiaStream(Stream):
    """/v1/stream."""

    route = "/v1/stream"
    item = "stream"

    async def configure(self, kind: str, message: dict[str, Any]) -> None:
        """A config, or a resume of a dropped stream."""
        kept: _Kept | None = None
        if kind == "resume":
            kept = self._taken_up(message)
            message = kept.config
        elif kind != "config":
            raise errors.InvalidRequest(
                f"The first message is of type {kind[:32]!r}.",
                field="type",
                suggestion="Send the config, or resume with the stream_id of a dropped stream.",
            )
        asked = config.read(config.WiaConfig, message)
        self.consent(asked.consent_token)
        self._asked = asked
        self._message = message
        self._id = asked.stream_id or "stream_" + secrets.token_hex(8)
        self._ratings = {
            name: Rating(asked.output.rate, asked.output.threshold) for name in asked.modalities
        }
        self._summaries: dict[str, types_pb2.SessionSummary] = {}
        self._confidences: dict[tuple[str, int], dict[str, float]] = {}
        self._first_ms = kept.first_ms if kept else None
        self._last_ms = kept.last_ms if kept else 0
        self._voice_id = kept.voice_id if kept else secrets.token_hex(16)
        if "facial" in asked.modalities:
            self._images = ImageClock()
            self._pace = Bucket(asked.facial.frame_rate)
            self._face_missing = False
            self.parts["facial"] = self._face()
        if "voice" in asked.modalities:
            self._audio = AudioClock(asked.voice.encoding, asked.voice.sample_rate)
            self._earlier = kept.audio if kept else None
            self._voice_label = ""
            self.parts["voice"] = self._voice()
            if kept:
                resume = self.action("voice", types_pb2.STREAM_ACTION_RESUME)
                self.parts["voice"].act(resume)

    def _taken_up(self, message: dict[str, Any]) -> _Kept:
        stream_id, number = message.get("stream_id"), message.get("last_frame_number", 0)
        if type(stream_id) is not str or type(number) is not int or number < 0:
            raise errors.InvalidRequest(
                "resume needs the stream_id and the last_frame_number of a stream.",
                field="stream_id",
                suggestion='Send {"type": "resume", "stream_id": …, "last_frame_number": …}.',
            )
        dropped = self.resumed(stream_id)
        if dropped is None:
            raise Ended(
                CloseCode.NOT_FOUND,
                f"There is no stream {stream_id[:64]!r} to resume. Begin anew with a config.",
                "NOT_FOUND",
            )
        self.frames = max(dropped.frames, min(number, self.limits.frames))
        kept: _Kept = dropped.state
        return replace(kept, config={**kept.config, "stream_id": stream_id})

    def _face(self) -> Upstream:
        stub = self.surroundings.channels.stub("face", face_pb2_grpc.FaceServiceStub)
        options = face_pb2.FaceOptions(
            return_action_units=self._asked.facial.return_action_units,
            return_dimensions=True,
        )
        asked = face_pb2.StreamFaceConfig(stream_id=self._id, options=options, output=_EVERYTHING)
        return Upstream("face", stub.StreamFace, face_pb2.StreamFaceRequest(config=asked), 1)

    def _voice(self) -> Upstream:
        stub = self.surroundings.channels.stub("voice", voice_pb2_grpc.VoiceServiceStub)
        voice = self._asked.voice
        asked = voice_pb2.StreamVoiceConfig(
            stream_id=self._voice_id,
            sample_rate_hz=voice.sample_rate,
            encoding=voice.encoding,
            language=voice.language,
            return_transcript=voice.return_transcript,
            output=_EVERYTHING,
        )
        return Upstream(
            "voice",
            stub.StreamVoice,
            voice_pb2.StreamVoiceRequest(config=asked),
            self.limits.audio_chunks_waiting,
        )

    async def take(self, data: bytes) -> None:
        """A binary frame."""
        frame = frames.parse(data, self.limits.image_bytes, self.limits.audio_bytes)
        for name, payload in (("facial", frame.image), ("voice", frame.audio)):
            if payload is not None and name not in self.parts:
                raise errors.InvalidRequest(
                    f"The frame carries {name} data, which was not configured.",
                    suggestion=f"Name {name} in the modalities of the config.",
                )
        if self._first_ms is None:
            self._first_ms = self._last_ms = frame.timestamp_ms
        if frame.timestamp_ms - self._first_ms > _LONGEST_SPAN_MS:
            raise errors.InvalidRequest(
                "The timestamp is more than a day after the first frame's.",
                suggestion="Send ms since the epoch in every frame.",
            )
        self._last_ms = max(self._last_ms, frame.timestamp_ms)
        moment = Moment(self.frames, frame.timestamp_ms)
        if frame.image is not None:
            await self._take_image(frame.image, moment)
        if frame.audio is not None:
            await self._take_audio(frame.audio, moment)

    async def _take_image(self, image: bytes, moment: Moment) -> None:
        part = self.parts["facial"]
        if not part.alive:
            return
        if not self._pace.take(time.monotonic()):
            await self.drop("frames", number=moment.number)
            return
        frame = face_pb2.VideoFrame(
            frame_number=moment.number, timestamp_ms=self._images.add(moment), image=image
        )
        if not part.replace(face_pb2.StreamFaceRequest(frame=frame)):
            await self.drop("frames", number=moment.number)

    async def _take_audio(self, audio: bytes, moment: Moment) -> None:
        part = self.parts["voice"]
        if not part.alive:
            return
        if part.offer(voice_pb2.StreamVoiceRequest(audio=audio)):
            self._audio.add(moment, len(audio))
        else:
            await self.drop("audio chunks", number=moment.number)

    def action(self, part: str, action: types_pb2.StreamAction.ValueType) -> Any:
        """An action for the face or the voice service."""
        if part == "facial":
            return face_pb2.StreamFaceRequest(action=action)
        return voice_pb2.StreamVoiceRequest(action=action)

    async def answer(self, part: str, response: Any) -> None:
        """Words what a service says as the protocol does."""
        match response.WhichOneof("message"):
            case "ready":
                await self._voice_ready(response.ready)
            case "result":
                await self._face_result(response.result)
            case "partial":
                await self._voice_partial(response.partial)
            case "final":
                await self._voice_final(response.final.segment)
            case "event":
                await self._event(part, response.event)
            case "error":
                await self.tell_error(part, response.error)
            case "summary":
                self._summaries[part] = response.summary
                if part == "voice":
                    response.summary.ClearField("frames_dropped")  # partials, not input

    async def _face_result(self, result: face_pb2.StreamFaceResult) -> None:
        moment = self._images.of(result.frame_number, result.timestamp_ms)
        for face in result.faces:
            self._note("facial", face.face_id, face.emotions.primary)
        main = result.faces[0] if result.faces else None
        confidence = main.emotions.primary.confidence if main else 0.0
        if self._ratings["facial"].due(moment.epoch_ms, confidence, result.change_detected):
            await self.client.send(
                "result",
                **self._head(moment.number, moment.epoch_ms, moment.latency_ms),
                **self._found(main.emotions if main else None, result.change_detected),
                **(self._dimensions(main.dimensions) if main else {}),
                **(self._action_units(main) if main else {}),
                face=_face(main, len(result.faces)),
            )
        missing, self._face_missing = self._face_missing, main is None
        if self._face_missing and not missing:
            await self.client.error(
                "FACE_NOT_DETECTED",
                f"No face detected in frame {moment.number}",
                True,
                moment.number,
            )

    def _head(self, number: int, epoch_ms: int, latency_ms: int) -> dict[str, Any]:
        return {
            "stream_id": self._id,
            "frame_number": number,
            "timestamp": iso(epoch_ms),
            "latency_ms": latency_ms,
        }

    def _found(self, found: types_pb2.Emotions | None, changed: bool) -> dict[str, Any]:
        primary = messages.emotion(found.primary) if found else None
        emotions: dict[str, Any] = {"primary": primary, "change_detected": changed}
        if self._asked.output.include_raw_scores:
            emotions["all"] = [messages.emotion(one) for one in found.all] if found else []
        return {"emotions": emotions}

    def _dimensions(self, found: types_pb2.Dimensions) -> dict[str, Any]:
        if not self._asked.output.include_dimensions:
            return {}
        return {"dimensions": messages.dimensions(found)}

    def _action_units(self, face: face_pb2.Face) -> dict[str, Any]:
        if not self._asked.facial.return_action_units:
            return {}
        units = [
            {"au": unit.au, "name": unit.name, "intensity": unit.intensity}
            for unit in face.action_units
        ]
        return {"action_units": units}

    async def opened(self) -> None:
        """Says the stream's id, unless the voice service has more to tell first."""
        if "voice" not in self.parts:
            await self._ready()

    async def _voice_ready(self, ready: voice_pb2.StreamVoiceReady) -> None:
        if self._earlier is not None and ready.received_ms:
            self._audio.go_on(self._earlier, ready.received_ms)
        await self._ready(
            warnings=messages.warnings(ready.warnings),
            provenance=messages.provenance(ready.provenance),
        )

    async def _ready(self, **more: Any) -> None:
        modalities = list(self._asked.modalities)
        await self.client.send("ready", stream_id=self._id, modalities=modalities, **more)

    async def _voice_partial(self, partial: voice_pb2.StreamVoicePartial) -> None:
        if not partial.HasField("emotion"):
            return
        found = types_pb2.Emotions(primary=partial.emotion, all=partial.all)
        voice: dict[str, Any] = {"final": False}
        if partial.HasField("transcript"):
            voice["transcript"] = partial.transcript
        await self._voice_result(partial.timestamp_ms, found, partial.dimensions, voice)

    async def _voice_final(self, segment: voice_pb2.StreamVoiceSegment) -> None:
        _, start_ms = self._audio.at(segment.start_ms)
        voice: dict[str, Any] = {"final": True, "start": iso(start_ms)}
        if self._asked.voice.return_transcript:
            voice["transcript"] = segment.text
        found = types_pb2.Emotions(primary=segment.emotion, all=[segment.emotion])
        await self._voice_result(segment.end_ms, found, segment.dimensions, voice)

    async def _voice_result(
        self,
        service_ms: int,
        found: types_pb2.Emotions,
        dimensions: types_pb2.Dimensions,
        voice: dict[str, Any],
    ) -> None:
        moment, epoch_ms = self._audio.at(service_ms)
        self._note("voice", 0, found.primary)
        changed = bool(self._voice_label) and found.primary.label != self._voice_label
        self._voice_label = found.primary.label
        due = self._ratings["voice"].due(epoch_ms, found.primary.confidence, changed)
        if due or voice["final"]:
            await self.client.send(
                "result",
                **self._head(moment.number, epoch_ms, moment.latency_ms),
                **self._found(found, changed),
                **self._dimensions(dimensions),
                voice=voice,
            )

    def _note(self, part: str, track: int, primary: types_pb2.Emotion) -> None:
        known = self._confidences.setdefault((part, track), {})
        known[primary.label] = primary.confidence

    async def _event(self, part: str, event: types_pb2.StreamEvent) -> None:
        if event.type == types_pb2.STREAM_EVENT_TYPE_INPUT_DROPPED:
            what = "frames" if part == "facial" else "partial results"
            await self.tell_dropped(what, event.dropped_count)
            return
        track = event.tracking_id if event.HasField("tracking_id") else 0
        known = self._confidences.get((part, track), {})
        if part == "facial":
            epoch_ms = self._images.epoch_ms(event.timestamp_ms)
        else:
            _, epoch_ms = self._audio.at(event.timestamp_ms)
        out: dict[str, Any] = {
            "event_type": messages.event_type(event),
            "stream_id": self._id,
            "timestamp": iso(epoch_ms),
        }
        for field, value in event.ListFields():
            match field.name:
                case "previous_emotion" | "current_emotion":
                    out[field.name] = {"label": value, "confidence": known.get(value)}
                case "transition_duration_ms" | "trigger":
                    out[field.name] = value
                case "tracking_id":
                    out[field.name] = _tracking_id(value)
        if event.type == types_pb2.STREAM_EVENT_TYPE_FACE_LOST:
            self._confidences.pop((part, track), None)
        await self.client.send("event", **out)

    def summary(self) -> Mapping[str, Any] | None:
        """Of all modalities together."""
        if not self._summaries:
            return None
        out = messages.summary(self._summaries.values(), self.dropped)
        out["duration_ms"] = self._last_ms - (self._first_ms or self._last_ms)
        return {"stream_id": self._id, **out}

    @property
    def id(self) -> str:
        """The one that was chosen or made."""
        return self._id

    def resumable(self) -> _Kept:
        """Itself; the voice goes on where its service still has it."""
        audio = self._audio if "voice" in self.parts else None
        return _Kept(self._message, self._voice_id, audio, self._first_ms, self._last_ms)


def _face(main: face_pb2.Face | None, count: int) -> dict[str, Any]:
    if main is None:
        return {"detected": False}
    box = main.bbox
    return {
        "detected": True,
        "count": count,
        "tracking_id": _tracking_id(main.face_id),
        "bbox": {"x": box.x, "y": box.y, "width": box.width, "height": box.height},
    }


def _tracking_id(number: int) -> str:
    return f"face_{number:03d}"
