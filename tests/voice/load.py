"""Live streams in real time against a voice service of their own, and what they cost it.

python -m tests.voice.load STREAMS SECONDS [transcript]
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import grpc
import numpy as np
import psutil

from affectmesh.v1 import voice_pb2, voice_pb2_grpc
from services.common.settings import Settings
from tests.voice.recordings import Floats, bytes_of, silence, speech
from tests.voice.streams import CLOSE, Request, audio, config, pcm

PORT_BASE = 56_050
WARM_S = 12
CHUNK_S = 0.1


@dataclass
class Tally:
    """Times in ms from the end of the audio concerned to its answer."""

    partials_ms: list[float] = field(default_factory=list)
    finals_ms: list[float] = field(default_factory=list)
    dropped: int = 0


def talk(seconds: float, shift: int) -> Floats:
    """The samples of samples/voice in turn, 0.8 s between them, beginning elsewhere each time."""
    numbers = ("0870", "0880", "0890", "0920", "0930")
    once = np.concatenate([part for n in numbers for part in (speech(n), silence(0.8))])
    count = round(seconds * 16_000)
    return np.resize(np.roll(once, shift), count)


async def stream(
    stub: voice_pb2_grpc.VoiceServiceStub, samples: Floats, transcript: bool, tally: Tally
) -> None:
    started = time.perf_counter()

    async def paced() -> AsyncIterator[Request]:
        yield config(transcript=transcript)
        for place, chunk in enumerate(audio(pcm(samples)), 1):
            await asyncio.sleep(max(0.0, started + place * CHUNK_S - time.perf_counter()))
            yield chunk
        yield CLOSE

    async for answer in stub.StreamVoice(paced()):
        now_ms = (time.perf_counter() - started) * 1000
        if answer.HasField("partial"):
            tally.partials_ms.append(now_ms - answer.partial.timestamp_ms)
        elif answer.HasField("final"):
            tally.finals_ms.append(now_ms - answer.final.segment.end_ms)
        elif answer.HasField("summary"):
            tally.dropped += answer.summary.frames_dropped


async def measure(process: psutil.Process, streams: int, seconds: float, transcript: bool) -> None:
    address = Settings(port_base=PORT_BASE).address("voice")
    async with grpc.aio.insecure_channel(address) as channel:
        await asyncio.wait_for(channel.channel_ready(), 60)
        await asyncio.sleep(WARM_S)
        stub = voice_pb2_grpc.VoiceServiceStub(channel)
        await stub.AnalyzeVoice(
            voice_pb2.AnalyzeVoiceRequest(
                audio=bytes_of("0870"), options=voice_pb2.VoiceOptions(return_transcript=transcript)
            )
        )
        tally = Tally()
        memory, before = process.memory_info().rss, process.cpu_times()

        async def one(number: int) -> None:
            await asyncio.sleep(number / streams)
            await stream(stub, talk(seconds, number * 7919), transcript, tally)

        await asyncio.gather(*map(one, range(streams)))
        after = process.cpu_times()
    spent = after.user + after.system - before.user - before.system
    print(f"CPU per second of a stream: {spent / streams / seconds * 1000:.1f} ms")
    for name, times in (("partials", tally.partials_ms), ("finals", tally.finals_ms)):
        median, late, most = np.percentile(times, [50, 95, 100])
        print(f"{len(times)} {name}, after p50 {median:.0f}, p95 {late:.0f}, most {most:.0f} ms")
    print(f"partials left out: {tally.dropped}")
    print(f"memory: {memory >> 20} to {process.memory_info().rss >> 20} MB")
    print(f"load average: {os.getloadavg()[0]:.1f}")


def main() -> None:
    streams, seconds = int(sys.argv[1]), float(sys.argv[2])
    environment = {
        **os.environ,
        "AFFECTMESH_PORT_BASE": str(PORT_BASE),
        "AFFECTMESH_LOG_LEVEL": "warning",
    }
    service = subprocess.Popen([sys.executable, "-m", "services.voice"], env=environment)
    try:
        asyncio.run(measure(psutil.Process(service.pid), streams, seconds, len(sys.argv) > 3))
    finally:
        service.terminate()
        service.wait()


if __name__ == "__main__":
    main()
