"""The figures of the text: `python -m bench.text`.

On a mesh of its own, the text service asked over gRPC, without the gateway.
"""

import asyncio
import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import onnxruntime
import orjson

from affectmesh.v1 import text_pb2, text_pb2_grpc
from bench.measure import measure
from bench.table import against
from bench.usage import resident_mb
from services.cli.samples import SampleRequest
from services.common.channels import OPTIONS
from services.common.settings import Settings
from services.mesh.temporary import TemporaryMesh
from services.text.model import BUCKETS, ENGLISH
from services.text.tokens import TokenReader

SHORT_MS, TEXTS_PER_S, RESIDENT_MB = 3.0, 900.0, 250.0
"""Targets: a few words with every option that is on by default; texts of 20 tokens in batches;
memory with the English model under load."""

SHORT = "What a wonderful day!"
TWENTY = (
    "The waiter was friendly and quick, but the soup was cold and the room far too loud tonight."
)
"""Twenty word pieces."""
GERMAN = "Das Zimmer war schön, aber das Essen war kalt und der Kellner sehr unfreundlich."
OF_RAW = 0.75
"""Least share of the bare models' throughput that is left over REST."""
_RAW_S = 5.0
_WARM, _SHORTS, _BATCH, _BATCHES, _CLIENTS = 20, 300, 1000, 5, 32

_REPOSITORY = Settings.model_fields["model_repository"].default

_Stub = text_pb2_grpc.TextServiceStub


def main() -> None:
    """Measures and prints."""
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before", flush=True)
    with TemporaryMesh({"AFFECTMESH_LOG_LEVEL": "debug"}) as mesh:
        asyncio.run(_measure(mesh))
        sample = SampleRequest("text of 20 tokens", "/v1/analyze/text", {"text": TWENTY}, TWENTY)
        row = measure(mesh, sample, _CLIENTS, _RAW_S)
    raw_per_s = _raw_per_s(TWENTY)
    share = row.requests_per_s / raw_per_s
    print(
        f"20 tokens over REST, {_CLIENTS} clients: {row.requests_per_s:.0f}/s, {share:.0%} of "
        f"{raw_per_s:.0f}/s of the bare models (target {OF_RAW:.0%}: "
        f"{'met' if share >= OF_RAW else 'missed'})"
    )


async def _measure(mesh: TemporaryMesh) -> None:
    def memory() -> float:
        return resident_mb(mesh)["text"]

    address = mesh.settings.address("text")
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
        stub = text_pb2_grpc.TextServiceStub(channel)
        _say("text, resident before the load", memory(), "MB", RESIDENT_MB)
        until_answer_ms, in_service_ms = await _short(stub, mesh)
        _say("short text in the service, p50", in_service_ms, "ms", SHORT_MS)
        print(f"{'short text there and back, p50':44} {until_answer_ms:>8.2f} ms")
        each_ms = await _batches(stub, TWENTY, _BATCHES)
        name = f"text of 20 tokens in a batch, {1000 / each_ms:.0f}/s"
        _say(name, each_ms, "ms", 1000 / TEXTS_PER_S)
        await _clients(stub)
        _say("text, resident after the load", memory(), "MB", RESIDENT_MB)
        await _batches(stub, GERMAN, 1)
        print(f"{'text, resident with the multilingual model':44} {memory():>8.2f} MB")


def _say(name: str, value: float, unit: str, target: float) -> None:
    print(against(name, value, unit, target), flush=True)


async def _short(stub: _Stub, mesh: TemporaryMesh) -> tuple[float, float]:
    """Median milliseconds until the answer is here, and in the service by its own log."""
    times = []
    for _ in range(_WARM + _SHORTS):
        started_s = time.perf_counter()
        await stub.AnalyzeText(text_pb2.AnalyzeTextRequest(text=SHORT))
        times.append(time.perf_counter() - started_s)
    logged = (orjson.loads(line) for line in mesh.log("text").splitlines())
    in_service_ms = [
        line["ms"] for line in logged if line.get("method", "").endswith("/AnalyzeText")
    ]
    return 1000 * statistics.median(times[_WARM:]), statistics.median(in_service_ms[_WARM:])


def _raw_per_s(text: str) -> float:
    """Texts a second of the two models alone, one text at a time in as many threads as cores."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    affect, dimensions = (
        onnxruntime.InferenceSession(str(_REPOSITORY / name / "1" / "model.onnx"), options)
        for name in (ENGLISH.affect, ENGLISH.dimensions)
    )
    reader = TokenReader(_REPOSITORY / ENGLISH.affect / "tokenizer.json")
    tokens = reader.read(text)
    length = next(size for size in BUCKETS if size >= len(tokens) + 2)
    ids = np.zeros((1, length), np.int64)
    ids[0, : len(tokens) + 2] = [reader.cls, *tokens.ids, reader.sep]
    inputs = {"ids": ids, "cases": np.zeros_like(ids)}
    mask = (ids != 0).astype(np.float32)
    states = dimensions.get_inputs()[0].name
    outputs = [*ENGLISH.heads, states]
    until = time.perf_counter() + _RAW_S

    def work() -> int:
        done = 0
        while time.perf_counter() < until:
            *_, made = affect.run(outputs, inputs)
            dimensions.run(None, {states: made, "mask": mask})
            done += 1
        return done

    cores = os.cpu_count() or 1
    with ThreadPoolExecutor(cores) as pool:
        return sum(pool.map(lambda _: work(), range(cores))) / _RAW_S


async def _batches(stub: _Stub, text: str, count: int) -> float:
    """Milliseconds a text, in the fastest of some batches."""
    texts = [text_pb2.BatchText(id=str(i), text=text) for i in range(_BATCH)]
    taken_s = []
    for _ in range(count):
        started_s = time.perf_counter()
        await stub.AnalyzeTextBatch(text_pb2.AnalyzeTextBatchRequest(texts=texts))
        taken_s.append(time.perf_counter() - started_s)
    return 1000 * min(taken_s) / _BATCH


async def _clients(stub: _Stub) -> None:
    """Short and long texts from many clients at once."""

    async def client(number: int) -> None:
        for i in range(20):
            text = f"{SHORT} " * (1 + (number + i) % 40)
            await stub.AnalyzeText(text_pb2.AnalyzeTextRequest(text=text))

    await asyncio.gather(*(client(i) for i in range(_CLIENTS)))


if __name__ == "__main__":
    main()
