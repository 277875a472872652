"""A service's end of a stream: one gRPC call with a bounded queue before it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import grpc

from services.common import errors
from services.common.channels import metadata

_MOST_ACTIONS = 64
"""Pauses and resumes that wait; the oldest two give way, which leaves the state they lead to."""


class Upstream:
    """One bidirectional call.

    Of inputs at most `capacity` wait for the service; actions wait among them, in their place.
    """

    def __init__(self, service: str, method: Any, config: Any, capacity: int) -> None:
        self.service = service
        self.alive = True
        self._capacity = capacity
        self._config = config
        self._queue: deque[tuple[Any, bool]] = deque()
        """Messages, and whether they are inputs."""
        self._waiting = 0
        """Inputs in the queue."""
        self._finished = False
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._call = method(self._requests(), metadata=metadata())

    @property
    def _full(self) -> bool:
        return self._waiting >= self._capacity

    def offer(self, request: Any) -> bool:
        """Queues an input; False where there is no room for it."""
        if self._full:
            return False
        self._add(request, droppable=True)
        return True

    def replace(self, request: Any) -> bool:
        """Queues an input in place of the oldest where there is no room; False where it did so."""
        full = self._full
        if full:
            oldest = next(at for at, (_, droppable) in enumerate(self._queue) if droppable)
            del self._queue[oldest]
            self._waiting -= 1
        self._add(request, droppable=True)
        return not full

    async def put(self, request: Any) -> None:
        """Queues an input once there is room."""
        while self.alive and self._full:
            self._room.clear()
            await self._room.wait()
        self._add(request, droppable=True)

    def act(self, request: Any) -> None:
        """Queues a pause or a resume behind the inputs that wait; of very many, the last count."""
        if len(self._queue) - self._waiting >= _MOST_ACTIONS:
            for _ in range(2):
                del self._queue[next(at for at, (_, one) in enumerate(self._queue) if not one)]
        self._add(request, droppable=False)

    def finish(self, request: Any) -> None:
        """Queues the last message; the service answers what is pending, then ends the call."""
        self._add(request, droppable=False)
        self._finished = True

    def cancel(self) -> None:
        """Ends the call at once."""
        self._call.cancel()  # first, or the service would see the end of the input
        self._end()

    async def responses(self) -> AsyncIterator[Any]:
        """What the service says. Raises the error it raised, or Unavailable when it is gone."""
        try:
            async for response in self._call:
                yield response
        except grpc.aio.AioRpcError as error:
            raise errors.from_rpc(error, self.service) from error
        finally:
            self._end()

    def _add(self, request: Any, droppable: bool) -> None:
        if not self.alive:
            return
        self._queue.append((request, droppable))
        self._waiting += droppable
        self._wake.set()

    def _end(self) -> None:
        self.alive = False
        self._queue.clear()
        self._waiting = 0
        self._finished = True
        self._wake.set()
        self._room.set()

    async def _requests(self) -> AsyncIterator[Any]:
        yield self._config
        while True:
            while self._queue:
                request, droppable = self._queue.popleft()
                self._waiting -= droppable
                self._room.set()
                yield request
            if self._finished:
                return
            self._wake.clear()
            await self._wake.wait()
