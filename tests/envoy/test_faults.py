"""What clients see when something behind the edge is gone, slow, or asked too much."""

import asyncio
import signal
import ssl
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from websockets.asyncio.client import connect

from services.mesh import ports
from services.mesh.temporary import TemporaryMesh
from tests.envoy.certificates import self_signed
from tests.envoy.servers import HOST, Envoy, Replica, free_port
from tests.envoy.test_edge import METHOD, analyze, key, refused
from tests.mesh.waiting import wait_until

TEXT = {"text": "How nice!"}


def nowhere() -> str:
    return f"{HOST}:{free_port()}"


@contextmanager
def replica(mesh: TemporaryMesh, service: str) -> Iterator[Replica]:
    """Another process of a service of the mesh, once it serves."""
    http_port, port_base = ports.free_ports(HOST)
    redis = f"unix://{mesh.data_dir / 'redis.sock'}"
    environment = {**mesh.environment, "AFFECTMESH_REDIS_URL": redis}
    another = Replica(service, environment, port_base, http_port)
    another.start()
    try:
        yield another
    finally:
        another.signal(signal.SIGCONT) if another.process else None
        another.end(signal.SIGKILL)


def rest(mesh: TemporaryMesh, envoy: Envoy) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=envoy.url, headers={"x-wia-api-key": mesh.key}, timeout=60)


