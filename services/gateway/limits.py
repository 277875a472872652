"""How fast and how much: GCRA and a day's allowance, held by all gateways together in Redis.

The generic cell rate algorithm (ITU-T I.371) keeps one number a bucket: the theoretical arrival
time, when the bucket would be full again. The script reads the clock of Redis, so gateways need
none in common, and grants whole tokens. A gateway under load leases a few tokens more than it needs
at the moment, never more than a share of what is left, spends them without asking, and gives back
what it has not spent: what is accepted never exceeds the allowance, and none of it is lost.

While Redis is gone, each gateway applies its share of the limit by itself to principals whose
standing it knows, refuses others, and reports what it granted once Redis is back.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog
from redis.asyncio import Redis

from affectmesh.v1 import billing_pb2 as pb
from services.billing.announcements import OUTAGES
from services.common import errors, metrics

log = structlog.get_logger()

LEASE_S = 0.1
"""How much load a lease is to last for, and how long unspent tokens are held."""

LARGEST_LEASE = 64

_REFUSAL_S = 0.05
_RETRY_S = 0.25
_MINUTE_US = 60_000_000
_DAY_S = 86_400

_TAKE = """
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

_GIVE = """
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
class _Quota:
    """What this gateway knows of an organisation's day (days since 1970 UTC)."""

    epoch: bytes = b""
    day: int = 0
    used: int = 0
    owed: int = 0
    """Granted here since Redis went, so not in Redis yet."""


@dataclass(slots=True, eq=False)
class _Bucket:
    """One principal's limit, and the tokens of it that this gateway holds.

    `held_until`, `refused_until` and `spent_since` are monotonic seconds, `full_at` is Unix time.
    """

    limits: tuple[int, int, int]
    keys: tuple[str, str]
    quota: _Quota
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
    waiting: list[_Waiter] = field(default_factory=list)
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
class _Waiter:
    cost: int
    answer: asyncio.Future[Standing]


