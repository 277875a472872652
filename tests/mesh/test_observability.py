"""What an operator can see of every service."""

from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from services.common.settings import SERVICES
from services.mesh.temporary import TemporaryMesh
from tests.mesh.waiting import logged, wait_until

CONTRACTS = {
    "billing": "affectmesh.v1.BillingService",
    "jobs": "affectmesh.v1.JobService",
    "text": "affectmesh.v1.TextService",
    "face": "affectmesh.v1.FaceService",
    "voice": "affectmesh.v1.VoiceService",
    "biosignal": "affectmesh.v1.BiosignalService",
    "fusion": "affectmesh.v1.FusionService",
}


@pytest.mark.parametrize("service", SERVICES)
async def test_every_service_says_its_health_and_what_it_serves(
    mesh: TemporaryMesh, service: str
) -> None:
    contract = CONTRACTS.get(service)
    channel: Any
    async with grpc.aio.insecure_channel(mesh.settings.address(service)) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        for name in filter(None, ("", contract)):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        listing = reflection_pb2.ServerReflectionRequest(list_services="")
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        async for answer in stub.ServerReflectionInfo(iter([listing])):
            listed = {found.name for found in answer.list_services_response.service}
    assert listed >= {"grpc.health.v1.Health"} | ({contract} if contract else set())


@pytest.mark.parametrize("service", SERVICES)
async def test_every_service_has_metrics(mesh: TemporaryMesh, service: str) -> None:
    url = f"http://{mesh.settings.host}:{mesh.settings.metrics_port(service)}/metrics"
    async with httpx.AsyncClient(timeout=60) as client:
        text = (await client.get(url)).text
    assert "affectmesh_rpc_in_flight" in text
    assert "process_resident_memory_bytes" in text


async def test_a_request_can_be_followed_through_the_logs_and_no_key_is_in_them(
    mesh: TemporaryMesh,
) -> None:
    headers = {"x-wia-api-key": mesh.key, "x-request-id": "followed-request-1"}
    async with httpx.AsyncClient(base_url=mesh.address, headers=headers, timeout=60) as client:
        refused = await client.post("/v1/analyze/text", json={"text": ""})
        assert refused.status_code == 400

    def followed() -> list[dict[str, Any]]:
        lines = logged(mesh, "gateway")
        return [line for line in lines if line.get("request_id") == "followed-request-1"]

    wait_until(lambda: bool(followed()), "the request is logged, after its answer")
    (line,) = followed()
    assert (line["route"], line["status"]) == ("/v1/analyze/text", 400)
    for service in SERVICES:
        assert mesh.key not in mesh.log(service)
