"""Streams that were dropped and may be resumed."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_MOST = 10_000


@dataclass(frozen=True)
class Dropped:
    """What is kept of a dropped stream; never media or results."""

    state: Any
    """What its kind of stream needs to go on."""
    frames: int
    """Binary messages that had come."""
    until_s: float


class Resumption:
    """The dropped streams of this gateway, by organisation, kind and stream id."""

    def __init__(self, keep_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._keep_s = keep_s
        self._clock = clock
        self._dropped: OrderedDict[tuple[int, str, str], Dropped] = OrderedDict()

    def keep(self, org_id: int, kind: str, stream_id: str, state: Any, frames: int) -> None:
        """Keeps a stream for a while."""
        now_s = self._clock()
        key = org_id, kind, stream_id
        self._dropped.pop(key, None)
        self._dropped[key] = Dropped(state, frames, now_s + self._keep_s)
        while len(self._dropped) > _MOST or next(iter(self._dropped.values())).until_s < now_s:
            self._dropped.popitem(last=False)

    def take(self, org_id: int, kind: str, stream_id: str) -> Dropped | None:
        """The stream, which is then no longer kept; None where it is not known, or too old."""
        dropped = self._dropped.pop((org_id, kind, stream_id), None)
        return dropped if dropped and dropped.until_s >= self._clock() else None
