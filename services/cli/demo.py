"""Asks a mesh of its own one of everything, over the public REST API."""

import sys
import time
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import click
import orjson

from services.cli.samples import SampleRequest, sample_requests
from services.cli.summary import summary
from services.mesh.temporary import MeshNotReady, TemporaryMesh

_TIMEOUT_S = 120


def run() -> int:
    """Starts a mesh, sends every sample, prints the answers; 0 where all were answered."""
    requests = sample_requests()
    click.echo("Starting the mesh; the first start reads every model.\n")
    try:
        with TemporaryMesh(watch=lambda line: click.echo(f"  {line}")) as mesh:
            click.echo()
            answered = [ask(mesh, request) for request in requests]
            click.echo(
                f"{sum(answered)} of {len(answered)} requests answered "
                f"by the mesh at {mesh.address}. Stopping it."
            )
            mesh.watch = _ignore
    except MeshNotReady as error:
        click.echo(error, err=True)
        return 1
    return 0 if all(answered) else 1


def ask(mesh: TemporaryMesh, sample: SampleRequest) -> bool:
    """Sends a sample and prints the answer; whether it was answered with 200."""
    headers = {"Content-Type": "application/json", "X-WIA-API-Key": mesh.key}
    request = Request(mesh.address + sample.path, orjson.dumps(sample.body), headers)  # noqa: S310
    started = time.perf_counter()
    try:
        with urlopen(request, timeout=_TIMEOUT_S) as response:  # noqa: S310 - the mesh's own
            status, body = response.status, response.read()
    except HTTPError as error:
        status, body = error.code, error.read()
    milliseconds = 1000 * (time.perf_counter() - started)
    title = click.style(f"POST {sample.path}", bold=True)
    click.echo(f"{title}  {status} in {milliseconds:.0f} ms")
    click.echo(f"  {sample.source}")
    if status != 200:
        click.echo(f"  {body.decode(errors='replace')}\n", err=True)
        return False
    for line in summary(sample.kind, orjson.loads(body)):
        click.echo(f"  → {line}")
    click.echo()
    sys.stdout.flush()
    return True


def _ignore(_line: str) -> None:
    """Says nothing of the stop."""
