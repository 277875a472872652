"""One row of the table: one kind of request under one number of clients."""

import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

import orjson

from bench.client import Load
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


def measure(mesh: TemporaryMesh, sample: SampleRequest, clients: int, seconds: float) -> Row:
    """Drives a mesh with one kind of request; CPU is that of the mesh alone."""
    address = urlsplit(mesh.address)
    load = Load(
        host=address.hostname or "",
        port=address.port or 0,
        path=sample.path,
        key=mesh.key,
        body=orjson.dumps(sample.body).decode(),
        clients=clients,
        seconds=seconds,
        status=sample.status,
    )
    with subprocess.Popen(
        [sys.executable, "-m", "bench.client"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(orjson.dumps(asdict(load)).decode() + "\n")
        client.stdin.flush()
        if client.stdout.readline() != "begin\n":
            raise RuntimeError(f"The client of {sample.kind} ended before it began.")
        before = cpu_seconds(mesh)
        client.stdin.write("go\n")
        client.stdin.flush()
        outcome = orjson.loads(client.stdout.readline())
        used = difference(before, cpu_seconds(mesh))
    latencies = sorted(outcome["latencies_ms"])
    sent = len(latencies) + sum(outcome["failed"].values())
    return Row(
        kind=sample.kind,
        clients=clients,
        requests=len(latencies),
        requests_per_s=len(latencies) / outcome["seconds"],
        p50_ms=_quantile(latencies, 50),
        p99_ms=_quantile(latencies, 99),
        cpu_ms=1000 * sum(used.values()) / sent,
        cpu_ms_by_process={name: 1000 * spent / sent for name, spent in used.items()},
        failed=outcome["failed"],
        first_failure=outcome["first_failure"],
    )


def _quantile(ascending: list[float], percent: int) -> float:
    if len(ascending) < 2:
        return ascending[0] if ascending else 0.0
    return statistics.quantiles(ascending, n=100, method="inclusive")[percent - 1]
