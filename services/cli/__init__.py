"""The command line of the mesh."""

import asyncio
import os
import sys

import click

from services.cli import development, reference
from services.common.server import read_settings
from services.common.settings import SERVICES


@click.group()
def main() -> None:
    """Self-hosted emotion AI: faces, voices, texts and heartbeats to calibrated emotions."""


@main.command()
def up() -> None:
    """Run the mesh on this machine until Ctrl-C.

    Where AFFECTMESH_BOOTSTRAP_API_KEY is not set, a development key is made once, kept in the
    data folder and shown.
    """
    from services.mesh.supervisor import supervise

    settings = read_settings()
    greeting = ""
    if settings.bootstrap_api_key is None:
        key = development.key(settings.data_dir)
        os.environ["AFFECTMESH_BOOTSTRAP_API_KEY"] = key
        settings = read_settings()
        greeting = development.greeting(settings, key)
    sys.exit(supervise(settings, greeting))


@main.command()
def status() -> None:
    """Say of each service whether it serves; exit 1 where one does not."""
    from services.mesh.plans import service_probe

    settings = read_settings()

    async def ask() -> list[bool]:
        return await asyncio.gather(
            *(service_probe(settings, service)(2.0) for service in SERVICES)
        )

    answers = asyncio.run(ask())
    for service, serves in zip(SERVICES, answers, strict=True):
        click.echo(f"{service:10} {'serving' if serves else 'not serving'}")
    sys.exit(0 if all(answers) else 1)


@main.command()
def settings() -> None:
    """Print every setting as a Markdown table."""
    click.echo(reference.table())


@main.command()
def demo() -> None:
    """Start a mesh, ask it one of everything, print the answers, stop it."""
    from services.cli.demo import run

    sys.exit(run())
