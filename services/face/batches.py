"""Work on many things in batches that run at once."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


async def in_batches(
    items: Sequence[T], size: int, run: Callable[[Sequence[T]], Awaitable[Iterable[R]]]
) -> list[R]:
    """What ``run`` makes of the items, ``size`` at a time, in their order."""
    parts = [items[start : start + size] for start in range(0, len(items), size)]
    return [result for part in await asyncio.gather(*map(run, parts)) for result in part]
