"""Bad input to live streams on the running mesh: clear errors or close codes, and no harm."""

import asyncio
import json
from contextlib import suppress
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from services.mesh.temporary import TemporaryMesh
from tests.gateway.streams import (
    FACIAL_CONFIG,
    PHOTOGRAPH,
    audio,
    calls_in_flight,
    frame,
    talk,
    until,
)

VOICE = "/v1/analyze/voice/stream"
BIOSIGNAL = "/v1/analyze/biosignal/stream"


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (frame(PHOTOGRAPH)[:10], "less than its header"),
        (b"RIFF" + frame(PHOTOGRAPH)[4:], "WIAE"),
        (b"WIAE\x07" + frame(PHOTOGRAPH)[5:], "Version 7"),
        (b"WIAE\x01\x09" + frame(PHOTOGRAPH)[6:], "Modality 9"),
        (frame(PHOTOGRAPH)[:-1], "bytes of payload"),
        (frame(PHOTOGRAPH) + b"!", "bytes of payload"),
        (frame(b"\xff\xd8\xff" + bytes(5 * 1024 * 1024)), "at most 4194304 bytes"),
        (frame(b"not a picture"), "not a JPEG"),
        (frame(b"\xff\xd8\xff\xe0 cut off"), ""),
        (frame(b""), "empty"),
        (audio(0.1), "not configured"),
        (frame(PHOTOGRAPH, at_ms=-1_766_140_215_123 + 2**47), "more than a day"),
    ],
)
async def test_a_bad_frame_is_told_of_and_skipped(
    mesh: TemporaryMesh, bad: bytes, words: str
) -> None:
    async with talk(mesh.address, "/v1/stream", mesh.key, FACIAL_CONFIG) as client:
        await client.say(frame(PHOTOGRAPH))
        await client.hear("result")
        await client.say(bad)
        error = await client.hear("error")
        await client.say(frame(PHOTOGRAPH, at_ms=100))
        result = await client.hear("result")
    assert error["code"] == "INVALID_FRAME"
    assert words in error["message"]
    assert (error["frame_number"], error["recoverable"]) == (2, True)
    assert result["frame_number"] == 3


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("WIAE", "not valid JSON"),
        ("{", "not valid JSON"),
        ("[]", "not an object"),
        ('"close"', "not an object"),
        ("{}", "with a type"),
        ('{"type": 1}', "with a type"),
        ('{"type": "frame"}', "'frame' are not known"),
        (json.dumps(FACIAL_CONFIG), "configured already"),
        ('{"type": "auth_refresh"}', "no token"),
        ('{"type": "ping", "rest": "' + "x" * 1024 * 1024 + '"}', "too long"),
    ],
)
async def test_a_bad_message_is_told_of_and_skipped(
    mesh: TemporaryMesh, bad: str, words: str
) -> None:
    async with talk(mesh.address, "/v1/stream", mesh.key, FACIAL_CONFIG, bad) as client:
        error = await client.hear("error")
        await client.say(frame(PHOTOGRAPH))
        await client.hear("result")
    assert error["code"] == "INVALID_REQUEST"
    assert words in error["message"]
    assert error["recoverable"] is True


