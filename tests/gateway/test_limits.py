"""How fast and how much, over one Redis and several gateways."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from affectmesh.v1 import billing_pb2 as pb
from services.billing import announcements
from services.common import errors
from services.gateway.buckets import Standing
from services.gateway.limits import Limits
from tests.gateway.gateways import Clock, RedisServer, redis_server
from tests.gateway.streams import until


@pytest.fixture(scope="module")
def shared() -> Iterator[RedisServer]:
    """A Redis that lives as long as this file's tests."""
    with redis_server() as server:
        yield server


@pytest.fixture
def server(shared: RedisServer) -> RedisServer:
    """The same Redis, emptied."""
    from redis import Redis as Client

    with Client.from_url(shared.url) as client:
        client.flushall()
    return shared


@asynccontextmanager
async def limits_on(url: str, gateways: int = 1) -> AsyncIterator[tuple[Limits, Redis]]:
    """One gateway's limits."""
    redis = announcements.connect(url)
    limits = Limits(redis, lambda: gateways)
    try:
        yield limits, redis
    finally:
        await limits.close()
        await redis.aclose()


def key(minute: int, burst: int = 0, day: int = 0, name: str = "key_a") -> pb.Principal:
    """A principal with limits."""
    limits = pb.Limits(requests_per_minute=minute, burst=burst or minute, requests_per_day=day)
    return pb.Principal(org_id=1, principal_id=name, limits=limits)


async def accepted(*takes: Awaitable[Standing]) -> int:
    """How many of concurrent requests are granted."""
    results = await asyncio.gather(*takes, return_exceptions=True)
    assert all(isinstance(result, Standing | errors.RateLimited) for result in results)
    return sum(isinstance(result, Standing) for result in results)


async def granted(limits: Limits, principal: pb.Principal, count: int) -> int:
    """How many of `count` requests, one after the other, are granted."""
    total = 0
    for _ in range(count):
        try:
            await limits.take(principal)
        except errors.RateLimited:
            continue
        total += 1
    return total


async def test_a_burst_is_granted_and_not_one_more(server: RedisServer) -> None:
    async with limits_on(server.url) as (limits, _):
        assert await granted(limits, key(1, burst=30), 40) == 30


async def test_the_standing_counts_down(server: RedisServer) -> None:
    async with limits_on(server.url) as (limits, _):
        remaining = [(await limits.take(key(5))).remaining for _ in range(5)]
        assert remaining == [4, 3, 2, 1, 0]
        with pytest.raises(errors.RateLimited) as refused:
            await limits.take(key(5))
    details = refused.value.details
    assert details["limit"] == "5"
    assert details["remaining"] == "0"
    assert 1 <= int(details["retry_after"]) <= 12


async def test_tokens_come_back_at_the_even_rate(server: RedisServer) -> None:
    async with limits_on(server.url) as (limits, _):
        principal = key(600, burst=3)
        started = time.monotonic()
        total = 0
        for pause_s, least in ((0.0, 3), (0.25, 2), (1.0, 3)):
            await asyncio.sleep(pause_s)
            found = await granted(limits, principal, 5)
            total += found
            assert found >= least
            assert total <= 3 + 10 * (time.monotonic() - started)


async def test_the_day_is_shared_by_the_keys_of_an_organisation(server: RedisServer) -> None:
    async with limits_on(server.url) as (limits, _):
        first, second = key(1000, day=10), key(1000, day=10, name="key_b")
        assert await granted(limits, first, 7) == 7
        assert await granted(limits, second, 7) == 3
        with pytest.raises(errors.RateLimited, match="Daily") as refused:
            await limits.take(first)
        assert 1 <= int(refused.value.details["retry_after"]) <= 86_400


async def test_two_gateways_race_for_the_last_request(server: RedisServer) -> None:
    async with limits_on(server.url) as (one, _), limits_on(server.url) as (two, _):
        for round_ in range(20):
            principal = key(1000, day=round_ + 1)
            assert await accepted(one.take(principal), two.take(principal)) == 1


async def test_several_gateways_together_grant_the_allowance_exactly(server: RedisServer) -> None:
    async with limits_on(server.url) as (one, _), limits_on(server.url) as (two, _):
        principal = key(1_000_000, day=1500)

        async def client(limits: Limits) -> int:
            return await granted(limits, principal, 100)

        counts = await asyncio.gather(*(client((one, two)[i % 2]) for i in range(30)))
        assert sum(counts) == 1500


async def test_leased_tokens_that_nobody_spends_are_given_back(server: RedisServer) -> None:
    async with limits_on(server.url) as (one, _), limits_on(server.url) as (two, _):
        principal = key(1_000_000, day=1000)
        assert await granted(one, principal, 500) == 500
        await until(lambda: not one._holding)
        assert await granted(two, principal, 600) == 500


async def test_a_gateway_that_closes_gives_back_its_lease(server: RedisServer) -> None:
    principal = key(1_000_000, day=1000)
    async with limits_on(server.url) as (one, _):
        assert await granted(one, principal, 500) == 500
    async with limits_on(server.url) as (two, _):
        assert await granted(two, principal, 600) == 500


