"""What metrics and traces cost: `python -m bench.observability [--starts N] [--rounds N]`.

First the work itself: what gateway and text service count and trace for one request that is not
sampled, timed apart, beside what the request costs (bench/costs.json). Then a whole mesh that
counts, is scraped every 30 s, and traces one request of a hundred to a collector: between turns its
processes are told to stop all of it and to go on (bench/switched), since two meshes started alike
differ by more than that. Each round has two turns with it around two without, and is compared in
itself; what the rounds differ by says how sure the mean is.
"""

import argparse
import math
import os
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass
from http.client import HTTPConnection
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
SWITCHED = Path(__file__).parent / "switched"


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m bench.observability")
    parser.add_argument("--starts", type=int, default=4, help="of the mesh")
    parser.add_argument("--rounds", type=int, default=5, help="of four turns, after each start")
    arguments = parser.parse_args()
    path = os.pathsep.join(filter(None, (str(SWITCHED), os.environ.get("PYTHONPATH", ""))))
    with _collector() as (address, sink):
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
        rounds: dict[str, list[_Round]] = {sample.kind: [] for sample in SAMPLES}
        for start in range(arguments.starts):
            print(f"start {start + 1} of {arguments.starts} …", flush=True)
            with TemporaryMesh({**observed, "PYTHONPATH": path}) as mesh:
                turns = _Turns(mesh)
                for sample in SAMPLES:
                    for _ in range(arguments.rounds):
                        rounds[sample.kind].append(turns.round(sample))
        for kind, found in rounds.items():
            _print(kind, found)
        print(f"spans that came: {sink.spans}")


@dataclass(frozen=True)
class _Round:
    """Turns of a mesh that is observed, and of the same mesh while it is not."""

    observed: tuple[Row, Row]
    unobserved: tuple[Row, Row]

    @property
    def lost(self) -> float:
        """The share of throughput that being observed takes."""
        return 1.0 - _per_s(self.observed) / _per_s(self.unobserved)


class _Turns:
    """Drives one mesh, observed and not."""

    def __init__(self, mesh: TemporaryMesh) -> None:
        self._mesh = mesh
        self._unscraped_s = 0.0

    def round(self, sample: SampleRequest) -> _Round:
        """Observed, twice not, observed: a machine that slows down meanwhile favours neither."""
        first = self._observed(sample)
        self._tell(signal.SIGUSR1)
        unobserved = (self._turn(sample), self._turn(sample))
        self._tell(signal.SIGUSR2)
        return _Round((first, self._observed(sample)), unobserved)

    def _observed(self, sample: SampleRequest) -> Row:
        with ThreadPoolExecutor(1) as pool:
            self._unscraped_s += SECONDS
            if self._unscraped_s >= SCRAPE_EVERY_S:
                self._unscraped_s = 0.0
                pool.submit(self._scrape)
            return self._turn(sample)

    def _turn(self, sample: SampleRequest) -> Row:
        row = measure(self._mesh, sample, CLIENTS, SECONDS)
        if row.failed:
            raise RuntimeError(f"{sample.kind} failed: {row.first_failure}")
        return row

    def _tell(self, number: signal.Signals) -> None:
        for name in SERVICES:
            os.kill(self._mesh.pid(name), number)

    def _scrape(self) -> None:
        time.sleep(SECONDS / 2)
        settings = self._mesh.settings
        for name in SERVICES:
            connection = HTTPConnection(settings.host, settings.metrics_port(name))
            connection.request("GET", "/metrics")
            connection.getresponse().read()
            connection.close()


def _per_s(rows: tuple[Row, Row]) -> float:
    return statistics.mean(row.requests_per_s for row in rows)


def _print(kind: str, rounds: list[_Round]) -> None:
    """What was served either way, and what being observed takes, with its standard error."""
    for name in ("unobserved", "observed"):
        rows = [row for found in rounds for row in getattr(found, name)]
        per_s = statistics.median(row.requests_per_s for row in rows)
        spent_ms = statistics.median(row.cpu_ms for row in rows)
        print(f"{kind:12} {name:10} {per_s:>8.1f}/s {spent_ms:>8.3f} ms of CPU")
    losses = [found.lost for found in rounds]
    lost = statistics.mean(losses)
    error = statistics.stdev(losses) / math.sqrt(len(losses)) if len(losses) > 1 else math.nan
    verdict = "met" if lost <= TARGET else "missed"
    print(
        f"{kind:12} {lost:.1%} of throughput, standard error {error:.1%} "
        f"(target {TARGET:.0%}: {verdict})",
        flush=True,
    )


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


if __name__ == "__main__":
    main()