@pytest.mark.parametrize(
    ("path", "first", "words"),
    [
        ("/v1/stream", frame(PHOTOGRAPH), "before the config"),
        ("/v1/stream", "{", "not valid JSON"),
        ("/v1/stream", {"type": "hello"}, "'hello'"),
        ("/v1/stream", {"type": "close"}, "'close'"),
        ("/v1/stream", {"type": "config"}, "modalities"),
        ("/v1/stream", {**FACIAL_CONFIG, "modalities": []}, "modalities"),
        ("/v1/stream", {**FACIAL_CONFIG, "modalities": ["smell"]}, "modalities.0"),
        ("/v1/stream", {**FACIAL_CONFIG, "modality": "facial"}, "modality"),
        ("/v1/stream", {**FACIAL_CONFIG, "stream_id": "a b"}, "stream_id"),
        ("/v1/stream", {**FACIAL_CONFIG, "facial": {"frame_rate": 0}}, "facial.frame_rate"),
        ("/v1/stream", {**FACIAL_CONFIG, "facial": {"encoding": "h264"}}, "facial.encoding"),
        ("/v1/stream", {**FACIAL_CONFIG, "output": {"rate": "often"}}, "output.rate"),
        ("/v1/stream", {**FACIAL_CONFIG, "output": {"threshold": 2}}, "output.threshold"),
        ("/v1/stream", {"type": "resume"}, "stream_id"),
        (VOICE, bytes(3200), "before the config"),
        (VOICE, {"type": "config"}, "encoding"),
        (VOICE, {"type": "config", "encoding": "LINEAR16"}, "sample_rate"),
        (VOICE, {"type": "config", "sample_rate": 4000, "encoding": "LINEAR16"}, "sample_rate"),
        (VOICE, {"type": "config", "sample_rate": 16000, "encoding": "MP3"}, "encoding"),
        (VOICE, {"type": "start"}, "'start'"),
        (BIOSIGNAL, b"\0", "before the config"),
        (BIOSIGNAL, {"type": "samples"}, "'samples'"),
        (BIOSIGNAL, {"type": "config", "signal": {}}, "signal"),
    ],
)
async def test_a_stream_that_begins_wrong_is_closed_saying_why(
    mesh: TemporaryMesh, path: str, first: Any, words: str
) -> None:
    async with talk(mesh.address, path, mesh.key, first) as client:
        error = await client.hear("error")
        assert await client.closed() == 4400
    assert error["code"] == "INVALID_REQUEST"
    assert words in error["message"]
    assert error["recoverable"] is False


async def test_a_message_over_sixteen_mebibytes_closes_the_socket(mesh: TemporaryMesh) -> None:
    async with talk(mesh.address, "/v1/stream", mesh.key, FACIAL_CONFIG) as client:
        await client.running()
        with suppress(ConnectionClosed):
            await client.say(bytes(17 * 1024 * 1024))
        assert await client.closed() == 1009


async def test_messages_are_not_compressed_so_that_none_unpacks_to_more(
    mesh: TemporaryMesh,
) -> None:
    async with talk(mesh.address, "/v1/stream", mesh.key) as client:
        assert client.socket.response is not None
        assert "sec-websocket-extensions" not in client.socket.response.headers


async def test_a_client_that_vanishes_leaves_no_call_behind(mesh: TemporaryMesh) -> None:
    async def calls(number: int) -> bool:
        return await calls_in_flight(mesh.settings, "face") == number

    await until(lambda: calls(0))
    for end in ("abort", "close"):
        async with talk(mesh.address, "/v1/stream", mesh.key, FACIAL_CONFIG) as client:
            await client.say(frame(PHOTOGRAPH))
            await client.hear("result")
            await until(lambda: calls(1))
            if end == "abort":
                client.socket.transport.abort()
            else:
                await client.socket.close()
            await until(lambda: calls(0))


async def test_many_clients_at_once_each_get_their_own_answers(mesh: TemporaryMesh) -> None:
    async def one(name: str) -> list[str]:
        config = {**FACIAL_CONFIG, "stream_id": name}
        async with talk(mesh.address, "/v1/stream", mesh.key, config) as client:
            await client.say(frame(PHOTOGRAPH))
            await client.hear("result")
            await client.say({"type": "close"})
            await client.closed()
            return [message["stream_id"] for message in client.heard]

    names = [f"client-{number}" for number in range(8)]
    for name, heard in zip(names, await asyncio.gather(*map(one, names)), strict=True):
        assert set(heard) == {name}


@pytest.mark.parametrize("path", ["/v1/stream", VOICE, BIOSIGNAL, "/emotion-ai" + VOICE])
@pytest.mark.parametrize("key", [None, "sk_test_of_nobody_0123456789"])
async def test_a_client_without_a_valid_key_is_refused_before_the_handshake(
    mesh: TemporaryMesh, path: str, key: str | None
) -> None:
    headers = {} if key is None else {"x-wia-api-key": key}
    with pytest.raises(InvalidStatus) as refused:
        async with connect(
            mesh.address.replace("http", "ws", 1) + path, additional_headers=headers
        ):
            pass
    response = refused.value.response
    assert response.status_code == 401
    body = json.loads(response.body or b"")
    assert body["error"]["code"] == "UNAUTHORIZED"
    assert body["request_id"] == response.headers["x-request-id"]
    assert "completing handshake" not in mesh.log("gateway")


async def test_the_gateway_serves_on_after_bad_streams(client: httpx.AsyncClient) -> None:
    assert (await client.get("/healthz")).is_success
