"""What metrics and traces cost: `python -m bench.observability [--starts N] [--rounds N]`.

First the work itself: what gateway and text service count and trace for one request that is not
sampled, timed apart, beside what the request costs (bench/costs.json). Then whole meshes side by
side: in two of them every metric does nothing and no trace is made; the third counts, is scraped
every 30 s, and traces one request of a hundred to a collector. They are driven in turns, and all
are started anew a few times: a mesh is slower or faster than its twin for as long as it lives. What
the first two differ by in the end is the noise of the machine.
"""

import argparse
import os
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from contextvars import Context
from http.client import HTTPConnection
from itertools import product
from pathlib import Path
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from affectmesh.v1 import text_pb2, types_pb2
from bench.__main__ import GATEWAY, SMALL_TEXT
from bench.capacity import COSTS, Costs
from bench.measure import Row, measure
from services.cli.samples import SampleRequest
from services.common import drift, metrics, tracing
from services.common.settings import SERVICES
from services.mesh.temporary import TemporaryMesh

CLIENTS = 8
SECONDS = 3.0
SAMPLES = (GATEWAY, SMALL_TEXT)
SCRAPE_EVERY_S = 30.0
"""As the chart has it."""

TARGET = 0.05
UNOBSERVED = Path(__file__).parent / "unobserved"


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m bench.observability")
    parser.add_argument("--starts", type=int, default=4, help="of the meshes")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each mesh after a start")
    arguments = parser.parse_args()
    path = os.pathsep.join(filter(None, (str(UNOBSERVED), os.environ.get("PYTHONPATH", ""))))
    with _collector() as (address, sink):
        without = {"PYTHONPATH": path, "AFFECTMESH_LOG_LEVEL": "error"}
        observed = {
            "AFFECTMESH_LOG_LEVEL": "error",
            "OTEL_EXPORTER_OTLP_ENDPOINT": address,
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": "0.01",
        }
        os.environ.update(observed)
        tracing.start("bench", "0")
        _print_apart()
        for name in observed:
            del os.environ[name]
        settings = {"without": without, "without again": without, "with": observed}
        turns: dict[tuple[str, str], list[Row]] = defaultdict(list)
        for start in range(arguments.starts):
            print(f"start {start + 1} of {arguments.starts} …", flush=True)
            with _meshes(settings, backwards=start % 2 == 1) as meshes:
                for sample, _, name in product(SAMPLES, range(arguments.rounds), meshes):
                    row = measure(meshes[name], sample, CLIENTS, SECONDS)
                    turns[sample.kind, name].append(row)
        for sample in SAMPLES:
            _print({name: turns[sample.kind, name] for name in settings}, sample)
        print(f"spans that came: {sink.spans}")


@contextmanager
def _meshes(
    settings: dict[str, dict[str, str]], backwards: bool
) -> Iterator[dict[str, TemporaryMesh]]:
    """Meshes by name, started and driven in this order or backwards."""
    names = list(settings)[:: -1 if backwards else 1]
    with ExitStack() as stack:
        meshes = {name: stack.enter_context(TemporaryMesh(settings[name])) for name in names}
        stack.enter_context(_scraping(meshes["with"]))
        yield meshes


def _print(turns: dict[str, list[Row]], sample: SampleRequest) -> None:
    """The medians of each mesh, and what the last loses to the mean of the first two."""
    per_s = {
        name: statistics.median(r.requests_per_s for r in rows) for name, rows in turns.items()
    }
    for name, rows in turns.items():
        spent_ms = statistics.median(row.cpu_ms for row in rows)
        print(f"{sample.kind:12} {name:14} {per_s[name]:>8.1f}/s {spent_ms:>8.3f} ms of CPU")
    first, second, observed = per_s.values()
    lost = 1.0 - observed / statistics.mean((first, second))
    verdict = "met" if lost <= TARGET else "missed"
    print(f"{sample.kind:12} {lost:.1%} of throughput (target {TARGET:.0%}: {verdict})", flush=True)


