"""What the job service does all the time: hands out, recovers, bills, announces, sweeps."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from services.common import errors

log = structlog.get_logger()


class Upkeep:
    """Tasks that are done over and over; an error of one is logged and it goes on."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []
        self._wakes: list[asyncio.Event] = []
        self._stopping = asyncio.Event()

    def add(
        self,
        name: str,
        every_s: float,
        work: Callable[[], Awaitable[object]],
        rest_s: float | None = None,
    ) -> None:
        """Does `work` at once and then every so often; with `rest_s`, also whenever `wake` is
        called, with at least that pause between."""
        wake = asyncio.Event()
        if rest_s is not None:
            self._wakes.append(wake)
        self._tasks.append(
            asyncio.create_task(self._repeat(name, every_s, work, wake, rest_s or 0.0))
        )

    def wake(self) -> None:
        """Something has changed."""
        for wake in self._wakes:
            wake.set()

    async def close(self) -> None:
        """Lets what is being done come to its end, and stops."""
        self._stopping.set()
        await asyncio.gather(*self._tasks)

    async def _repeat(
        self,
        name: str,
        every_s: float,
        work: Callable[[], Awaitable[object]],
        wake: asyncio.Event,
        rest_s: float,
    ) -> None:
        while not self._stopping.is_set():
            wake.clear()
            try:
                await work()
            except errors.AffectMeshError as error:
                log.warning("upkeep failed", task=name, problem=error.message)
            except Exception:
                log.exception("upkeep failed", task=name)
            await asyncio.sleep(rest_s)
            await self._pause(every_s, wake)

    async def _pause(self, seconds: float, wake: asyncio.Event) -> None:
        waits = [asyncio.create_task(event.wait()) for event in (wake, self._stopping)]
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
