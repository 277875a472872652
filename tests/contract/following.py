"""Asking for something until it is as it should be."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx


async def followed(
    client: httpx.AsyncClient,
    url: str,
    is_over: Callable[[dict[str, Any]], bool],
    within_s: float = 60,
) -> dict[str, Any]:
    """What is at a URL once it is over."""
    async with asyncio.timeout(within_s):
        while True:
            response = await client.get(url)
            assert response.status_code == 200, response.text
            found: dict[str, Any] = response.json()
            if is_over(found):
                return found
            await asyncio.sleep(0.05)
