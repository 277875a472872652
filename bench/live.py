"""Live voices in real time over WebSocket, and how late what comes back is."""

import asyncio
import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from websockets.asyncio.client import ClientConnection, connect

from services.mesh.temporary import TemporaryMesh

RATE_HZ = 16_000
CHUNK_S = 0.1
_CHUNK = round(RATE_HZ * CHUNK_S)
_SAMPLES = Path(__file__).parents[1] / "samples" / "voice"
_PATH = "/v1/analyze/voice/stream"
_APART_S = 0.8


@dataclass
class Tally:
    """Times in ms from the end of the audio concerned to its answer; counts over all streams."""

    partials_ms: list[float] = field(default_factory=list)
    finals_ms: list[float] = field(default_factory=list)
    late_chunks: int = 0
    """Chunks that were sent more than one chunk late, since the socket did not take them."""
    sent: int = 0
    processed: int = 0
    dropped: int = 0
    errors: list[str] = field(default_factory=list)


def talk(seconds: float, shift: int = 0) -> NDArray[np.int16]:
    """The sample voices in turn, 0.8 s of silence between them, begun at another place."""
    silence = np.zeros(round(_APART_S * RATE_HZ), np.int16)
    voices = [soundfile.read(file, dtype="int16")[0] for file in sorted(_SAMPLES.glob("*.flac"))]
    once = np.concatenate([part for voice in voices for part in (voice, silence)])
    return np.resize(np.roll(once, shift), round(seconds * RATE_HZ))


async def voices(mesh: TemporaryMesh, count: int, seconds: float, *, transcript: bool) -> Tally:
    """Lets so many speak at once, each from another place in the samples on."""
    tally = Tally()

    async def one(number: int) -> None:
        await asyncio.sleep(number / count)
        await _speak(mesh, talk(seconds, 7919 * number), transcript, tally)

    await asyncio.gather(*map(one, range(count)))
    return tally


async def _speak(
    mesh: TemporaryMesh, samples: NDArray[np.int16], transcript: bool, tally: Tally
) -> None:
    config = {
        "type": "config",
        "sample_rate": RATE_HZ,
        "encoding": "LINEAR16",
        "language": "en",
        "return_transcript": transcript,
    }
    address = mesh.address.replace("http", "ws", 1) + _PATH
    async with connect(address, additional_headers={"X-WIA-API-Key": mesh.key}) as socket:
        await socket.send(json.dumps(config))
        while json.loads(await socket.recv())["type"] != "ready":
            pass
        started_s = time.perf_counter()
        sending = asyncio.create_task(_send(socket, samples, started_s, tally))
        async for message in socket:
            _count(json.loads(message), (time.perf_counter() - started_s) * 1000, tally)
        await sending


async def _send(
    socket: ClientConnection, samples: NDArray[np.int16], started_s: float, tally: Tally
) -> None:
    for number, start in enumerate(range(0, samples.size, _CHUNK), 1):
        due_s = started_s + number * CHUNK_S
        await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
        await socket.send(samples[start : start + _CHUNK].tobytes())
        tally.sent += 1
        tally.late_chunks += time.perf_counter() - due_s > CHUNK_S
    await socket.send(json.dumps({"type": "close"}))


def _count(message: dict[str, object], now_ms: float, tally: Tally) -> None:
    match message:
        case {"type": "partial", "timestamp_ms": int(at_ms)}:
            tally.partials_ms.append(now_ms - at_ms)
        case {"type": "final", "segment": {"end_ms": int(end_ms)}}:
            tally.finals_ms.append(now_ms - end_ms)
        case {"type": "error", "code": str(code)}:
            tally.errors.append(code)
        case {
            "type": "session_summary",
            "frames_processed": int(processed),
            "frames_dropped": int(dropped),
        }:
            tally.processed += processed
            tally.dropped += dropped
