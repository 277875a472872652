"""When to stop asking what does not answer, and how often to ask again."""

import time
from collections.abc import Callable
from enum import Enum

FAILURES = 3
"""In a row, until nothing is asked any more."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0


class State(Enum):
    """CLOSED → OPEN after failures; OPEN → HALF_OPEN after a pause; then CLOSED, or OPEN again."""

    CLOSED = 1
    OPEN = 2
    """Nothing is asked."""
    HALF_OPEN = 3
    """One call tries, the others wait for how it ends."""


class Breaker:
    """A circuit breaker; a call that was let through ends with one of the three outcomes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._pause_s = FIRST_PAUSE_S
        self._until = 0.0
        self._succeeded_at = -float("inf")
        self.state = State.CLOSED

    def lets_through(self) -> bool:
        """Whether to ask now."""
        if self.state is State.OPEN and self._clock() >= self._until:
            self.state = State.HALF_OPEN
            return True
        return self.state is State.CLOSED

    @property
    def retry_after_s(self) -> float:
        """Until something is asked again."""
        return max(0.0, self._until - self._clock())

    @property
    def quiet_s(self) -> float:
        """Since the last success."""
        return self._clock() - self._succeeded_at

    def succeeded(self) -> None:
        """It answered, if only that the request was wrong."""
        self.state = State.CLOSED
        self._failures = 0
        self._pause_s = FIRST_PAUSE_S
        self._succeeded_at = self._clock()

    def failed(self) -> None:
        """It did not answer."""
        self._failures += 1
        if self.state is State.HALF_OPEN:
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        if self.state is State.HALF_OPEN or self._failures >= FAILURES:
            self.state = State.OPEN
            self._until = self._clock() + self._pause_s

    def withdrawn(self) -> None:
        """Nobody waited for the answer."""
        if self.state is State.HALF_OPEN:
            self.state = State.OPEN


class RetryBudget:
    """Lets a share of all calls be repeated, so that an outage does not double the load."""

    def __init__(self, share: float = 0.1, most: float = 10.0) -> None:
        self._share = share
        self._most = most
        self._left = most

    def count(self) -> None:
        """A call was made."""
        self._left = min(self._most, self._left + self._share)

    def spend(self) -> bool:
        """Whether a repetition is in the budget, which it then takes."""
        if self._left < 1:
            return False
        self._left -= 1
        return True
