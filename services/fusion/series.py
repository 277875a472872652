"""Small tools for values over time that may be missing."""

import statistics
from collections.abc import Callable, Sequence
from itertools import groupby

Value = float | None

_NORMAL = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""


def smooth(values: Sequence[Value], reach: int) -> list[Value]:
    """Means over each place and its `reach` neighbours on both sides; None where a value is."""
    means: list[Value] = []
    for place, value in enumerate(values):
        near = [v for v in values[max(0, place - reach) : place + reach + 1] if v is not None]
        means.append(None if value is None else statistics.fmean(near))
    return means


def baseline(values: Sequence[float]) -> tuple[float, float]:
    """Median and robust spread (1.4826 times the median absolute deviation) of at least one."""
    middle = statistics.median(values)
    return middle, _NORMAL * statistics.median(abs(value - middle) for value in values)


def stretches(values: Sequence[Value], within: Callable[[float], bool]) -> list[tuple[int, int]]:
    """First and last place of each run of values that are within; a missing value ends a run."""
    runs = []
    for chosen, places in groupby(
        range(len(values)), key=lambda i: (value := values[i]) is not None and within(value)
    ):
        if chosen:
            run = list(places)
            runs.append((run[0], run[-1]))
    return runs


def clip(value: float) -> float:
    """The value within [0, 1]."""
    return max(0.0, min(1.0, value))
