"""Streams that run, and those who follow what their clients are told."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from services.common import errors

CAPACITY = 256
"""Messages that wait for a slow follower; then the oldest are dropped."""
MOST_FOLLOWERS = 32
"""Of one stream."""

_PRIVATE = frozenset(("ping", "pong"))
"""Messages that concern the connection of the stream's own client."""

Message = tuple[str, bytes]
"""A message's type and its JSON."""


class Follower:
    """Reads the messages of one stream from now on."""

    def __init__(self) -> None:
        self.dropped = 0
        """Messages that were dropped since this was last set to 0."""
        self._waiting: deque[Message] = deque()
        self._ended = False
        self._changed = asyncio.Event()

    def tell(self, message: Message) -> None:
        """Queues a message, in place of the oldest where too many wait."""
        if len(self._waiting) >= CAPACITY:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(message)
        self._changed.set()

    def end(self) -> None:
        """Nothing more comes."""
        self._ended = True
        self._changed.set()

    async def messages(self, tick_s: float) -> AsyncIterator[Message | None]:
        """The messages up to the stream's end; None whenever a tick passed without one."""
        while self._waiting or not self._ended:
            if self._waiting:
                yield self._waiting.popleft()
                continue
            self._changed.clear()
            try:
                async with asyncio.timeout(tick_s):
                    await self._changed.wait()
            except TimeoutError:
                yield None


class Audience:
    """The followers of one stream."""

    def __init__(self) -> None:
        self._followers: set[Follower] = set()
        self._ready: Message | None = None
        self._ended = False

    def tell(self, kind: str, text: bytes) -> None:
        """Hands on what the client is told; who comes later still gets the first `ready`."""
        if kind in _PRIVATE:
            return
        if kind == "ready":
            self._ready = (kind, text)
        for follower in self._followers:
            follower.tell((kind, text))

    def end(self) -> None:
        """The stream has ended."""
        self._ended = True
        for follower in self._followers:
            follower.end()

    def refuse_crowd(self) -> None:
        """Raises RateLimited where there is no room for one more."""
        if len(self._followers) >= MOST_FOLLOWERS:
            raise errors.RateLimited(
                f"{MOST_FOLLOWERS} clients follow this stream.",
                retry_after="10",
                suggestion="Try again when one has gone.",
            )

    @contextmanager
    def joined(self) -> Iterator[Follower]:
        """A follower, for a while."""
        follower = Follower()
        if self._ready is not None:
            follower.tell(self._ready)
        if self._ended:
            follower.end()
        self._followers.add(follower)
        try:
            yield follower
        finally:
            self._followers.discard(follower)


class Running:
    """The streams of this gateway that run, by organisation and stream id."""

    def __init__(self) -> None:
        self._audiences: dict[tuple[int, str], Audience] = {}

    @contextmanager
    def listed(self, org_id: int, stream_id: str, audience: Audience) -> Iterator[None]:
        """A stream, while it runs; a newer one of the same id takes its place."""
        key = org_id, stream_id
        self._audiences[key] = audience
        try:
            yield
        finally:
            audience.end()
            if self._audiences.get(key) is audience:
                del self._audiences[key]

    def find(self, org_id: int, stream_id: str) -> Audience:
        """The audience of a stream. Raises NotFound."""
        audience = self._audiences.get((org_id, stream_id))
        if audience is None:
            raise errors.NotFound(
                f"No stream {stream_id[:64]!r} runs.",
                suggestion="Follow a stream of your organisation by the stream_id of its ready "
                "message, while it runs.",
            )
        return audience
