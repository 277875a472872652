"""Triton killed, hung, without a model, or with its model's process killed."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import numpy as np
import pytest

from services.common import errors
from services.common.inference.repository import Repository
from services.common.inference.triton import TritonInference
from services.common.settings import Settings
from tests.triton.server import TritonServer

pytestmark = pytest.mark.slow

MODEL = "text_dimensions"
INPUTS = Repository(Settings().model_repository)[MODEL].example()
TIMEOUT_S = 2.0


@pytest.fixture
def server(
    tmp_path_factory: pytest.TempPathFactory, repository: Repository
) -> Iterator[TritonServer]:
    with TritonServer(tmp_path_factory.mktemp("triton"), repository, [MODEL]) as server:
        yield server


@pytest.fixture
async def inference(server: TritonServer, repository: Repository) -> AsyncIterator[TritonInference]:
    inference = TritonInference(repository, server.url, TIMEOUT_S)
    await inference.load(MODEL)
    yield inference
    await inference.close()


async def run(inference: TritonInference) -> dict[str, np.ndarray]:
    return await inference.infer(MODEL, INPUTS)


async def refused(inference: TritonInference) -> tuple[errors.Unavailable, float]:
    """The error of a run, and how long it took."""
    started = time.monotonic()
    with pytest.raises(errors.Unavailable) as caught:
        await run(inference)
    return caught.value, time.monotonic() - started


async def until_refused_at_once(inference: TritonInference) -> errors.Unavailable:
    """Runs until nothing is asked any more."""
    for _ in range(5):
        error, _ = await refused(inference)
        if "repeatedly" in error.details["reason"]:
            return error
    raise AssertionError("it was asked five times")


async def until_answered(inference: TritonInference, within_s: float = 60) -> None:
    """Runs until it is answered; fails when it is not in time."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            await run(inference)
        except errors.Unavailable:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.2)
        else:
            return


async def test_killed_server_is_not_asked_until_it_is_back(
    server: TritonServer, inference: TritonInference
) -> None:
    await run(inference)
    assert await inference.ready()
    server.kill()
    error = await until_refused_at_once(inference)
    assert int(error.details["retry_after"]) >= 1
    _, elapsed_s = await refused(inference)
    assert elapsed_s < TIMEOUT_S
    assert not await _ready_soon(inference)
    server.start()
    await until_answered(inference)
    assert await inference.ready()


async def test_hung_server_costs_a_deadline_and_then_nothing(
    server: TritonServer, inference: TritonInference
) -> None:
    server.hang()
    _, elapsed_s = await refused(inference)
    assert elapsed_s >= TIMEOUT_S * 0.9
    await until_refused_at_once(inference)
    assert not await _ready_soon(inference)
    server.go_on()
    await until_answered(inference)


async def test_killed_model_process_is_noticed_though_the_server_calls_it_ready(
    server: TritonServer, inference: TritonInference
) -> None:
    server.kill_stubs()
    error, _ = await refused(inference)
    assert MODEL in error.message
    assert server.says_ready(MODEL)
    assert not await _ready_soon(inference)
    fresh = TritonInference(Repository(*inference._repository.roots), server.url, TIMEOUT_S)
    with pytest.raises(errors.Unavailable, match=MODEL):
        await fresh.load(MODEL)
    await fresh.close()


async def test_missing_model_is_named_at_start(
    server: TritonServer, repository: Repository
) -> None:
    inference = TritonInference(repository, server.url, TIMEOUT_S)
    with pytest.raises(errors.Unavailable, match="face_detection"):
        await inference.load(MODEL, "face_detection")
    await inference.close()


async def _ready_soon(inference: TritonInference) -> bool:
    """Whether all models answer, asked when the last answer is old enough to be doubted."""
    inference._breakers[MODEL]._succeeded_at = -float("inf")
    return await inference.ready()


async def test_server_that_never_was_is_unavailable(repository: Repository) -> None:
    inference = TritonInference(repository, "127.0.0.1:1", TIMEOUT_S)
    with pytest.raises(errors.Unavailable, match=MODEL):
        await inference.load(MODEL)
    await refused(inference)
    await inference.close()
