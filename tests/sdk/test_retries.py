"""What the Python client does when the server is not well."""

import pytest
from aiohttp import web

import emotionchat
from emotionchat import AsyncEmotionChat, Retries
from tests.sdk.servers import Handler, Scripted

USAGE = {
    "month": "2025-01",
    "total_analyses": 1,
    "total_minutes_analyzed": 5.25,
    "total_cost_usd": 1.31,
    "rate_limit": {"limit": 60, "remaining": 59, "reset": 1706745600},
}
RECORDING = {
    "recording_id": "rec_1",
    "status": "completed",
    "duration_minutes": 1,
    "overall_honesty_score": 78.5,
    "emotion_breakdown": {"happy": 1.0},
    "key_moments": [],
    "cost_usd": 0.25,
}
BUSY = {"error": "Rate limit exceeded", "retry_after": 0}


def answers(*given: web.Response) -> Handler:
    rest = list(given)

    async def answer(_request: web.Request) -> web.Response:
        return rest.pop(0)

    return answer


def client(server: Scripted, most: int = 3) -> AsyncEmotionChat:
    retries = Retries(most=most, draw=lambda: 0.0)
    return AsyncEmotionChat(api_key="ek_live_key", base_url=server.url, retries=retries)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_a_passing_refusal_is_tried_again(status: int) -> None:
    handler = answers(web.json_response(BUSY, status=status), web.json_response(USAGE))
    async with Scripted(handler) as server, client(server) as chat:
        assert (await chat.usage()).total_cost_usd == 1.31
    assert server.count == 2


async def test_tries_are_bounded() -> None:
    handler = answers(*(web.json_response({"error": "down"}, status=503) for _ in range(3)))
    async with Scripted(handler) as server, client(server, most=2) as chat:
        with pytest.raises(emotionchat.ServerError, match="down"):
            await chat.usage()
    assert server.count == 3


async def test_a_long_wait_is_left_to_the_caller() -> None:
    body = {"error": "Rate limit exceeded", "retry_after": 3600}
    busy = web.json_response(body, status=429, headers={"Retry-After": "3600"})
    async with Scripted(answers(busy)) as server, client(server) as chat:
        with pytest.raises(emotionchat.RateLimited) as caught:
            await chat.usage()
    assert caught.value.retry_after == 3600


async def test_an_upload_is_sent_whole_again_under_its_key() -> None:
    keys, sizes = [], []

    async def answer(request: web.Request) -> web.Response:
        keys.append(request.headers["Idempotency-Key"])
        form = await request.post()
        field = form["video"]
        assert isinstance(field, web.FileField)
        sizes.append(len(field.file.read()))
        return web.json_response(RECORDING, status=200 if len(keys) > 1 else 502)

    async with Scripted(answer) as server, client(server) as chat:
        recording = await chat.analyze(b"x" * 100_000)
    assert recording.honesty_score == 78.5
    assert sizes == [100_000, 100_000]
    assert keys[0] == keys[1]


async def test_what_may_have_been_done_is_not_done_twice() -> None:
    handler = answers(web.json_response({"error": "gone"}, status=502))
    async with Scripted(handler) as server, client(server) as chat:
        with pytest.raises(emotionchat.ServerError):
            await chat.webhooks.create("https://example.com")
    assert server.count == 1


async def test_a_server_that_is_not_there() -> None:
    async with Scripted(answers()) as server:
        chat = client(server)
    async with chat:
        with pytest.raises(emotionchat.ConnectionFailed):
            await chat.usage()


async def test_a_failed_analysis_says_why() -> None:
    failed = {**RECORDING, "status": "failed", "error": {"code": "INVALID_VIDEO", "message": "Bad"}}
    handler = answers(
        web.json_response({**RECORDING, "status": "processing"}), web.json_response(failed)
    )
    async with Scripted(handler) as server, client(server) as chat:
        with pytest.raises(emotionchat.AnalysisFailed, match="Bad") as caught:
            await chat.analyze(b"video")
    assert caught.value.code == "INVALID_VIDEO"


async def test_waiting_is_bounded() -> None:
    handler = answers(web.json_response({**RECORDING, "status": "processing"}))
    async with Scripted(handler) as server, client(server) as chat:
        with pytest.raises(TimeoutError):
            await chat.recordings.wait("rec_1", timeout_s=0)
