"""When to try again, and how long to wait before."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

REFUSED = frozenset({429, 503})
"""Statuses of what was not carried out."""
TRANSIENT = frozenset({502, 504})
"""Statuses of what may have been carried out."""


@dataclass(frozen=True)
class Retries:
    """At most `most` further tries, each after twice the wait of the last, with full jitter.

    longest_s: also the longest Retry-After that is waited for; a longer one is an error at once.
    """

    most: int = 3
    first_s: float = 0.5
    longest_s: float = 60.0
    draw: Callable[[], float] = random.random

    def wait_s(self, tries: int, retry_after: str | None) -> float | None:
        """Seconds to wait after that many tries; None to give up."""
        if tries > self.most:
            return None
        if retry_after is not None and retry_after.isdecimal():
            return float(retry_after) if float(retry_after) <= self.longest_s else None
        return self.draw() * min(self.longest_s, self.first_s * 2.0 ** (tries - 1))
