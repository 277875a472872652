"""The methods of one path, refused in the words of its own dialect where there is no such."""

from collections.abc import Callable, Mapping

from starlette.routing import Route

from services.common import errors
from services.gateway.endpoint import Answer, Dialect, Endpoint, Exchange, Handler


def route(
    path: str,
    dialect: Dialect,
    handlers: Mapping[str, Handler],
    prepare: Callable[[Exchange], None] = lambda _exchange: None,
) -> Route:
    """A route that serves each HTTP method by its handler; `prepare` sees every request first."""
    return Route(path, Endpoint(path, dialect, _Verbs(handlers, prepare)))


class _Verbs:
    """HEAD is served as GET."""

    def __init__(
        self, handlers: Mapping[str, Handler], prepare: Callable[[Exchange], None]
    ) -> None:
        self._handlers = handlers
        self._prepare = prepare

    async def __call__(self, exchange: Exchange) -> Answer:
        self._prepare(exchange)
        method = exchange.scope["method"]
        handler = self._handlers.get("GET" if method == "HEAD" else method)
        if handler is None:
            allowed = exchange.headers["allow"] = ", ".join(self._handlers)
            raise errors.MethodNotAllowed(
                f"{method[:16]} is not allowed here.", suggestion=f"Use {allowed}."
            )
        return await handler(exchange)
