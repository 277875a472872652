"""The figures of the voice: `python -m bench.voice`.

On a mesh of its own, with speech recognition loaded only when it is first asked for, so that the
memory without it shows.
"""

import asyncio
import base64
import io
import os
import statistics
import time

import httpx
import numpy as np
import soundfile

from bench.live import RATE_HZ, talk, voices
from bench.table import against
from bench.usage import resident_mb
from services.mesh.temporary import TemporaryMesh

CLIP_MS, PARTIAL_MS = 150.0, 400.0
PLAIN_SHARE, SPOKEN_SHARE = 100 / 15, 100 / 8
"""Most of a recording's own time that its analysis takes, in percent: 15 and 8 × real time."""
PLAIN_MB, SPOKEN_MB = 300.0, 900.0
_CLIPS = 30
_RECORDING_S = 120


def main() -> None:
    """Measures and prints."""
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before", flush=True)
    with TemporaryMesh({"AFFECTMESH_VOICE_PRELOAD": "false"}) as mesh:
        _say("voice, 4 s without transcript, p50", _clips(mesh), "ms", CLIP_MS)
        share = _recording(mesh, transcript=False)
        _say(f"voice, {100 / share:.0f} x real time without transcript", share, "%", PLAIN_SHARE)
        _live(mesh, 20, 30, transcript=False)
        memory = resident_mb(mesh)["voice"]
        _say("voice, resident without recognition", memory, "MB", PLAIN_MB)
        _recording(mesh, transcript=True, seconds=10)
        share = _recording(mesh, transcript=True)
        _say(f"voice, {100 / share:.0f} x real time with transcript", share, "%", SPOKEN_SHARE)
        _live(mesh, 2, 20, transcript=True)
        memory = resident_mb(mesh)["voice"]
        _say("voice, resident with recognition", memory, "MB", SPOKEN_MB)


def _say(name: str, value: float, unit: str, target: float) -> None:
    print(against(name, value, unit, target), flush=True)


def _clips(mesh: TemporaryMesh) -> float:
    times = [_analyse(mesh, 4, transcript=False) for _ in range(_CLIPS)]
    return statistics.median(times[3:]) * 1000


def _recording(mesh: TemporaryMesh, *, transcript: bool, seconds: float = _RECORDING_S) -> float:
    return 100 * _analyse(mesh, seconds, transcript=transcript) / seconds


def _analyse(mesh: TemporaryMesh, seconds: float, *, transcript: bool) -> float:
    """Seconds until the answer."""
    file = io.BytesIO()
    soundfile.write(file, talk(seconds), RATE_HZ, format="FLAC")
    body = {
        "audio_base64": base64.b64encode(file.getvalue()).decode(),
        "options": {"language": "en", "return_transcript": transcript},
    }
    url, headers = f"{mesh.address}/v1/analyze/voice", {"X-WIA-API-Key": mesh.key}
    started_s = time.perf_counter()
    httpx.post(url, json=body, headers=headers, timeout=300).raise_for_status()
    return time.perf_counter() - started_s


def _live(mesh: TemporaryMesh, count: int, seconds: float, *, transcript: bool) -> None:
    tally = asyncio.run(voices(mesh, count, seconds, transcript=transcript))
    kind = f"{count} live voices{' with transcripts' if transcript else ''}"
    _say(f"{kind}, partial, p50", float(np.median(tally.partials_ms)), "ms", PARTIAL_MS)
    _say(f"{kind}, partial, p95", float(np.percentile(tally.partials_ms, 95)), "ms", PARTIAL_MS)
    _say(f"{kind}, lost or late", tally.sent - tally.processed + tally.dropped, "", 0)


if __name__ == "__main__":
    main()
