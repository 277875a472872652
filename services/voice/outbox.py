"""Answers that wait to be sent: bounded, in order, outliving a connection."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from services.common.errors import Conflict
from services.voice.outputs import Final, Output

CAPACITY = 64
"""Whoever analyses more than the client reads waits."""
REPEATED_S = 10.0
"""Utterances sent less than this before a resumption are sent again: they may have been lost."""

_REPEATED_AT_MOST = 8


class Outbox:
    """A queue of outputs between one analysis and the connection that reads now."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._waiting: deque[Output] = deque()
        self._sent: deque[tuple[float, Final]] = deque(maxlen=_REPEATED_AT_MOST)
        self._closed = False
        self._error: Exception | None = None
        self._reader = 0
        self._changed = asyncio.Event()

    @property
    def finished(self) -> bool:
        """Whether all there will ever be was handed on."""
        return self._closed and not self._waiting

    async def put(self, output: Output) -> None:
        """Add an output once there is room."""
        while len(self._waiting) >= CAPACITY and not self._closed:
            self._changed.clear()
            await self._changed.wait()
        self._waiting.append(output)
        self._changed.set()

    def close(self, error: Exception | None = None) -> None:
        """Nothing more comes; readers get `error` once they read the rest."""
        if not self._closed:
            self._closed, self._error = True, error
            self._changed.set()

    async def read(self) -> AsyncIterator[Output]:
        """Give the outputs to a new reader; the one before, if any, gets Conflict."""
        self._reader += 1
        reader = self._reader
        self._changed.set()
        recent = [final for at_s, final in self._sent if self._clock() - at_s < REPEATED_S]
        self._sent.clear()
        self._waiting.extendleft(reversed(recent))
        while True:
            while not (self._waiting or self._closed or reader != self._reader):
                self._changed.clear()
                await self._changed.wait()
            if reader != self._reader:
                raise Conflict(
                    "Another connection goes on with this stream.",
                    suggestion="Give each stream a stream_id of its own.",
                )
            if not self._waiting:
                break
            output = self._waiting.popleft()
            self._changed.set()
            if isinstance(output, Final):
                self._sent.append((self._clock(), output))
            yield output
        if self._error is not None:
            raise self._error
