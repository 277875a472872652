"""Tells the gateways at once what is no longer true of a principal."""

import asyncio

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ReadOnlyError, RedisError

log = structlog.get_logger()

CHANNEL = "affectmesh:principals"
"""Redis channel of ids whose cached principals are void: "key_…", "cli_…", "usr_…", "org_…"."""

OUTAGES = (RedisError, OSError, TimeoutError)
"""What a call raises while Redis is gone."""

TIMEOUT_S = 0.5
"""Longest time a call of Redis may take."""

_RETRY_S = 0.2


def connect(redis_url: str, timeout_s: float = TIMEOUT_S) -> Redis:
    """A client that fails fast; whoever calls decides when to try again.

    A server that became a replica refuses writes: the connection to it is closed, and the next one
    finds the server that took its place.
    """
    return Redis.from_url(
        redis_url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        retry_on_error=[ReadOnlyError],
    )


class Announcements:
    """Published until Redis has taken them; without Redis, gateways ask again every second."""

    def __init__(self, redis_url: str | None) -> None:
        self._redis = connect(redis_url) if redis_url else None
        self._pending: set[str] = set()
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._publish())

    def void(self, *ids: str) -> None:
        """Announces that what is cached of these ids is void."""
        self._pending.update(ids)
        self._changed.set()

    async def close(self) -> None:
        """Stops announcing."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if self._redis is not None:
            await self._redis.aclose()

    async def _publish(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            while self._redis is not None and self._pending:
                announced = set(self._pending)
                try:
                    await self._redis.publish(CHANNEL, " ".join(sorted(announced)))
                    self._pending -= announced
                except OUTAGES as error:
                    log.warning("announcement waits", problem=str(error))
                    await asyncio.sleep(_RETRY_S)
            self._pending.clear()
