"""Keeps credentials that clients put in URLs out of traces."""

from collections.abc import MutableMapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

from opentelemetry.trace import Span

SECRET_PARAMETERS = frozenset({"apikey", "token"})


def redacted(query: str) -> str:
    """A query string with the values of credentials replaced; all of it where it is malformed."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=100)
    except ValueError:
        return "REDACTED"
    return urlencode(
        [(name, "REDACTED" if name in SECRET_PARAMETERS else value) for name, value in pairs]
    )


def redact_span(span: Span, scope: MutableMapping[str, Any]) -> None:
    """Replaces what the ASGI instrumentation has noted of the query string."""
    query = scope.get("query_string", b"").decode("latin-1")
    if query and span.is_recording():
        safe = redacted(query)
        host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
        span.set_attribute("http.url", f"{scope['scheme']}://{host}{scope['path']}?{safe}")
        span.set_attribute("url.query", safe)
