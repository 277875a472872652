"""The live streams of this process, and those whose connection dropped a moment ago."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from services.common.errors import InvalidRequest, RateLimited
from services.voice.analyze import VoiceAnalyzer
from services.voice.live import LiveSession
from services.voice.live_options import LiveOptions


@dataclass(frozen=True)
class Limits:
    """idle_s: between two messages. length_s: of audio, and of a connection. kept_s: how long a
    dropped stream may be resumed. kept: most of them; the oldest gives way. open: most streams at
    once. chunk_bytes: of one message."""

    idle_s: float = 300
    length_s: float = 4 * 3600
    kept_s: float = 30
    kept: int = 32
    open: int = 100
    chunk_bytes: int = 1 << 20


class Sessions:
    """Opens, keeps and ends live streams."""

    def __init__(
        self,
        analyzer: VoiceAnalyzer,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits = limits
        self._analyzer = analyzer
        self._clock = clock
        self._named: dict[str, LiveSession] = {}
        self._connections: dict[LiveSession, int] = {}
        self._expiries: dict[LiveSession, tuple[str, asyncio.TimerHandle]] = {}
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def running(self) -> int:
        """Streams that are connected or kept."""
        return len(self._connections)

    @property
    def connected(self) -> int:
        """Streams that have a client."""
        return sum(count > 0 for count in self._connections.values())

    def open(self, stream_id: str, options: LiveOptions) -> LiveSession:
        """Return the stream of that id where it is known, else a new one; "" is always new.

        Raises InvalidRequest where a known stream has other options, RateLimited where too many
        streams are open.
        """
        session = self._named.get(stream_id)
        if session is not None and not session.outbox.finished:
            return self._resume(stream_id, session, options)
        if self.connected >= self.limits.open:
            raise RateLimited(
                f"{self.limits.open} live streams are open here.",
                retry_after="10",
                suggestion="Try again when one has ended.",
            )
        session = LiveSession(self._analyzer, options, self._clock)
        self._connections[session] = 1
        if stream_id:
            self._named[stream_id] = session
        return session

    def leave(self, stream_id: str, session: LiveSession) -> None:
        """A connection of a stream has gone: what is not finished may be resumed for a while."""
        self._connections[session] -= 1
        if self._connections[session]:
            return
        if not stream_id or session.outbox.finished:
            self._end(stream_id, session)
            return
        loop = asyncio.get_running_loop()
        expiry = loop.call_later(self.limits.kept_s, self._end, stream_id, session)
        self._expiries[session] = stream_id, expiry
        if len(self._expiries) > self.limits.kept:
            oldest, (oldest_id, _) = next(iter(self._expiries.items()))
            self._end(oldest_id, oldest)

    async def close(self) -> None:
        """End all of them."""
        for session in [*self._connections]:
            session.abort()
            await session.stopped()
        for session in [*self._expiries]:
            self._stay(session)
        await asyncio.gather(*self._ending)

    def _resume(self, stream_id: str, session: LiveSession, options: LiveOptions) -> LiveSession:
        if session.options != options:
            raise InvalidRequest(
                "A stream of this id goes on with another configuration.",
                field="config.stream_id",
                suggestion="Resume it as it was configured, or choose a new stream_id.",
            )
        self._stay(session)
        self._connections[session] += 1
        return session

    def _stay(self, session: LiveSession) -> None:
        """It does not expire any more."""
        if found := self._expiries.pop(session, None):
            found[1].cancel()

    def _end(self, stream_id: str, session: LiveSession) -> None:
        self._stay(session)
        del self._connections[session]
        if self._named.get(stream_id) is session:
            del self._named[stream_id]
        session.abort()
        ending = asyncio.create_task(session.stopped())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
