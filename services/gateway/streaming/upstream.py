"""A service's end of a stream: one gRPC call with a bounded queue before it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import grpc

from services.common import errors, telemetry


class Upstream:
    """One bidirectional call.

    What waits for the service is bounded by `capacity`; actions are never dropped.
    """

    def __init__(self, service: str, method: Any, config: Any, capacity: int) -> None:
        self.service = service
        self.alive = True
        self._capacity = capacity
        self._config = config
        self._inputs: deque[Any] = deque()
        self._finished = False
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        metadata = ((telemetry.REQUEST_ID_KEY, telemetry.request_id.get()),)
        self._call = method(self._requests(), metadata=metadata)

    def offer(self, request: Any) -> bool:
        """Queues an input; False where there is no room for it."""
        if len(self._inputs) >= self._capacity:
            return False
        self._add(request)
        return True

    def replace(self, request: Any) -> bool:
        """Queues an input in place of the oldest where there is no room; False where it did so."""
        full = len(self._inputs) >= self._capacity
        if full:
            self._inputs.popleft()
        self._add(request)
        return not full

    async def put(self, request: Any) -> None:
        """Queues an input once there is room."""
        while self.alive and len(self._inputs) >= self._capacity:
            self._room.clear()
            await self._room.wait()
        self._add(request)

    def act(self, request: Any) -> None:
        """Queues an action behind the inputs that wait."""
        self._add(request)

    def finish(self, request: Any) -> None:
        """Queues the last message; the service answers what is pending, then ends the call."""
        self._add(request)
        self._finished = True

    def cancel(self) -> None:
        """Ends the call at once."""
        self._end()
        self._call.cancel()

    async def responses(self) -> AsyncIterator[Any]:
        """What the service says. Raises the error it raised, or Unavailable when it is gone."""
        try:
            async for response in self._call:
                yield response
        except grpc.aio.AioRpcError as error:
            raise errors.from_rpc(error, self.service) from error
        finally:
            self._end()

    def _add(self, request: Any) -> None:
        self._inputs.append(request)
        self._wake.set()

    def _end(self) -> None:
        self.alive = False
        self._inputs.clear()
        self._finished = True
        self._wake.set()
        self._room.set()

    async def _requests(self) -> AsyncIterator[Any]:
        yield self._config
        while True:
            while self._inputs:
                request = self._inputs.popleft()
                self._room.set()
                yield request
            if self._finished:
                return
            self._wake.clear()
            await self._wake.wait()