def _print_apart() -> None:
    """What is done for a request, timed apart, and its share of the cheapest requests."""
    parts = {
        "count a request and a call": _count,
        "count a result": _observe,
        "spans in gateway and service": _trace,
    }
    spent_us = {name: _time_us(work) for name, work in parts.items()}
    for name, us in spent_us.items():
        print(f"{name:30} {us:>6.1f} µs")
    costs = Costs.read(COSTS)
    total_us = sum(spent_us.values())
    for kind in (GATEWAY.kind, SMALL_TEXT.kind):
        whole_us = 1e6 * sum(costs.cpu_s[kind].values())
        share = total_us / whole_us
        verdict = "met" if share <= TARGET else "missed"
        print(
            f"together {total_us:.0f} µs of {whole_us:,.0f} µs for {kind}: {share:.1%} "
            f"(target {TARGET:.0%}: {verdict})"
        )


def _count() -> None:
    metrics.HTTP_SECONDS.labels("/v1/analyze/text", 200).observe(0.01)
    metrics.RPC_IN_FLIGHT.inc()
    metrics.RPC_IN_FLIGHT.dec()
    metrics.RPC_SECONDS.labels(_METHOD, "OK").observe(0.01)
    metrics.MODEL_BATCH_SIZE.labels("text_affect").observe(1)
    with metrics.MODEL_SECONDS.labels("text_affect").time():
        pass
    with metrics.MODEL_WAITING.labels("text_affect").track_inprogress():
        pass


def _observe() -> None:
    drift.observer(_METHOD)(_ANSWER)


def _trace() -> None:
    at_gateway = tracing.begin("POST /v1/analyze/text", _HEADERS, "req_0123456789abcdef")
    in_service = tracing.begin(_METHOD, tracing.metadata(), "req_0123456789abcdef")
    with tracing.span("model text_affect", {}):
        pass
    tracing.finish(in_service, "OK")
    tracing.finish(at_gateway, "200")


_METHOD = "/affectmesh.v1.TextService/AnalyzeText"
_EMOTION = types_pb2.Emotion(label="happiness", confidence=0.9)
_ANSWER = text_pb2.AnalyzeTextResponse(emotions=types_pb2.Emotions(primary=_EMOTION))
_HEADERS = [(b"host", b"x"), (b"content-length", b"20"), (b"x-wia-api-key", b"sk_live_0")]


def _time_us(work: Callable[[], None], times: int = 5_000) -> float:
    """CPU of one, each in a context of its own as every request is; the best of a few rounds."""
    rounds = []
    for _ in range(7):
        began = time.process_time()
        for _ in range(times):
            Context().run(work)
        rounds.append(time.process_time() - began)
    return min(rounds) / times * 1e6


class _Sink(trace_service_pb2_grpc.TraceServiceServicer):
    """Counts spans."""

    def __init__(self) -> None:
        self.spans = 0

    def Export(self, request: Any, context: Any) -> Any:
        self.spans += sum(
            len(scope.spans) for batch in request.resource_spans for scope in batch.scope_spans
        )
        return trace_service_pb2.ExportTraceServiceResponse()


@contextmanager
def _collector() -> Iterator[tuple[str, _Sink]]:
    server = grpc.server(ThreadPoolExecutor(2))
    sink = _Sink()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(sink, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"http://127.0.0.1:{port}", sink
    finally:
        server.stop(0)


@contextmanager
def _scraping(mesh: TemporaryMesh) -> Iterator[None]:
    stop = threading.Event()

    def scrape() -> None:
        while not stop.wait(SCRAPE_EVERY_S):
            for name in SERVICES:
                connection = HTTPConnection(mesh.settings.host, mesh.settings.metrics_port(name))
                connection.request("GET", "/metrics")
                connection.getresponse().read()
                connection.close()

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


if __name__ == "__main__":
    main()
