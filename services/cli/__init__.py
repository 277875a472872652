"""The command line of the mesh."""

import asyncio
import os
import sys
from importlib import import_module
from importlib.util import find_spec

import click

from services.cli import development, reference
from services.common.server import read_settings
from services.common.settings import SERVICES


class _Commands(click.Group):
    """The commands below, and `admin`, which is read only when asked for: it brings the records."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        admin = ["admin"] if find_spec("services.cli.admin") else []
        return sorted([*super().list_commands(ctx), *admin])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name != "admin" or not find_spec("services.cli.admin"):
            return super().get_command(ctx, cmd_name)
        admin: click.Command = import_module("services.cli.admin").admin
        return admin


@click.group(cls=_Commands)
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
