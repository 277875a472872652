"""The figures of the text: `python -m bench.text`.

On a mesh of its own, the text service asked over gRPC, without the gateway.
"""

import asyncio
import os
import statistics
import time

import grpc
import orjson

from affectmesh.v1 import text_pb2, text_pb2_grpc
from bench.measure import Client
from bench.plain import PlainModels, serving
from bench.table import against
from bench.usage import resident_mb
from services.cli.samples import SampleRequest
from services.common.channels import OPTIONS
from services.mesh.temporary import TemporaryMesh

SHORT_MS, TEXTS_PER_S, RESIDENT_MB = 3.0, 900.0, 250.0
"""Targets: a few words with every option that is on by default; texts of 20 tokens in batches;
memory with the English model under load."""

SHORT = "What a wonderful day!"
TWENTY = (
    "The waiter was friendly and quick, but the soup was cold and the room far too loud tonight."
)
"""Twenty word pieces."""
GERMAN = "Das Zimmer war schön, aber das Essen war kalt und der Kellner sehr unfreundlich."
OF_MODELS, OF_PLAIN = 0.75, 3.0
"""Least throughput over REST, as a multiple of the bare models' and of a plain server's."""
_TURNS, _TURN_S = 3, 4.0
_WARM, _SHORTS, _BATCH, _BATCHES, _CLIENTS = 20, 300, 1000, 5, 32

_Stub = text_pb2_grpc.TextServiceStub


def main() -> None:
    """Measures and prints."""
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before", flush=True)
    with TemporaryMesh({"AFFECTMESH_LOG_LEVEL": "debug"}) as mesh:
        asyncio.run(_measure(mesh))
    with TemporaryMesh() as mesh:
        _print_rest(mesh)


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


def _print_rest(mesh: TemporaryMesh) -> None:
    """What many clients get over REST, beside the bare models and a plain server around them."""
    sample = SampleRequest("text of 20 tokens", "/v1/analyze/text", {"text": TWENTY}, TWENTY)
    models = PlainModels()
    found: dict[str, list[float]] = {"mesh": [], "models": [], "plain": []}
    with serving() as plain:
        for _ in range(_TURNS):
            for name, url, key in (("mesh", mesh.address, mesh.key), ("plain", plain, "")):
                with Client.of(url, key, sample, _CLIENTS, _TURN_S) as client:
                    client.go()
                    found[name].append(len(client.outcome().latencies_ms) / _TURN_S)
            found["models"].append(models.per_s(TWENTY, os.cpu_count() or 1, _TURN_S))
    per_s = {name: statistics.mean(values) for name, values in found.items()}
    print(f"20 tokens over REST, {_CLIENTS} clients: {per_s['mesh']:.0f}/s")
    for name, what, target in (
        ("models", "of the bare models", OF_MODELS),
        ("plain", "of a plain server around them", OF_PLAIN),
    ):
        share = per_s["mesh"] / per_s[name]
        verdict = "met" if share >= target else "missed"
        print(f"{share:.0%} {what}, {per_s[name]:.0f}/s (target {target:.0%}: {verdict})")


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
