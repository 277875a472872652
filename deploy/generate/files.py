"""Every generated file and what belongs in it."""

from pathlib import Path

from deploy.generate import CHART
from deploy.generate.dashboards import dashboards
from deploy.generate.readme import readme
from deploy.generate.rules import rules
from deploy.generate.schema import schema


def files() -> dict[Path, str]:
    """Text by path."""
    return {
        CHART / "values.schema.json": schema(),
        CHART / "README.md": readme(),
        CHART / "rules" / "affectmesh.yaml": rules(),
        **{CHART / "dashboards" / f"{name}.json": text for name, text in dashboards().items()},
    }
