"""The plans: how fast, how much, how large. Every limit of the product stands in this table."""

from collections.abc import Mapping
from dataclasses import dataclass

MIB = 1024 * 1024
MINUTE_MS = 60_000


@dataclass(frozen=True)
class Plan:
    """One plan. A limit of 0 means without limit.

    `requests_per_minute` is the even rate of each key, `burst` how many requests may come at once,
    `requests_per_day` the allowance of the whole organisation in a UTC day.
    """

    name: str
    requests_per_minute: int
    burst: int
    requests_per_day: int
    max_upload_bytes: int
    max_duration_ms: int
    custom_limits: bool = False
    """Whether an organisation may be given limits of its own."""


PLANS: Mapping[str, Plan] = {
    plan.name: plan
    for plan in (
        Plan("free", 10, 10, 100, 16 * MIB, 5 * MINUTE_MS),
        Plan("emovision_free", 20, 30, 0, 16 * MIB, 5 * MINUTE_MS),
        Plan("developer", 60, 60, 10_000, 64 * MIB, 30 * MINUTE_MS),
        Plan("pro", 60, 100, 0, 256 * MIB, 60 * MINUTE_MS),
        Plan("business", 300, 300, 100_000, 512 * MIB, 120 * MINUTE_MS),
        Plan("premium", 300, 500, 0, 512 * MIB, 120 * MINUTE_MS),
        Plan("enterprise", 1_000_000, 1_000_000, 0, 1024 * MIB, 240 * MINUTE_MS, True),
    )
}
"""WIA: free, developer, business. EmoVision: emovision_free, pro, premium. Both: enterprise."""

MAX_RATE = 1_000_000
"""Highest rate, burst or override that can be set."""

MAX_KEYS = 100
"""Valid keys of one organisation."""
