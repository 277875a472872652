"""Asks face, voice and text of a recording, and the signals of the body, at the same time."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

import grpc

from affectmesh.v1 import (
    biosignal_pb2,
    biosignal_pb2_grpc,
    face_pb2,
    face_pb2_grpc,
    text_pb2,
    text_pb2_grpc,
    types_pb2,
    voice_pb2,
    voice_pb2_grpc,
)
from services.common import channels, errors
from services.common.channels import Channels, call
from services.fusion import footage
from services.fusion.depth import Depth
from services.fusion.footage import Footage

SHARES = {"footage": 0.05, "face": 0.6, "voice": 0.25, "text": 0.08}
"""Of the work, for progress; what is left is putting it together."""
MAX_CHARACTERS = 100_000
"""Of a transcript that is read as a whole; the text service takes no more."""
BATCH = 500
AT_ONCE = 4
"""Sayings sent in one batch, and sayings read at the same time."""
MOST_PICTURES = 50_000
"""Analysed of one recording; of one that would have more, fewer a second are."""
MIN_FACE_PX = 32
"""Smaller ones show too little to count."""
_MOST_SKIPPED = 1000
_CHUNK_BYTES = 1024 * 1024

Report = Callable[[str, float], None]
"""Takes a name of SHARES and how much of it is done, in [0, 1]."""
Words = text_pb2.AnalyzeTextResponse | text_pb2.BatchTextResult


@dataclass
class Gathered:
    """What the services answered; what failed is named in the warnings.

    face: None where no picture was analysed. words: what each segment of the voice carries, None
    where it has no text or was not read.
    """

    footage: Footage
    interval_ms: float
    face: face_pb2.AnalyzeFaceVideoResponse | None = None
    voice: voice_pb2.AnalyzeVoiceResponse | None = None
    text: text_pb2.AnalyzeTextResponse | None = None
    biosignal: biosignal_pb2.AnalyzeBiosignalResponse | None = None
    words: list[Words | None] = field(default_factory=list)
    warnings: list[types_pb2.Warning] = field(default_factory=list)
    failures: list[errors.AffectMeshError] = field(default_factory=list)

    def warn(self, code: str, message: str) -> None:
        """Names something that makes the result worth less."""
        self.warnings.append(types_pb2.Warning(code=code, message=message))

    def leave_out(self, name: str, error: errors.AffectMeshError) -> None:
        """Notes that a modality failed."""
        self.failures.append(error)
        self.warn(error.code, f"{name} is left out: {error.message}")


class Gatherer:
    """Asks the services of one recording, until `until_s` of the loop's clock at the latest."""

    def __init__(
        self, channels: Channels, depth: Depth, longest_s: float, until_s: float, report: Report
    ) -> None:
        self._channels = channels
        self._depth = depth
        self._longest_s = longest_s
        self._until_s = until_s
        self._report = report

    async def gather(
        self,
        file: IO[bytes],
        language: str,
        signals: biosignal_pb2.AnalyzeBiosignalRequest | None = None,
    ) -> Gathered:
        """Everything the services say. A service that fails is left out.

        Raises what footage.read raises, and InvalidRequest for a language that is none.
        """
        known = await asyncio.to_thread(footage.read, file)
        self._report("footage", 1)
        skipped = _skipped(known, self._depth)
        found = Gathered(known, 1000 * skipped / known.frame_rate_hz)
        if known.damaged:
            found.warn(
                "VIDEO_DAMAGED", "The file is damaged or cut off; what is there is analysed."
            )
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._ask_face(found, file, skipped))
                group.create_task(self._ask_speech(found, language))
                if signals is not None:
                    group.create_task(self._ask_body(found, signals))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return found

    async def _ask_face(self, found: Gathered, file: IO[bytes], skipped: int) -> None:
        options = face_pb2.FaceVideoOptions(
            sample_rate=skipped, return_action_units=True, min_face_size=MIN_FACE_PX
        )
        pictures_ms = found.footage.pictures_ms
        frames: list[face_pb2.FaceFrame] = []
        result = face_pb2.AnalyzeFaceVideoResponse()
        failure: errors.AffectMeshError | None = None
        try:
            async for message in self._follow(file, options, pictures_ms / 1000):
                result.MergeFrom(message.result)
                frames.extend(message.frames.frames)
                if frames:
                    self._report("face", min(1.0, frames[-1].timestamp_ms / pictures_ms))
        except errors.AffectMeshError as error:
            failure = error
        if frames:
            result.timeline.extend(frames)
            found.face = result
        if failure is not None and frames:
            found.failures.append(failure)
            found.warn(failure.code, _missing(frames[-1].timestamp_ms, pictures_ms, failure))
        elif failure is not None:
            found.leave_out("face", failure)
        self._report("face", 1)

    async def _follow(
        self, file: IO[bytes], options: face_pb2.FaceVideoOptions, length_s: float
    ) -> AsyncIterator[face_pb2.FollowFacesResponse]:
        """Sends the file once and gives what comes back."""

        async def requests() -> AsyncIterator[face_pb2.FollowFacesRequest]:
            video = face_pb2.AnalyzeFaceVideoRequest(options=options)
            yield face_pb2.FollowFacesRequest(video=video)
            sent = 0
            while chunk := await asyncio.to_thread(os.pread, file.fileno(), _CHUNK_BYTES, sent):
                yield face_pb2.FollowFacesRequest(chunk=chunk)
                sent += len(chunk)

        stub = self._channels.stub("face", face_pb2_grpc.FaceServiceStub)
        call = stub.FollowFaces(
            requests(), timeout=self._patience(length_s), metadata=channels.metadata()
        )
        try:
            async for message in call:
                yield message
        except grpc.aio.AioRpcError as error:
            raise errors.from_rpc(error, "face") from error
        finally:
            call.cancel()

    async def _ask_body(
        self, found: Gathered, signals: biosignal_pb2.AnalyzeBiosignalRequest
    ) -> None:
        stub = self._channels.stub("biosignal", biosignal_pb2_grpc.BiosignalServiceStub)
        try:
            found.biosignal = await self._call("biosignal", stub.AnalyzeBiosignal, signals)
        except errors.AffectMeshError as error:
            found.leave_out("biosignal", error)

    async def _ask_speech(self, found: Gathered, language: str) -> None:
        if found.footage.sound is None:
            found.warn("NO_SOUND", "The recording has no sound; voice and text are left out.")
        else:
            found.voice = await self._ask_voice(found, found.footage.sound, language)
        self._report("voice", 1)
        if found.voice is not None:
            found.words = [None] * len(found.voice.segments)
            if found.voice.transcript.strip():
                try:
                    await self._ask_text(found, found.voice)
                except errors.AffectMeshError as error:
                    found.leave_out("text", error)
        self._report("text", 1)

    async def _ask_voice(
        self, found: Gathered, sound: bytes, language: str
    ) -> voice_pb2.AnalyzeVoiceResponse | None:
        method = self._channels.stub("voice", voice_pb2_grpc.VoiceServiceStub).AnalyzeVoice
        request = voice_pb2.AnalyzeVoiceRequest(
            audio=sound,
            options=voice_pb2.VoiceOptions(language=language, segment_by=self._depth.segment_by),
        )
        length_s = found.footage.duration_ms / 1000
        answer: voice_pb2.AnalyzeVoiceResponse
        try:
            try:
                answer = await self._call("voice", method, request, length_s)
            except errors.Unavailable as error:
                request.options.return_transcript = False
                request.options.ClearField("segment_by")
                answer = await self._call("voice", method, request, length_s)
                found.warn(error.code, f"There is no transcript: {error.message}")
        except errors.AffectMeshError as error:
            if type(error) is errors.InvalidRequest:
                field_of_ours = error.details.get("field", "").removeprefix("options.")
                raise type(error)(
                    error.message, **{**error.details, "field": field_of_ours}
                ) from None
            found.leave_out("voice", error)
            return None
        return answer

    async def _ask_text(self, found: Gathered, voice: voice_pb2.AnalyzeVoiceResponse) -> None:
        stub = self._channels.stub("text", text_pb2_grpc.TextServiceStub)
        language = voice.language_detected
        transcript = voice.transcript
        if len(transcript) > MAX_CHARACTERS:
            found.warn(
                "TRANSCRIPT_SHORTENED",
                f"Of the transcript as a whole the first {MAX_CHARACTERS:,} characters are read.",
            )
        topics = self._depth.topics
        found.text = await self._call(
            "text",
            stub.AnalyzeText,
            text_pb2.AnalyzeTextRequest(
                text=transcript[:MAX_CHARACTERS],
                language=language,
                options=text_pb2.TextOptions(return_aspects=topics, return_entities=topics),
            ),
        )
        self._report("text", 0.2)
        said = [place for place, one in enumerate(voice.segments) if one.text.strip()]
        read = self._read_in_full if self._depth.every_saying_in_full else self._read_in_short
        count = 0
        for part in read(stub, found, voice, said, language):
            count += await part
            self._report("text", 0.2 + 0.8 * count / len(said))

    def _read_in_short(
        self,
        stub: Any,
        found: Gathered,
        voice: voice_pb2.AnalyzeVoiceResponse,
        said: Sequence[int],
        language: str,
    ) -> Iterator[Awaitable[int]]:
        """Reads sayings in batches; each awaitable gives how many."""

        async def read(places: Sequence[int]) -> int:
            request = text_pb2.AnalyzeTextBatchRequest(
                texts=[
                    text_pb2.BatchText(id=str(place), text=voice.segments[place].text)
                    for place in places
                ],
                language=language,
            )
            answer = await self._call("text", stub.AnalyzeTextBatch, request)
            for place, one in zip(places, answer.results, strict=True):
                found.words[place] = one
            return len(places)

        return (read(said[start : start + BATCH]) for start in range(0, len(said), BATCH))

    def _read_in_full(
        self,
        stub: Any,
        found: Gathered,
        voice: voice_pb2.AnalyzeVoiceResponse,
        said: Sequence[int],
        language: str,
    ) -> Iterator[Awaitable[int]]:
        """Reads sayings one by one, AT_ONCE at the same time; each awaitable gives how many."""

        async def read_one(place: int) -> None:
            request = text_pb2.AnalyzeTextRequest(
                text=voice.segments[place].text,
                language=language,
                options=text_pb2.TextOptions(return_aspects=False, return_entities=False),
            )
            found.words[place] = await self._call("text", stub.AnalyzeText, request)

        async def read(places: Sequence[int]) -> int:
            await asyncio.gather(*map(read_one, places))
            return len(places)

        return (read(said[start : start + AT_ONCE]) for start in range(0, len(said), AT_ONCE))

    async def _call(self, name: str, method: Any, request: Any, length_s: float = 0) -> Any:
        return await call(name, method, request, self._patience(length_s))

    def _patience(self, length_s: float) -> float:
        """Seconds for a call: the usual time and the length of what it is about."""
        left_s = self._until_s - asyncio.get_running_loop().time()
        return max(0.0, min(left_s, self._longest_s + length_s))


def _skipped(known: Footage, depth: Depth) -> int:
    """Every how many pictures one is analysed."""
    wanted = known.frame_rate_hz / depth.faces_hz
    pictures = known.pictures_ms / 1000 * known.frame_rate_hz
    return min(_MOST_SKIPPED, max(1, int(wanted), -int(-pictures // MOST_PICTURES)))


def _missing(start_ms: int, end_ms: int, error: errors.AffectMeshError) -> str:
    return (
        f"Faces from {start_ms / 1000:.1f} s to {end_ms / 1000:.1f} s are missing: {error.message}"
    )
