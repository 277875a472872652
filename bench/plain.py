"""What a mesh is compared with: the two text models alone, and in a plain web server.

One text a request, one request a run, without batches, keys, limits, metering, aspects, entities or
calibration: the shortest server that one would write around the models. FastAPI is made of the
same Starlette, and would check the body besides.
"""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import onnxruntime
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.common.settings import Settings
from services.mesh.ports import free_ports
from services.text.model import BUCKETS, ENGLISH, sigmoid
from services.text.tokens import TokenReader

_STATES = "states"
_HOST = "127.0.0.1"


class PlainModels:
    """Sessions of one thread each, and the tokenizer."""

    def __init__(self) -> None:
        folder = Settings().model_repository
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._affect, self._dimensions = (
            onnxruntime.InferenceSession(str(folder / name / "1" / "model.onnx"), options)
            for name in (ENGLISH.affect, ENGLISH.dimensions)
        )
        self._reader = TokenReader(folder / ENGLISH.affect / "tokenizer.json")

    def inputs(self, text: str) -> dict[str, np.ndarray]:
        """A text as the model takes it, padded as the service pads it."""
        tokens = self._reader.read(text)
        length = next(size for size in BUCKETS if size >= len(tokens) + 2)
        ids = np.zeros((1, length), np.int64)
        ids[0, : len(tokens) + 2] = [self._reader.cls, *tokens.ids, self._reader.sep]
        return {"ids": ids, "cases": np.zeros_like(ids)}

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Every output of both models."""
        *found, states = self._affect.run([*ENGLISH.heads, _STATES], inputs)
        mask = (inputs["ids"] != 0).astype(np.float32)
        (dimensions,) = self._dimensions.run(None, {_STATES: states, "mask": mask})
        return {**dict(zip(ENGLISH.heads, found, strict=True)), "dimensions": dimensions}

    def per_s(self, text: str, threads: int, seconds: float) -> float:
        """Runs a second of one text at a time in each thread."""
        inputs = self.inputs(text)
        until = time.perf_counter() + seconds

        def work() -> int:
            done = 0
            while time.perf_counter() < until:
                self.run(inputs)
                done += 1
            return done

        with ThreadPoolExecutor(threads) as pool:
            return sum(pool.map(lambda _: work(), range(threads))) / seconds


def app() -> Starlette:
    """The server; it answers POST /v1/analyze/text {"text": …}."""
    models = PlainModels()

    def answer(text: str) -> dict[str, list[float]]:
        found = models.run(models.inputs(text))
        return {
            "emotions": sigmoid(found["emotions"])[0].tolist(),
            "sentiment": found["sentiment"][0].tolist(),
            "dimensions": found["dimensions"][0].tolist(),
        }

    async def analyze(request: Request) -> Response:
        body = await request.json()
        return JSONResponse(await run_in_threadpool(answer, body["text"]))

    return Starlette(routes=[Route("/v1/analyze/text", analyze, methods=["POST"])])


@contextmanager
def serving() -> Iterator[str]:
    """The URL of the server, in a process of its own."""
    port, _ = free_ports(_HOST)
    options = ("--factory", "--port", str(port), "--log-level", "warning")
    with subprocess.Popen([sys.executable, "-m", "uvicorn", "bench.plain:app", *options]) as server:
        try:
            while not _listens(port):
                if server.poll() is not None:
                    raise RuntimeError("The plain server ended before it served.")
                time.sleep(0.1)
            yield f"http://{_HOST}:{port}"
        finally:
            server.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((_HOST, port)) == 0
