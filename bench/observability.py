"""What metrics and traces cost: `python -m bench.observability [--rounds N] [--seconds S]`.

Two meshes stand side by side. In one, every metric does nothing and no trace is made; the other
counts, is scraped every 30 s, and traces one request of a hundred to a collector. Both are driven
in turns with the same requests, so that what else the machine does falls on both; the cost is the
median over the turns.
"""

import argparse
import os
import statistics
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from bench.__main__ import GATEWAY, SMALL_TEXT
from bench.measure import Row, measure
from services.common.settings import SERVICES
from services.mesh.temporary import TemporaryMesh

CLIENTS = 8
SCRAPE_EVERY_S = 30.0
"""As the chart has it."""

TARGET = 0.05
UNOBSERVED = Path(__file__).parent / "unobserved"


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m bench.observability")
    parser.add_argument("--rounds", type=int, default=6, help="turns of each mesh")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a turn")
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
        print("starting two meshes …", flush=True)
        with TemporaryMesh(without) as bare, TemporaryMesh(observed) as full, _scraping(full):
            print(f"{'request':12} {'without':>10} {'with':>10} {'CPU ms':>8}  cost of a request")
            for sample in (GATEWAY, SMALL_TEXT):
                turns: dict[str, list[Row]] = {"bare": [], "full": []}
                for number in range(arguments.rounds):
                    order = [("bare", bare), ("full", full)]
                    for name, mesh in order if number % 2 else reversed(order):
                        turns[name].append(measure(mesh, sample, CLIENTS, arguments.seconds))
                print(_line(sample.kind, turns["bare"], turns["full"]), flush=True)
        print(f"spans that came: {sink.spans}")


def _line(kind: str, bare: list[Row], full: list[Row]) -> str:
    before, _ = (statistics.median(row.cpu_ms for row in rows) for rows in (bare, full))
    cost = statistics.median(
        one.cpu_ms / other.cpu_ms - 1 for one, other in zip(full, bare, strict=True)
    )
    verdict = "met" if cost <= TARGET else "missed"
    rates = [statistics.median(row.requests_per_s for row in rows) for rows in (bare, full)]
    return (
        f"{kind:12} {rates[0]:>8.1f}/s {rates[1]:>8.1f}/s {before:>8.3f}  "
        f"{cost:+.1%} of CPU (target {TARGET:.0%}: {verdict})"
    )


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
