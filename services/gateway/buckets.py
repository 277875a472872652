"""A limit as Redis holds it, and as one gateway sees it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from services.common import errors

TAKE = """
local interval, burst, allowance = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local need, extra = tonumber(ARGV[4]), tonumber(ARGV[5])
local owed, owed_today = tonumber(ARGV[6]), tonumber(ARGV[7])
local known_epoch, known_day, known_used = ARGV[8], tonumber(ARGV[9]), tonumber(ARGV[10])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local today = math.floor(now / 86400000000)

local free, tat = 1e15, now
if interval > 0 then
  tat = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now)
  tat = math.min(tat + owed * interval, now + burst * interval)
  free = math.floor((now + burst * interval - tat) / interval)
end
local left, day, used, epoch = 1e15, today, 0, ''
if allowance > 0 then
  local stored = redis.call('HMGET', KEYS[2], 'day', 'used', 'epoch')
  epoch = stored[3] or string.format('%.0f', now)
  local last = tonumber(stored[1] or '-1')
  if last == today or last == today + 1 then day, used = last, tonumber(stored[2]) end
  if known_day == day then
    if known_epoch ~= epoch then used = math.max(used, known_used) end
    used = used + owed_today
  end
  left = math.max(0, allowance - used)
end
local possible = math.min(free, left)
local taken = math.min(need, possible)
if taken == need then taken = need + math.min(extra, math.floor((possible - need) / 8)) end

if interval > 0 then
  tat = tat + taken * interval
  local life = math.ceil((tat - now) / 1000) + 1000
  redis.call('SET', KEYS[1], string.format('%.0f', tat), 'PX', string.format('%.0f', life))
end
if allowance > 0 then
  used = used + taken
  redis.call('HSET', KEYS[2], 'epoch', epoch, 'day', string.format('%.0f', day),
    'used', string.format('%.0f', used))
  redis.call('EXPIRE', KEYS[2], 172800)
end
local wait = 0
if taken < need then
  if left <= taken then
    wait = (day + 1) * 86400000000 - now
  else
    wait = tat + interval - now - burst * interval
  end
end
return {taken, possible - taken, tat - now, wait, epoch, day, used, math.floor(now / 1000)}
"""
"""Takes tokens of a rate (KEYS[1]) and a day (KEYS[2]); gives how many, where that leaves both,
and the µs until the next one where they were too few."""

GIVE = """
local interval, tokens, day = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local tat = redis.call('GET', KEYS[1])
if tat and interval > 0 then
  redis.call('SET', KEYS[1], string.format('%.0f', tat - tokens * interval), 'KEEPTTL')
end
local stored = redis.call('HMGET', KEYS[2], 'day', 'used')
if tonumber(stored[1] or '-1') == day then
  redis.call('HSET', KEYS[2], 'used', string.format('%.0f', math.max(0, stored[2] - tokens)))
end
"""
"""Gives tokens back."""

_MINUTE_US = 60_000_000


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a principal stands after a request. `reset_s` is the Unix time of a full bucket."""

    limit: int
    remaining: int
    reset_s: int

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the answer; none where there is no limit."""
        if not self.limit:
            return {}
        return {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(self.reset_s),
        }


@dataclass(slots=True)
class Quota:
    """What this gateway knows of an organisation's day (days since 1970 UTC)."""

    epoch: bytes = b""
    day: int = 0
    used: int = 0
    owed: int = 0
    """Granted here since Redis went, so not in Redis yet."""


@dataclass(slots=True, eq=False)
class Bucket:
    """One principal's limit, and the tokens of it that this gateway holds.

    `held_until`, `refused_until` and `spent_since` are monotonic seconds, `full_at` is Unix time.
    """

    limits: tuple[int, int, int]
    keys: tuple[str, str]
    quota: Quota
    held: int = 0
    held_until: float = 0.0
    left: int = 0
    full_at: float = 0.0
    refused_until: float = 0.0
    refusal: errors.RateLimited | None = None
    spent: int = 0
    spent_since: float = 0.0
    seen: bool = False
    """Whether Redis has told where the principal stands."""
    owed: int = 0
    tat_s: float = 0.0
    """Theoretical arrival time on this gateway's monotonic clock, while Redis is gone."""
    waiting: list[Waiter] = field(default_factory=list)
    asking: asyncio.Task[None] | None = None

    @property
    def interval_us(self) -> int:
        """Time of one token at the even rate; 0 where there is no rate."""
        return -(-_MINUTE_US // self.limits[0]) if self.limits[0] else 0

    def spend(self, cost: int) -> Standing:
        """Takes held tokens."""
        self.held -= cost
        self.spent += cost
        return self.standing()

    def standing(self) -> Standing:
        """Where the principal stands by what this gateway knows."""
        minute, _, day = self.limits
        limit = minute or day
        return Standing(limit, min(limit, self.left + self.held), math.ceil(self.full_at))


@dataclass(slots=True, eq=False)
class Waiter:
    """A request that waits for tokens."""

    cost: int
    answer: asyncio.Future[Standing]
