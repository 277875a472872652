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
from collections.abc import Callable, Sequence

import structlog
from redis.asyncio import Redis

from affectmesh.v1 import billing_pb2 as pb
from services.billing.announcements import OUTAGES
from services.common import errors, metrics
from services.gateway.buckets import GIVE, TAKE, Bucket, Quota, Standing, Waiter

log = structlog.get_logger()

LEASE_S = 0.1
"""How much load a lease is to last for, and how long unspent tokens are held."""

LARGEST_LEASE = 64

_REFUSAL_S = 0.05
_RETRY_S = 0.25
_DAY_S = 86_400
_DAY_SPENT = "Daily quota exceeded"


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
        self._buckets: dict[str, Bucket] = {}
        self._quotas: dict[int, Quota] = {}
        self._holding: set[Bucket] = set()
        self._local = redis is None
        self._tasks: list[asyncio.Task[None]] = []
        if redis is not None:
            self._take = redis.register_script(TAKE)
            self._give = redis.register_script(GIVE)
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
        waiter = Waiter(cost, asyncio.get_running_loop().create_future())
        bucket.waiting.append(waiter)
        if bucket.asking is None:
            bucket.asking = asyncio.create_task(self._serve(bucket))
        return await waiter.answer

    def _bucket(self, principal: pb.Principal) -> Bucket:
        limits = principal.limits
        wanted = (limits.requests_per_minute, limits.burst, limits.requests_per_day)
        bucket = self._buckets.get(principal.principal_id)
        if bucket is None or bucket.limits != wanted:
            quota = self._quotas.setdefault(principal.org_id, Quota())
            tag = f"affectmesh:{{{principal.org_id}}}"
            rate = f"{tag}:rate:{principal.principal_id}:{wanted[0]}:{wanted[1]}"
            bucket = Bucket(wanted, (rate, f"{tag}:day"), quota, spent_since=self._clock())
            self._buckets[principal.principal_id] = bucket
        return bucket

    async def _serve(self, bucket: Bucket) -> None:
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

    async def _ask(self, bucket: Bucket, need: int) -> tuple[int, bool]:
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

    def _answer(self, bucket: Bucket, waiters: Sequence[Waiter], wait_us: int, today: bool) -> None:
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

    def _refusal(self, bucket: Bucket, wait_s: float, today: bool) -> errors.RateLimited:
        minute, _, day = bucket.limits
        now = self._wall()
        reset = now + wait_s if today else max(bucket.full_at, now + wait_s)
        seconds = max(1, math.ceil(wait_s))
        return errors.RateLimited(
            _DAY_SPENT if today else "Rate limit exceeded",
            reason=f"The plan allows {day} requests a day."
            if today
            else f"The limit is {minute} requests a minute.",
            suggestion=f"Wait {seconds} s, or change the plan.",
            retry_after=str(seconds),
            limit=str(minute or day),
            remaining="0",
            reset=str(math.ceil(reset)),
        )

    def _refused(self, bucket: Bucket, error: errors.RateLimited) -> errors.RateLimited:
        metrics.LIMITS_REFUSALS.labels("day" if error.message == _DAY_SPENT else "rate").inc()
        return errors.RateLimited(error.message, **error.details)

    def _take_locally(self, bucket: Bucket, cost: int) -> Standing:
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

    def _answer_locally(self, bucket: Bucket, waiter: Waiter) -> None:
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

    async def _give_back(self, bucket: Bucket) -> None:
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
