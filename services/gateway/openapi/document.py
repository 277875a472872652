"""The OpenAPI document, put together."""

from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from google.api import annotations_pb2

from affectmesh.v1 import jobs_pb2
from services.gateway.dialects import wia
from services.gateway.openapi.comments import comments
from services.gateway.openapi.schemas import Schemas

FOLDER = Path(__file__).parent

_SUMMARY = (
    "Faces, voices, texts, heartbeats and recordings to calibrated emotions: five public APIs in "
    "one, and what AffectMesh adds. Every path under /v1 is served under /emotion-ai/v1, too."
)
_WIA = (
    "WIA Emotion AI v1. Confidences of faces and voices sum to 1; a text may carry several. What "
    "is computed rather than measured is marked derived; an absent number is null, with the "
    "reason in warnings."
)

Paths = dict[str, dict[str, Any]]


@cache
def document() -> dict[str, Any]:
    """The whole public surface, as OpenAPI 3.1 has it."""
    schemas = Schemas()
    paths: Paths = dict(_contract(schemas))
    tags = [{"name": "WIA Emotion AI", "description": _WIA}]
    common = _read(FOLDER / "common.yaml")
    written = dict(common["components"]["schemas"])
    for file in sorted(FOLDER.glob("*.yaml")):
        if file.name == "common.yaml":
            continue
        part = _read(file)
        tags.append({"name": part["name"], "description": part["description"]})
        written.update(part.get("schemas", {}))
        for name in part.get("messages", ()):
            schemas.reference(jobs_pb2.DESCRIPTOR.message_types_by_name[name])
        for path, operations in part["paths"].items():
            for operation in operations.values():
                operation["tags"] = [part["name"]]
                operation.setdefault("security", part["security"])
                for status, answer in part["errors"].items():
                    operation["responses"].setdefault(str(status), answer)
            paths.setdefault(path, {}).update(operations)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "AffectMesh",
            "version": version("affectmesh"),
            "summary": "Self-hosted emotion AI.",
            "description": _SUMMARY,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": tags,
        "security": common["security"],
        "paths": dict(sorted(paths.items())),
        "components": {**common["components"], "schemas": {**schemas.found, **written}},
    }


def _contract(schemas: Schemas) -> Iterator[tuple[str, dict[str, Any]]]:
    for file in wia.SERVICES.values():
        for service in file.services_by_name.values():
            for method in service.methods:
                path = method.GetOptions().Extensions[annotations_pb2.http].post
                if path:
                    body = {"schema": schemas.reference(method.input_type)}
                    answer = {"schema": schemas.reference(method.output_type)}
                    yield (
                        path,
                        {
                            "post": {
                                "operationId": method.name,
                                "tags": ["WIA Emotion AI"],
                                "summary": comments().get(method.full_name, method.name),
                                "requestBody": {
                                    "required": True,
                                    "content": {"application/json": body},
                                },
                                "responses": {
                                    "200": {
                                        "description": "The analysis.",
                                        "content": {"application/json": answer},
                                    },
                                    "default": {"$ref": "#/components/responses/WiaError"},
                                },
                            }
                        },
                    )


def _read(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return found
