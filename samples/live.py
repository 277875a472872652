"""Streams speech to a running mesh and shows, as it goes, what it sounds like.

    python samples/live.py samples/voice/austen-0870.flac --key KEY
    arecord -q -t raw -f S16_LE -r 16000 | python samples/live.py - --key KEY --transcript

A file is paced at 1 × real time; `-` reads raw 16 kHz 16-bit mono sound, such as a microphone's.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator

import numpy as np
import soundfile
import soxr
from websockets.asyncio.client import ClientConnection, connect

RATE_HZ = 16_000
CHUNK_S = 0.1
CHUNK_BYTES = int(RATE_HZ * CHUNK_S) * 2
BAR = 30


async def main() -> None:
    """Sends and shows until the sound ends."""
    options = _arguments()
    chunks = microphone() if options.sound == "-" else recording(options.sound)
    config = {
        "type": "config",
        "sample_rate": RATE_HZ,
        "encoding": "LINEAR16",
        "language": options.language,
        "return_transcript": options.transcript,
    }
    url = f"{options.address}/v1/analyze/voice/stream"
    async with connect(url, additional_headers={"X-WIA-API-Key": options.key}) as stream:
        await stream.send(json.dumps(config))
        sending = asyncio.create_task(send(stream, chunks))
        await show(stream)
        await sending


async def recording(path: str) -> AsyncIterator[bytes]:
    """The chunks of a file, one every CHUNK_S seconds."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono = soxr.resample(samples.mean(axis=1), rate, RATE_HZ)
    pcm = (np.clip(mono, -1, 1) * 32767).astype("<i2").tobytes()
    clock = asyncio.get_running_loop()
    started = clock.time()
    for number, start in enumerate(range(0, len(pcm), CHUNK_BYTES), 1):
        yield pcm[start : start + CHUNK_BYTES]
        await asyncio.sleep(started + number * CHUNK_S - clock.time())


async def microphone() -> AsyncIterator[bytes]:
    """The chunks of standard input."""
    while chunk := await asyncio.to_thread(sys.stdin.buffer.read, CHUNK_BYTES):
        yield chunk


async def send(stream: ClientConnection, chunks: AsyncIterator[bytes]) -> None:
    """Sends the sound, then says that it is over."""
    async for chunk in chunks:
        await stream.send(chunk)
    await stream.send(json.dumps({"type": "close"}))


async def show(stream: ClientConnection) -> None:
    """Prints a rolling line for what is heard now, and a lasting one for each utterance."""
    async for text in stream:
        message = json.loads(text)
        if message["type"] == "partial":
            print(
                f"\r\033[K{line(message['timestamp_ms'], message['emotion'])}", end="", flush=True
            )
        elif message["type"] == "final":
            said = message["segment"]
            print(f"\r\033[K{line(said['end_ms'], said['emotion'])} {said['text']}")
        elif message["type"] == "error":
            print(f"\r\033[K{message['code']}: {message['message']}")
        elif message["type"] == "session_summary":
            shares = sorted(message["emotion_distribution"].items(), key=lambda share: -share[1])
            listed = ", ".join(f"{label} {share:.0%}" for label, share in shares if share >= 0.01)
            print(f"\r\033[K{message['duration_ms'] / 1000:.1f} s: {listed or 'no speech'}")


def line(at_ms: int, emotion: dict[str, float]) -> str:
    """When, what and how sure."""
    filled = round(emotion["confidence"] * BAR)
    bar = "█" * filled + "·" * (BAR - filled)
    return f"{at_ms / 1000:6.1f} s  {emotion['label']:<12} {bar} {emotion['confidence']:4.0%}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("sound", help="a file, or - for raw sound on standard input")
    parser.add_argument("--key", required=True, help="an API key with the scope emotion:stream")
    parser.add_argument("--address", default="ws://127.0.0.1:8080", help="of the gateway")
    parser.add_argument("--language", default="en-US", help="BCP 47 tag of the language spoken")
    parser.add_argument("--transcript", action="store_true", help="also what was said")
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(main())
