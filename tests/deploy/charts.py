"""The chart rendered by real Helm for each file of values."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import helm_python
import yaml

from deploy.generate import CHART

VALUES = Path(__file__).parent / "values"
NAMES = tuple(sorted(path.stem for path in VALUES.glob("*.yaml")))

Manifest = dict[str, Any]


def values(name: str) -> Manifest:
    found: Manifest = yaml.safe_load((VALUES / f"{name}.yaml").read_text())
    return found


def render(given: Manifest) -> list[Manifest]:
    """Every object. Raises HelmError."""
    with helm_python.Chart.load(str(CHART)) as chart:
        chart.validate_schema(given)
        texts = chart.render(given, name="affectmesh", namespace="emotions", is_install=True)
    return [
        manifest
        for path, text in texts.items()
        if path.endswith(".yaml")
        for manifest in yaml.safe_load_all(text)
        if manifest
    ]


@cache
def rendered(name: str) -> tuple[Manifest, ...]:
    """The objects of one file of values."""
    return tuple(render(values(name)))


def of_kind(name: str, *kinds: str) -> list[Manifest]:
    return [one for one in rendered(name) if one["kind"] in kinds]


def workloads(name: str) -> list[Manifest]:
    return of_kind(name, "Deployment", "StatefulSet", "Job")


def pods(name: str) -> Iterator[tuple[str, Manifest]]:
    """Name of a workload, and its pod template."""
    for workload in workloads(name):
        yield workload["metadata"]["name"], workload["spec"]["template"]


def containers(name: str) -> Iterator[tuple[str, Manifest]]:
    """Every container and init container, under the name of its workload and its own."""
    for workload, pod in pods(name):
        spec = pod["spec"]
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            yield f"{workload}/{container['name']}", container


def component(manifest: Manifest) -> str:
    label: str = manifest["metadata"]["labels"]["app.kubernetes.io/component"]
    return label


def matches(selector: Manifest, labels: Manifest) -> bool:
    """Whether a label selector takes an object with these labels."""
    wanted = selector.get("matchLabels", {})
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    return all(
        labels.get(one["key"]) in one["values"]
        for one in selector.get("matchExpressions", ())
        if one["operator"] == "In"
    )
