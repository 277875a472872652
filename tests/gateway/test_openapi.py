"""The document of the public surface."""

import re
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import httpx
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.routing import Route, WebSocketRoute

from affectmesh.v1 import face_pb2
from services.common.channels import Channels
from services.common.settings import Settings
from services.gateway import app
from services.gateway.openapi import document
from services.gateway.openapi.comments import comments
from services.gateway.policy import Policy
from services.mesh.temporary import TemporaryMesh


def verbs(route: Route) -> Iterable[str]:
    """The methods that a route, or the handler behind it, serves."""
    handler = getattr(route.app, "_handler", None)
    served: Iterable[str] = getattr(handler, "_handlers", ("GET",))
    return route.methods or served


@pytest.fixture
async def routes(tmp_path: Path) -> AsyncIterator[set[tuple[str, str]]]:
    """Path and method of each public route, but those under the second base path."""
    settings = Settings(data_dir=tmp_path)
    channels = Channels(settings)
    policy = await Policy.open(settings, channels)
    found = list(app.surface(settings, channels, policy))
    sockets = {route.path for route in found if isinstance(route, WebSocketRoute)}
    yield {
        (re.sub(r":\w+}", "}", route.path), method.lower())
        for route in found
        if isinstance(route, Route) and not route.path.startswith("/emotion-ai/")
        for method in verbs(route)
        if method == "GET" or (method != "HEAD" and route.path not in sockets)
    }
    await policy.close()
    await channels.close()


def test_it_is_valid() -> None:
    assert list(OpenAPIV31SpecValidator(document()).iter_errors()) == []


async def test_it_has_every_route_and_no_other(routes: set[tuple[str, str]]) -> None:
    written = {
        (path, method)
        for path, operations in document()["paths"].items()
        for method, operation in operations.items()
        if operation["tags"] != ["WIA Emotion AI"]
    }
    assert written == routes


def test_the_contract_describes_every_field() -> None:
    schema = document()["components"]["schemas"]["FaceOptions"]
    fields = face_pb2.FaceOptions.DESCRIPTOR.fields_by_name
    assert set(schema["properties"]) == set(fields)
    assert all(one["description"] for one in schema["properties"].values())
    assert comments()["affectmesh.v1.FaceService.AnalyzeFace"]


def test_every_reference_leads_somewhere() -> None:
    text = str(document())
    parts = document()["components"]
    for kind, name in re.findall(r"#/components/(\w+)/(\w+)", text):
        assert name in parts[kind]


async def test_the_mesh_serves_it_and_a_page(mesh: TemporaryMesh) -> None:
    async with httpx.AsyncClient(base_url=mesh.address, timeout=60) as client:
        answer = await client.get("/openapi.json")
        assert answer.json() == document()
        page = await client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    for path in document()["paths"]:
        assert f"<code>{path}</code>" in page.text
    assert "<script" not in page.text