def worded(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The details of an error in the envelope of WIA."""
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body.keys() == {"error", "request_id"}
    assert body["error"]["code"] == code
    assert body["error"]["message"]
    assert body["error"]["details"]["suggestion"]
    assert body["request_id"] == answer.headers["x-request-id"]
    details: dict[str, Any] = body["error"]["details"]
    return details


async def test_nobody_to_ask_admits_nobody(mesh: TemporaryMesh) -> None:
    backends = {"authorization": [nowhere()]}
    with Envoy(mesh.settings, ("edge",), envoy_backends=backends) as envoy:
        async with grpc.aio.insecure_channel(envoy.edge) as channel:
            for metadata in ((), key(mesh.key)):
                code, reason, details, _ = await refused(analyze(channel, metadata))
                assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "SERVICE_UNAVAILABLE")
                assert details["retry_after"]
        wait_until(lambda: envoy.healthy("gateway") == 1, "the gateway serves")
        async with rest(mesh, envoy) as client:
            assert (await client.post("/v1/analyze/text", json=TEXT)).status_code == 200


async def test_no_healthy_backend_is_unavailable(mesh: TemporaryMesh) -> None:
    backends = {"gateway": [nowhere()], "text": [nowhere()]}
    with Envoy(mesh.settings, ("edge",), envoy_backends=backends) as envoy:
        async with rest(mesh, envoy) as client:
            for path in ("/v1/analyze/text", "/v1/anything"):
                answer = await client.post(path, json=TEXT, headers={"x-request-id": "mine"})
                details = worded(answer, 503, "SERVICE_UNAVAILABLE")
                assert answer.json()["request_id"] == "mine"
                assert str(details["retry_after"]) == answer.headers["retry-after"]
        async with grpc.aio.insecure_channel(envoy.edge) as channel:
            code, reason, details, _ = await refused(analyze(channel, key(mesh.key)))
            assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "SERVICE_UNAVAILABLE")


async def announced(envoy: Envoy, path: str, length: int) -> httpx.Response:
    """What a client gets that says how much it will send, and waits for leave."""
    reader, writer = await asyncio.open_connection(HOST, envoy.settings.envoy_edge_port)
    head = f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nExpect: 100-continue\r\n"
    writer.write(f"{head}Content-Length: {length}\r\n\r\n".encode())
    status = int((await reader.readline()).split()[1])
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines if line)
    body = await reader.readexactly(int(headers["content-length"]))
    writer.close()
    return httpx.Response(status, headers=headers, content=body)


@pytest.mark.slow
async def test_what_is_too_large_is_refused(mesh: TemporaryMesh) -> None:
    large = "a" * (4 * 1024 * 1024)
    with Envoy(mesh.settings, ("edge",), max_body_mb=1) as envoy:
        async with rest(mesh, envoy) as client:
            answer = await announced(envoy, "/v1/analyze/text", len(large))
            worded(answer, 413, "PAYLOAD_TOO_LARGE")
            message = struct.pack(">BI", 0, len(large)) + large.encode()
            headers = {"content-type": "application/grpc-web+proto"}
            web = await client.post(METHOD, content=message, headers=headers)
            assert web.headers["grpc-status"] == str(grpc.StatusCode.RESOURCE_EXHAUSTED.value[0])
        async with grpc.aio.insecure_channel(envoy.edge) as channel:
            code, reason, _, _ = await refused(analyze(channel, key(mesh.key), large))
            assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "PAYLOAD_TOO_LARGE")


@pytest.mark.slow
async def test_body_without_a_length_is_counted_by_the_gateway(
    mesh: TemporaryMesh, envoy: Envoy
) -> None:
    async def endless() -> Any:
        for _ in range(mesh.settings.max_body_mb + 2):
            yield b" " * 1024 * 1024

    async with rest(mesh, envoy) as client:
        answer = await client.post(
            "/v1/analyze/text", content=endless(), headers={"content-type": "application/json"}
        )
    worded(answer, 413, "PAYLOAD_TOO_LARGE")


@pytest.mark.slow
async def test_hung_backend_is_a_timeout_then_unavailable(mesh: TemporaryMesh) -> None:
    with replica(mesh, "gateway") as gateway, replica(mesh, "text") as text:
        settings = gateway.settings
        backends = {
            "gateway": [f"{HOST}:{settings.http_port}"],
            "text": [text.settings.address("text")],
        }
        with Envoy(
            mesh.settings, ("edge",), envoy_backends=backends, request_timeout_s=1.0
        ) as envoy:
            wait_until(lambda: envoy.healthy("gateway") == envoy.healthy("text") == 1, "both")
            gateway.signal(signal.SIGSTOP)
            async with rest(mesh, envoy) as client:
                worded(await client.post("/v1/analyze/text", json=TEXT), 504, "DEADLINE_EXCEEDED")
                wait_until(lambda: envoy.healthy("gateway") == 0, "the gateway is left out")
                worded(await client.post("/v1/analyze/text", json=TEXT), 503, "SERVICE_UNAVAILABLE")
            text.signal(signal.SIGSTOP)
            async with grpc.aio.insecure_channel(envoy.edge) as channel:
                code, reason, _, _ = await refused(analyze(channel, key(mesh.key)))
                assert (code, reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")


@pytest.mark.slow
async def test_dead_replica_is_left_out_without_a_failed_call(mesh: TemporaryMesh) -> None:
    with replica(mesh, "text") as text:
        both = [text.settings.address("text"), mesh.settings.address("text")]
        with Envoy(mesh.settings, ("edge",), envoy_backends={"text": both}) as envoy:
            wait_until(lambda: envoy.healthy("text") == 2, "both replicas serve")
            async with grpc.aio.insecure_channel(envoy.edge) as channel:
                await asyncio.gather(*(analyze(channel, key(mesh.key)) for _ in range(10)))
                pending = [asyncio.ensure_future(_one(channel, mesh.key)) for _ in range(20)]
                text.end(signal.SIGKILL)
                await asyncio.gather(*pending)
                for _ in range(20):
                    await analyze(channel, key(mesh.key))
                wait_until(lambda: envoy.healthy("text") == 1, "the dead one is left out")
                text.start()
                wait_until(lambda: envoy.healthy("text") == 2, "it is back")
                await asyncio.gather(*(analyze(channel, key(mesh.key)) for _ in range(10)))


async def _one(channel: grpc.aio.Channel, secret: str) -> Any:
    return await analyze(channel, key(secret))


@pytest.mark.slow
async def test_tls_for_every_protocol(mesh: TemporaryMesh, tmp_path: Path) -> None:
    certificate, private = self_signed(tmp_path)

    trusting = ssl.create_default_context(cafile=str(certificate))
    with Envoy(
        mesh.settings, ("edge",), envoy_tls_certificate=certificate, envoy_tls_key=private
    ) as envoy:
        headers = {"x-wia-api-key": mesh.key}
        async with httpx.AsyncClient(verify=trusting, headers=headers, timeout=60) as client:
            answer = await client.post(f"{envoy.url}/v1/analyze/text", json=TEXT)
        assert answer.status_code == 200
        credentials = grpc.ssl_channel_credentials(certificate.read_bytes())
        async with grpc.aio.secure_channel(envoy.edge, credentials) as channel:
            assert (await analyze(channel, key(mesh.key))).emotions.primary.label
        url = f"wss://{envoy.edge}/v1/analyze/biosignal/stream?token={mesh.key}"
        async with connect(url, ssl=trusting) as websocket:
            assert websocket.response is not None
            assert websocket.response.headers["x-request-id"]
