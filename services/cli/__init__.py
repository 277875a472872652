"""The command line of the mesh."""

import asyncio
import os
import sys

import click

from services.cli import development, reference
from services.common import errors
from services.common.server import read_settings
from services.common.settings import SERVICES


class _Commands(click.Group):
    """The commands below, and groups that are imported only when asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), "admin", "envoy", "triton"])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "admin":
            from services.cli.admin import admin

            return admin
        if cmd_name == "envoy":
            from services.cli.envoy import envoy

            return envoy
        if cmd_name == "triton":
            from services.cli.triton import triton

            return triton
        return super().get_command(ctx, cmd_name)


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
    """Say which services serve; exit 1 unless all do."""
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
def migrate() -> None:
    """Bring the records to the newest schema: before new services start on a shared database."""
    from services.billing.tables import MIGRATIONS as BILLING
    from services.common.database import Database
    from services.jobs.tables import MIGRATIONS as JOBS

    url = read_settings().database

    async def bring() -> None:
        for migrations in (BILLING, JOBS):
            database = await Database.open(url, migrations)
            await database.close()

    try:
        asyncio.run(bring())
    except errors.Unavailable as error:
        raise click.ClickException(error.message) from None


@main.command()
def settings() -> None:
    """Print every setting as a Markdown table."""
    click.echo(reference.table())


@main.command()
def demo() -> None:
    """Ask a mesh of its own one of everything."""
    from services.cli.demo import run

    sys.exit(run())
