"""What a model costs on Triton beside in process, one client: `python -m bench.triton`.

Starts the real Triton of the tests, whose Python backend stands in for the ONNX Runtime backend of
NVIDIA's image and takes time of its own.
"""

import asyncio
import os
import statistics
import tempfile
import time
from pathlib import Path

from bench.table import against
from services.common.inference import Inference
from services.common.inference.embedded import EmbeddedInference
from services.common.inference.repository import Repository
from services.common.inference.triton import TritonInference
from services.common.settings import Settings
from tests.triton.server import TritonServer

MODELS = ("text_dimensions", "face_expression", "voice_emotion_open", "face_blendshapes")
"""Small ones: what they take themselves does not hide what the way to Triton takes."""

ROUNDS, RUNS, TARGET_MS = 5, 200, 1.5


def main() -> None:
    """Measures and prints."""
    repository = Repository(Settings().model_repository)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="triton-") as folder,
        TritonServer(Path(folder), repository, MODELS) as server,
    ):
        asyncio.run(_measure(repository, server.url))


async def _measure(repository: Repository, url: str) -> None:
    embedded, remote = EmbeddedInference(repository, 1), TritonInference(repository, url)
    print(f"{'model':20} {'in process':>10} {'Triton':>8} {'more, ms':>9}")
    more = []
    for model in MODELS:
        here, there = [], []
        for _ in range(ROUNDS):
            here.append(await _median_ms(repository, embedded, model))
            there.append(await _median_ms(repository, remote, model))
        more.append(min(there) - min(here))
        print(f"{model:20} {min(here):>10.2f} {min(there):>8.2f} {more[-1]:>9.2f}", flush=True)
    print(against("Triton over in process, median model", statistics.median(more), "ms", TARGET_MS))
    await remote.close()
    await embedded.close()


async def _median_ms(repository: Repository, inference: Inference, model: str) -> float:
    inputs = repository[model].example()
    times = []
    for _ in range(RUNS):
        started = time.perf_counter()
        await inference.infer(model, inputs)
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1000


if __name__ == "__main__":
    main()