class Limits:
    """The limits of every principal, as one gateway sees them."""

    def __init__(
        self,
        redis: Redis | None,
        gateways: Callable[[], int] = lambda: 1,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._redis = redis
        self._gateways = gateways
        self._clock = clock
        self._wall = wall
        self._buckets: dict[str, _Bucket] = {}
        self._quotas: dict[int, _Quota] = {}
        self._holding: set[_Bucket] = set()
        self._local = redis is None
        self._tasks: list[asyncio.Task[None]] = []
        if redis is not None:
            self._take = redis.register_script(_TAKE)
            self._give = redis.register_script(_GIVE)
            self._tasks = [
                asyncio.create_task(self._sweep()),
                asyncio.create_task(self._probe(redis)),
            ]

    async def close(self) -> None:
        """Gives back every held token."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for bucket in list(self._holding):
            await self._give_back(bucket)

    async def take(self, principal: pb.Principal, cost: int = 1) -> Standing:
        """Counts a request of this cost. Raises RateLimited, and InvalidRequest for a cost that
        the plan never allows at once."""
        bucket = self._bucket(principal)
        if 1 <= cost <= bucket.held and bucket.asking is None:
            return bucket.spend(cost)
        now = self._clock()
        if bucket.refused_until > now and bucket.refusal is not None:
            raise self._refused(bucket, bucket.refusal)
        _check_cost(cost, bucket.limits)
        if self._local:
            return self._take_locally(bucket, cost)
        waiter = _Waiter(cost, asyncio.get_running_loop().create_future())
        bucket.waiting.append(waiter)
        if bucket.asking is None:
            bucket.asking = asyncio.create_task(self._serve(bucket))
        return await waiter.answer

    def _bucket(self, principal: pb.Principal) -> _Bucket:
        limits = principal.limits
        wanted = (limits.requests_per_minute, limits.burst, limits.requests_per_day)
        bucket = self._buckets.get(principal.principal_id)
        if bucket is None or bucket.limits != wanted:
            quota = self._quotas.setdefault(principal.org_id, _Quota())
            tag = f"affectmesh:{{{principal.org_id}}}"
            rate = f"{tag}:rate:{principal.principal_id}:{wanted[0]}:{wanted[1]}"
            bucket = _Bucket(wanted, (rate, f"{tag}:day"), quota, spent_since=self._clock())
            self._buckets[principal.principal_id] = bucket
        return bucket

    async def _serve(self, bucket: _Bucket) -> None:
        """Asks Redis for the tokens of everyone who waits, until nobody does."""
        try:
            while bucket.waiting:
                waiters, bucket.waiting = bucket.waiting, []
                try:
                    wait_us, today = await self._ask(bucket, sum(w.cost for w in waiters))
                except OUTAGES as error:
                    self._lose(error)
                    for waiter in waiters:
                        self._answer_locally(bucket, waiter)
                except Exception as error:
                    for waiter in waiters:
                        if not waiter.answer.cancelled():
                            waiter.answer.set_exception(error)
                else:
                    self._answer(bucket, waiters, wait_us, today)
        finally:
            bucket.asking = None

    async def _ask(self, bucket: _Bucket, need: int) -> tuple[int, bool]:
        """Adds tokens to those held; gives the µs until the next one where they are too few, and
        whether it is the day's allowance that is spent."""
        now = self._clock()
        elapsed = max(now - bucket.spent_since, 0.001)
        extra = min(LARGEST_LEASE, int((bucket.spent + need) / elapsed * LEASE_S))
        if elapsed > LEASE_S:
            bucket.spent, bucket.spent_since = 0, now
        quota, (minute, burst, day) = bucket.quota, bucket.limits
        owed, owed_today = bucket.owed, quota.owed
        bucket.owed = quota.owed = 0
        short = max(0, need - bucket.held)
        rate = (bucket.interval_us, burst or minute, day)
        try:
            answer = await self._take(
                bucket.keys,
                (*rate, short, extra, owed, owed_today, quota.epoch, quota.day, quota.used),
            )
        except OUTAGES:
            bucket.owed += owed
            quota.owed += owed_today
            raise
        taken, bucket.left, full_us, wait_us, quota.epoch, quota.day, quota.used, now_ms = answer
        bucket.held += taken
        bucket.seen = True
        bucket.held_until = now + LEASE_S
        bucket.full_at = (now_ms + full_us / 1000) / 1000
        if bucket.held:
            self._holding.add(bucket)
        return wait_us, day > 0 and quota.used >= day

    def _answer(
        self, bucket: _Bucket, waiters: Sequence[_Waiter], wait_us: int, today: bool
    ) -> None:
        for waiter in waiters:
            if waiter.answer.cancelled():
                continue
            if bucket.held >= waiter.cost:
                waiter.answer.set_result(bucket.spend(waiter.cost))
                continue
            wait_s = max(wait_us, 1) / 1_000_000
            error = self._refusal(bucket, wait_s, today)
            if bucket.held == 0:
                bucket.refused_until = self._clock() + min(wait_s, _REFUSAL_S)
                bucket.refusal = error
            waiter.answer.set_exception(self._refused(bucket, error))

    def _refusal(self, bucket: _Bucket, wait_s: float, today: bool) -> errors.RateLimited:
        minute, _, day = bucket.limits
        now = self._wall()
        reset = now + wait_s if today else max(bucket.full_at, now + wait_s)
        seconds = max(1, math.ceil(wait_s))
        return errors.RateLimited(
            "Daily quota exceeded" if today else "Rate limit exceeded",
            reason=f"The plan allows {day} requests a day."
            if today
            else f"The limit is {minute} requests a minute.",
            suggestion=f"Wait {seconds} s, or change the plan.",
            retry_after=str(seconds),
            limit=str(minute or day),
            remaining="0",
            reset=str(math.ceil(reset)),
        )

    def _refused(self, bucket: _Bucket, error: errors.RateLimited) -> errors.RateLimited:
        metrics.LIMITS_REFUSALS.inc()
        return errors.RateLimited(error.message, **error.details)

    def _take_locally(self, bucket: _Bucket, cost: int) -> Standing:
        """Grants this gateway's share of the limit, or raises RateLimited.

        A principal whose standing this gateway never had from Redis gets Unavailable.
        """
        if self._redis is not None and not bucket.seen:
            raise errors.Unavailable(
                "The limit of this credential cannot be checked at the moment.",
                suggestion="Try again in a few seconds.",
                retry_after="2",
            )
        share = max(1, self._gateways()) if self._redis is not None else 1
        now, quota = self._clock(), bucket.quota
        minute, burst, day = bucket.limits
        today = int(self._wall() // _DAY_S)
        if quota.day not in (today, today + 1):
            quota.day, quota.used, quota.owed = today, 0, 0
        left = max(0, day - quota.used) // share - quota.owed if day else _MANY
        if left < cost:
            wait_s = (quota.day + 1) * _DAY_S - self._wall()
            raise self._refused(bucket, self._refusal(bucket, wait_s, True))
        interval_s = bucket.interval_us * share / 1_000_000
        span_s = max(1, (burst or minute) // share) * interval_s
        tat = min(max(bucket.tat_s, now), now + span_s)
        if interval_s:
            free = int((now + span_s - tat) / interval_s + 1e-6)
            if free < cost:
                wait_s = tat + cost * interval_s - now - span_s
                bucket.full_at = self._wall() + tat - now
                raise self._refused(bucket, self._refusal(bucket, wait_s, False))
            left = min(left, free)
            tat += cost * interval_s
        bucket.tat_s, bucket.full_at = tat, self._wall() + tat - now
        bucket.left = max(0, left - cost)
        quota.owed += cost
        bucket.owed += cost
        metrics.LIMITS_LOCAL_GRANTS.inc(cost)
        return bucket.standing()

    def _answer_locally(self, bucket: _Bucket, waiter: _Waiter) -> None:
        if waiter.answer.cancelled():
            return
        try:
            if bucket.held >= waiter.cost:
                waiter.answer.set_result(bucket.spend(waiter.cost))
            else:
                waiter.answer.set_result(self._take_locally(bucket, waiter.cost))
        except (errors.RateLimited, errors.Unavailable) as error:
            waiter.answer.set_exception(error)

    def _lose(self, error: BaseException) -> None:
        if self._local:
            return
        self._local = True
        metrics.LIMITS_LOCAL.set(1)
        log.warning("limits are local", problem=str(error), gateways=self._gateways())
        now, wall = self._clock(), self._wall()
        for bucket in self._buckets.values():
            bucket.tat_s = now + max(0.0, bucket.full_at - wall)

    async def _probe(self, redis: Redis) -> None:
        """Finds out when Redis is back."""
        while True:
            await asyncio.sleep(_RETRY_S)
            if not self._local:
                continue
            try:
                await redis.ping()
            except OUTAGES:
                continue
            self._local = False
            metrics.LIMITS_LOCAL.set(0)
            log.warning("limits are shared again")

    async def _sweep(self) -> None:
        """Gives back what was held too long."""
        while True:
            await asyncio.sleep(LEASE_S)
            now = self._clock()
            for bucket in list(self._holding):
                if bucket.asking is None and bucket.held_until < now:
                    await self._give_back(bucket)

    async def _give_back(self, bucket: _Bucket) -> None:
        tokens, bucket.held = bucket.held, 0
        self._holding.discard(bucket)
        if tokens and not self._local:
            bucket.left += tokens
            try:
                await self._give(bucket.keys, (bucket.interval_us, tokens, bucket.quota.day))
            except OUTAGES as error:
                self._lose(error)


_MANY = 1_000_000_000_000


def _check_cost(cost: int, limits: tuple[int, int, int]) -> None:
    minute, burst, day = limits
    most = min(burst or minute or _MANY, day or _MANY)
    if not 1 <= cost <= most:
        raise errors.InvalidRequest(
            f"The plan allows at most {most} at once.", suggestion="Send fewer at once."
        )
