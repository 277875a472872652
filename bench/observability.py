"""What metrics and traces cost: `python -m bench.observability [--starts N] [--rounds N]`.

First the work itself: what gateway and text service count and trace for one request that is not
sampled, timed apart, beside what the request costs (bench/costs.json). Then a whole mesh that
counts, is scraped every 30 s, and traces one request of a hundred to a collector: while it is
driven, its processes are told to stop all of it and to go on (bench/switched), every second, since
two meshes started alike, and the same one a minute later, differ by more than that. Each round has
two spells with it around two without, and is compared in itself; what the rounds differ by says how
sure the mean is.
"""

import argparse
import bisect
import math
import os
import signal
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from affectmesh.v1 import text_pb2, types_pb2
from bench.__main__ import GATEWAY, SMALL_TEXT
from bench.capacity import COSTS, Costs
from bench.measure import Client
from bench.usage import cpu_seconds
from services.cli.samples import SampleRequest
from services.common import drift, metrics, tracing
from services.common.settings import SERVICES
from services.mesh.temporary import TemporaryMesh

CLIENTS = 8
SPELL_S = 0.5
SWITCHING_S = 0.02
"""What is not counted after a switch: requests that were begun before it."""

SLOWER = 1.2
"""How much longer than its spells a run may take, for reading what CPU was used."""

SAMPLES = (GATEWAY, SMALL_TEXT)
SCRAPE_EVERY_S = 30.0
"""As the chart has it."""

WARM_UP_S = 2.0

TARGET = 0.05
SWITCHED = Path(__file__).parent / "switched"


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m bench.observability")
    parser.add_argument("--starts", type=int, default=2, help="of the mesh")
    parser.add_argument("--rounds", type=int, default=90, help="of four spells, after each start")
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
                for sample in SAMPLES:
                    found = rounds[sample.kind]
                    found += _Switching(mesh, sample).rounds(arguments.rounds)
                    _print(sample.kind, found)
        print(f"spans that came: {sink.spans}")


@dataclass(frozen=True)
class _Spell:
    """A time in which a mesh was observed, or not, what CPU it used, and what it answered."""

    began: float
    ended: float
    cpu_s: float
    answered: int = 0

    def with_answers(self, answered_s: Sequence[float]) -> "_Spell":
        """It, knowing when each answer came."""
        came = bisect.bisect(answered_s, self.ended) - bisect.bisect(answered_s, self.began)
        return replace(self, answered=came)


@dataclass(frozen=True)
class _Round:
    """Spells in which a mesh was observed, and in which it was not."""

    observed: tuple[_Spell, ...]
    unobserved: tuple[_Spell, ...]

    @property
    def lost(self) -> float:
        """The share of throughput that being observed takes."""
        return 1.0 - _per_s(self.observed) / _per_s(self.unobserved)


class _Switching:
    """Drives one mesh, observed and not."""

    def __init__(self, mesh: TemporaryMesh, sample: SampleRequest) -> None:
        self._mesh = mesh
        self._sample = sample
        self._unscraped_s = 0.0

    def rounds(self, count: int) -> list[_Round]:
        """So many rounds."""
        seconds = WARM_UP_S + SLOWER * 4 * SPELL_S * count
        url, key = self._mesh.address, self._mesh.key
        with Client.of(url, key, self._sample, CLIENTS, seconds) as client:
            client.go()
            time.sleep(WARM_UP_S)
            spells = [self._round() for _ in range(count)]
            ended = time.monotonic()
            outcome = client.outcome()
        answered_s = sorted(outcome.answered_s)
        if outcome.failed or answered_s[-1] < ended:
            raise RuntimeError(f"{self._sample.kind}: {outcome.first_failure or 'it ended early'}")
        return [
            _Round(
                tuple(spell.with_answers(answered_s) for spell in (first, last)),
                tuple(spell.with_answers(answered_s) for spell in between),
            )
            for first, *between, last in spells
        ]

    def _round(self) -> list[_Spell]:
        """Observed, twice not, observed: a machine that slows down meanwhile favours neither."""
        first = self._observed()
        self._tell(signal.SIGUSR1)
        unobserved = [self._spell(), self._spell()]
        self._tell(signal.SIGUSR2)
        return [first, *unobserved, self._observed()]

    def _observed(self) -> _Spell:
        with ThreadPoolExecutor(1) as pool:
            self._unscraped_s += SPELL_S
            if self._unscraped_s >= SCRAPE_EVERY_S:
                self._unscraped_s = 0.0
                pool.submit(self._scrape)
            return self._spell()

    def _spell(self) -> _Spell:
        time.sleep(SWITCHING_S)
        before = sum(cpu_seconds(self._mesh).values())
        began = time.monotonic()
        time.sleep(SPELL_S)
        ended = time.monotonic()
        return _Spell(began, ended, sum(cpu_seconds(self._mesh).values()) - before)

    def _tell(self, number: signal.Signals) -> None:
        for name in SERVICES:
            os.kill(self._mesh.pid(name), number)

    def _scrape(self) -> None:
        settings = self._mesh.settings
        for name in SERVICES:
            connection = HTTPConnection(settings.host, settings.metrics_port(name))
            connection.request("GET", "/metrics")
            connection.getresponse().read()
            connection.close()


def _per_s(spells: Iterable[_Spell]) -> float:
    return statistics.mean(spell.answered / (spell.ended - spell.began) for spell in spells)


def _print(kind: str, rounds: list[_Round]) -> None:
    """What was served either way, and what being observed takes, with its standard error."""
    for name in ("unobserved", "observed"):
        spells = [spell for found in rounds for spell in getattr(found, name)]
        cpu_s, answered = sum(one.cpu_s for one in spells), sum(one.answered for one in spells)
        spent_ms = 1000 * cpu_s / answered
        print(f"{kind:12} {name:10} {_per_s(spells):>8.1f}/s {spent_ms:>8.3f} ms of CPU")
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
    print(f"{'spans of a recorded request':30} {_time_us(_record, 50):>6.1f} µs")
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


def _trace(headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
    headers = (*_HEADERS, *headers)
    at_gateway = tracing.begin("POST /v1/analyze/text", headers, "req_0123456789abcdef")
    in_service = tracing.begin(_METHOD, tracing.metadata(), "req_0123456789abcdef", continued=True)
    with tracing.span("model text_affect", {}):
        pass
    tracing.finish(in_service, "OK")
    tracing.finish(at_gateway, "200")


def _record() -> None:
    _trace([(b"traceparent", b"00-" + b"1" * 32 + b"-" + b"1" * 16 + b"-01")])


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
