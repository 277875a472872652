"""What Triton needs of the mesh."""

from pathlib import Path

import click

from services.common.server import read_settings


@click.group()
def triton() -> None:
    """Models on NVIDIA Triton."""


@triton.command()
@click.argument("target", type=click.Path(file_okay=False, path_type=Path))
@click.option("--instances", type=click.IntRange(1, 64), help="Of each model, on each GPU.")
def prepare(target: Path, instances: int | None) -> None:
    """Copy the model repository for Triton, each model with the digest of its weights."""
    from services.common.inference.prepare import prepare as copy
    from services.common.inference.repository import Repository

    repository = Repository(*read_settings().model_repositories)
    for name in copy(repository, target, instances):
        click.echo(f"{name:30} {repository[name].info.digest}")