async def test_load_costs_far_fewer_calls_of_redis_than_requests(server: RedisServer) -> None:
    async with limits_on(server.url) as (limits, redis):
        await redis.config_resetstat()
        await granted(limits, key(1_000_000), 2000)
        calls = (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
        assert calls < 500


async def test_a_request_of_a_cost_takes_as_many_tokens(server: RedisServer) -> None:
    async with limits_on(server.url) as (limits, _):
        assert (await limits.take(key(10), cost=8)).remaining == 2
        with pytest.raises(errors.RateLimited):
            await limits.take(key(10), cost=3)
        assert (await limits.take(key(10), cost=2)).remaining == 0


@pytest.mark.parametrize("cost", [0, -1, 11])
async def test_an_impossible_cost_is_refused(server: RedisServer, cost: int) -> None:
    async with limits_on(server.url) as (limits, _):
        with pytest.raises(errors.InvalidRequest):
            await limits.take(key(10), cost=cost)


async def test_a_changed_limit_holds_at_once(server: RedisServer) -> None:
    async with limits_on(server.url) as (limits, _):
        assert await granted(limits, key(5), 6) == 5
        assert await granted(limits, key(1000, burst=1000), 10) == 10


async def test_no_limit_at_all_grants_everything(server: RedisServer) -> None:
    async with limits_on(server.url) as (limits, _):
        assert await granted(limits, key(0), 50) == 50
        assert (await limits.take(key(0))).headers == {}


async def test_a_clock_of_redis_that_jumped_ahead_locks_nobody_out_for_long(
    server: RedisServer,
) -> None:
    async with limits_on(server.url) as (limits, redis):
        await redis.set("affectmesh:{1}:rate:key_a:600:600", "9000000000000000")
        await redis.hset(
            "affectmesh:{1}:day", mapping={"day": "99999", "used": "100", "epoch": "1"}
        )
        with pytest.raises(errors.RateLimited) as refused:
            await limits.take(key(600, day=100))
        assert int(refused.value.details["retry_after"]) == 1
        await asyncio.sleep(0.15)
        await limits.take(key(600, day=100))


async def test_a_jump_of_the_gateways_clock_changes_nothing(server: RedisServer) -> None:
    redis = announcements.connect(server.url)
    wall = Clock(1_700_000_000.0)
    limits = Limits(redis, wall=wall)
    principal = key(1, burst=10, day=10)
    assert await granted(limits, principal, 5) == 5
    wall.now += 10 * 86_400
    assert await granted(limits, principal, 10) == 5
    wall.now -= 20 * 86_400
    assert await granted(limits, principal, 10) == 0
    await limits.close()
    await redis.aclose()


async def test_without_redis_the_limit_holds_in_the_process() -> None:
    clock, wall = Clock(1000.0), Clock(1_700_000_000.0)
    limits = Limits(None, clock=clock, wall=wall)
    principal = key(60, burst=10, day=25)
    assert await granted(limits, principal, 15) == 10
    clock.now += 5
    assert await granted(limits, principal, 15) == 5
    clock.now += 3600
    assert await granted(limits, principal, 15) == 10
    with pytest.raises(errors.RateLimited, match="Daily"):
        await limits.take(principal)
    wall.now += 86_400
    clock.now += 3600
    assert await granted(limits, principal, 15) == 10


async def test_without_redis_a_wall_clock_set_back_grants_no_second_day() -> None:
    clock, wall = Clock(1000.0), Clock(1_700_000_000.0 // 86_400 * 86_400 + 60)
    limits = Limits(None, clock=clock, wall=wall)
    principal = key(1000, day=10)
    assert await granted(limits, principal, 15) == 10
    wall.now -= 120
    assert await granted(limits, principal, 15) == 0


async def test_when_redis_is_killed_each_gateway_grants_its_share(server: RedisServer) -> None:
    with redis_server() as mortal:
        async with limits_on(mortal.url, gateways=2) as (limits, _):
            principal = key(1, burst=40)
            assert await granted(limits, principal, 10) == 10
            mortal.kill()
            assert 0 < await granted(limits, principal, 100) <= 20
            assert REGISTRY.get_sample_value("affectmesh_limits_local") == 1


async def test_a_day_survives_a_redis_that_lost_its_memory() -> None:
    with redis_server() as mortal:
        async with limits_on(mortal.url) as (limits, _):
            principal = key(1_000_000, day=300)
            before = await granted(limits, principal, 100)
            mortal.kill()
            between = await granted(limits, principal, 100)
            mortal.start()
            await until(lambda: REGISTRY.get_sample_value("affectmesh_limits_local") == 0)
            after = await granted(limits, principal, 300)
            assert (before, between) == (100, 100)
            total = before + between + after
            assert 300 - 64 <= total <= 300


async def test_while_redis_is_gone_a_principal_never_seen_is_refused() -> None:
    with redis_server() as mortal:
        async with limits_on(mortal.url) as (limits, _):
            await limits.take(key(60))
            mortal.kill()
            for _ in range(2):
                with pytest.raises(errors.Unavailable):
                    await limits.take(key(60, name="key_new"))
            await limits.take(key(60))
            mortal.start()
            await until(lambda: REGISTRY.get_sample_value("affectmesh_limits_local") == 0)
            await limits.take(key(60, name="key_new"))


@given(
    minute=st.integers(1, 1000),
    burst=st.integers(1, 50),
    pauses=st.lists(st.floats(0, 5), min_size=1, max_size=60),
)
def test_no_span_of_time_sees_more_than_burst_and_rate(
    minute: int, burst: int, pauses: list[float]
) -> None:
    async def run() -> list[float]:
        clock = Clock(1000.0)
        times: list[float] = []
        limits = Limits(None, clock=clock)
        for pause in pauses:
            clock.now += pause
            times += [clock.now] * await granted(limits, key(minute, burst), 3)
        return times

    times = asyncio.run(run())
    for first, start in enumerate(times):
        for last in range(first, len(times)):
            span = times[last] - start
            assert last - first + 1 <= burst + span * minute / 60 + 1e-6
    assert len(times) >= min(burst, 3 * len(pauses))
