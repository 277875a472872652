"""Asking for something until it is as it should be, as seldom as a plan of few requests needs."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

ENOUGH_S = 300.0
"""Far above what anything here takes on a machine that has nothing else to do."""

_LONGEST_PAUSE_S = 2.0


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Returns once it holds, which is asked ever less often. Raises TimeoutError."""
    pause_s = 0.05
    async with asyncio.timeout(ENOUGH_S):
        while not await holds():
            await asyncio.sleep(pause_s)
            pause_s = min(_LONGEST_PAUSE_S, 1.3 * pause_s)


async def followed(
    client: httpx.AsyncClient, url: str, is_over: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """What is at a URL once it is over."""
    found: dict[str, Any] = {}

    async def over() -> bool:
        nonlocal found
        response = await client.get(url)
        assert response.status_code == 200, response.text
        found = response.json()
        return is_over(found)

    await until(over)
    return found
