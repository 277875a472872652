"""/openapi.json, and /docs to read it."""

from collections.abc import Iterator
from functools import cache

import orjson
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from services.gateway.openapi.document import document
from services.gateway.openapi.page import page

_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'",
    "x-content-type-options": "nosniff",
    "cache-control": "max-age=3600",
}


def routes() -> Iterator[Route]:
    """Both; no credential is needed."""
    yield Route("/openapi.json", _json)
    yield Route("/docs", _html)


async def _json(_request: Request) -> Response:
    return Response(_document(), headers=_HEADERS, media_type="application/json")


async def _html(_request: Request) -> Response:
    return HTMLResponse(_page(), headers=_HEADERS)


@cache
def _document() -> bytes:
    return orjson.dumps(document())


@cache
def _page() -> str:
    return page(document())
