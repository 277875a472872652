"""Envoy's configuration, for whoever starts Envoy."""

import sys
from pathlib import Path

import click

from services.common.server import read_settings


@click.group()
def envoy() -> None:
    """The edge of the mesh, and its internal listener."""


@envoy.command()
@click.option("--edge", "wanted", flag_value="edge", help="Only the listener for clients.")
@click.option("--internal", "wanted", flag_value="internal", help="Only the one for the mesh.")
@click.option("--all", "wanted", flag_value="all", default="all", help="Both (the default).")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder that gets envoy.yaml. Default: print it.",
)
def render(wanted: str, out: Path | None) -> None:
    """Make Envoy's configuration from the contract and the settings.

    Exit 2 names a setting with which Envoy would not start.
    """
    from services.gateway.envoy.render import LISTENERS, WrongSetting
    from services.gateway.envoy.render import render as make

    listeners = tuple(LISTENERS) if wanted == "all" else (wanted,)
    try:
        text = make(read_settings(), listeners)
    except WrongSetting as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    if out is None:
        click.echo(text, nl=False)
        return
    out.mkdir(parents=True, exist_ok=True)
    (out / "envoy.yaml").write_text(text)
