"""The chart's README: how to install it, and every value with its default and meaning."""

from collections.abc import Iterator
from typing import Any

import yaml

from deploy.generate import CHART

_HEAD = """# AffectMesh on Kubernetes

How to install, scale and run it is in [docs/kubernetes.md](../../../docs/kubernetes.md). This page
is made from values.yaml by `python -m deploy.generate`.

| value | default | meaning |
|---|---|---|
"""


def readme() -> str:
    """The page as Markdown."""
    text = (CHART / "values.yaml").read_text()
    values = yaml.safe_load(text)
    meanings = dict(_meanings(text))
    rows = [
        f"| `{path}` | `{_plain(value)}` | {meanings.get(path, '')} |"
        for path, value in _leaves("", values)
    ]
    return _HEAD + "\n".join(rows) + "\n"


def _leaves(prefix: str, values: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        path = prefix + name
        if isinstance(value, dict) and value and name not in ("requests", "limits"):
            yield from _leaves(f"{path}.", value)
        else:
            yield path, value


def _plain(value: Any) -> str:
    if isinstance(value, dict | list):
        return yaml.safe_dump(value, default_flow_style=True, width=1000).strip()
    return str(value).lower() if isinstance(value, bool) else str(value)


def _meanings(text: str) -> Iterator[tuple[str, str]]:
    """Path of a value, and the comment above it that begins with `# --`."""
    path: list[tuple[int, str]] = []
    comment: list[str] = []
    for line in text.splitlines():
        bare = line.strip()
        if bare.startswith("# -- "):
            comment = [bare.removeprefix("# -- ")]
        elif bare.startswith("# ") and comment:
            comment.append(bare.removeprefix("# "))
        elif ":" in bare and not bare.startswith(("#", "-")):
            depth = len(line) - len(line.lstrip())
            path = [(at, name) for at, name in path if at < depth]
            path.append((depth, bare.partition(":")[0]))
            if comment:
                yield ".".join(name for _, name in path), " ".join(comment)
            comment = []
        else:
            comment = []
