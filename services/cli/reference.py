"""The reference of all settings, made from the settings themselves."""

import os
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from services.common.settings import Settings

_NAMES = {int: "integer", float: "number", SecretStr: "secret", Path: "path", str: "text"}


def table() -> str:
    """Name, values, default and meaning of every setting, as a Markdown table."""
    rows = ["| setting | values | default | meaning |", "|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        cells = (f"`AFFECTMESH_{name.upper()}`", _values(field), _default(name, field))
        rows.append(f"| {' | '.join(cells)} | {field.description} |")
    return "\n".join(rows)


def _values(field: FieldInfo) -> str:
    kind = _kind(field.annotation)
    least = [value for item in field.metadata for value in _bounds(item, ("ge", "gt"))]
    most = [value for item in field.metadata for value in _bounds(item, ("le", "lt"))]
    return f"{kind}, {least[0]:g} to {most[0]:g}" if least and most else kind


def _bounds(item: Any, names: tuple[str, ...]) -> list[float]:
    return [getattr(item, name) for name in names if hasattr(item, name)]


def _kind(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    if origin in (Union, UnionType):
        return _kind(next(part for part in get_args(annotation) if part is not NoneType))
    if annotation is bool:
        return "`true`, `false`"
    return _NAMES.get(annotation, "JSON")


def _default(name: str, field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is None or value == {}:
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, Path) and value.is_absolute():
        return f"`{value.relative_to(Path(__file__).parents[2])}`"
    if name == "threads" and value == os.cpu_count():
        return "all cores"
    return f"`{value}`"
