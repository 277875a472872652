"""One row of the table: one kind of request under one number of clients."""

import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self
from urllib.parse import urlsplit

import orjson

from bench.client import Load, Outcome
from bench.usage import cpu_seconds, difference
from services.cli.samples import SampleRequest
from services.mesh.temporary import TemporaryMesh


@dataclass(frozen=True)
class Row:
    """Expected answers per second, their latency, and CPU per request, failed ones too."""

    kind: str
    clients: int
    requests: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    cpu_ms_by_process: dict[str, float]
    failed: dict[str, int]
    first_failure: str


class Client:
    """Drives a server with one kind of request, from a process of its own."""

    def __init__(self, process: subprocess.Popen[str], outcome: Path) -> None:
        self._process = process
        self._outcome = outcome

    def go(self) -> None:
        """Begins."""
        self._tell("go")

    def outcome(self) -> Outcome:
        """What came back, once the last answer is in."""
        if self._process.wait():
            raise RuntimeError("The client failed.")
        return Outcome(**orjson.loads(self._outcome.read_bytes()))

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _warm_up(self, load: Load) -> None:
        assert self._process.stdout is not None
        self._tell(orjson.dumps(asdict(load)).decode())
        if self._process.stdout.readline() != "begin\n":
            raise RuntimeError("The client ended before it began.")

    @classmethod
    @contextmanager
    def of(
        cls, url: str, key: str, sample: SampleRequest, clients: int, seconds: float
    ) -> Iterator[Self]:
        """One that is warm, with so many connections."""
        address = urlsplit(url)
        load = Load(
            host=address.hostname or "",
            port=address.port or 0,
            path=sample.path,
            key=key,
            body=orjson.dumps(sample.body).decode(),
            clients=clients,
            seconds=seconds,
            status=sample.status,
        )
        with TemporaryDirectory() as folder:
            outcome = Path(folder) / "outcome.json"
            command = [sys.executable, "-m", "bench.client", str(outcome)]
            pipe = subprocess.PIPE
            with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
                client = cls(process, outcome)
                client._warm_up(load)
                yield client


def measure(mesh: TemporaryMesh, sample: SampleRequest, clients: int, seconds: float) -> Row:
    """Drives a mesh with one kind of request; CPU is that of the mesh alone."""
    with Client.of(mesh.address, mesh.key, sample, clients, seconds) as client:
        before = cpu_seconds(mesh)
        client.go()
        outcome = client.outcome()
        used = difference(before, cpu_seconds(mesh))
    latencies = sorted(outcome.latencies_ms)
    sent = len(latencies) + sum(outcome.failed.values())
    return Row(
        kind=sample.kind,
        clients=clients,
        requests=len(latencies),
        requests_per_s=len(latencies) / outcome.seconds,
        p50_ms=_quantile(latencies, 50),
        p99_ms=_quantile(latencies, 99),
        cpu_ms=1000 * sum(used.values()) / sent,
        cpu_ms_by_process={name: 1000 * spent / sent for name, spent in used.items()},
        failed=outcome.failed,
        first_failure=outcome.first_failure,
    )


def _quantile(ascending: list[float], percent: int) -> float:
    if len(ascending) < 2:
        return ascending[0] if ascending else 0.0
    return statistics.quantiles(ascending, n=100, method="inclusive")[percent - 1]
