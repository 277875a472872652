"""The internal listener: JSON that becomes gRPC, and gRPC from service to service."""

from typing import Any

import httpx
import pytest

from affectmesh.v1 import text_pb2
from services.cli.samples import sample_requests
from services.common.channels import Channels
from services.common.settings import SERVICES
from services.gateway.app import build
from services.gateway.policy import Policy
from services.mesh.temporary import TemporaryMesh
from tests.envoy.servers import Envoy

KINDS = ("text", "batch", "biosignal", pytest.param("multimodal", marks=pytest.mark.slow))


def as_proto3_json(value: Any) -> Any:
    """The gateway's JSON without what the two write differently.

    The gateway writes an absent number as null, as WIA has it, where proto3 JSON leaves it out; and
    times and ids are those of one run.
    """
    if isinstance(value, dict):
        return {
            key: as_proto3_json(item)
            for key, item in value.items()
            if item is not None and key not in ("request_id", "processing_time_ms")
        }
    return [as_proto3_json(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("kind", KINDS)
async def test_transcoded_json_is_the_gateways(
    mesh: TemporaryMesh, envoy: Envoy, kind: str
) -> None:
    sample = next(sample for sample in sample_requests() if sample.kind == kind)
    headers = {"x-wia-api-key": mesh.key}
    async with httpx.AsyncClient(timeout=60, headers=headers) as client:
        transcoded = await client.post(envoy.internal_url + sample.path, json=sample.body)
        ours = await client.post(mesh.address + sample.path, json=sample.body)
    assert transcoded.status_code == ours.status_code == 200
    assert as_proto3_json(transcoded.json()) == as_proto3_json(ours.json())


async def test_errors_are_statuses_with_their_details(envoy: Envoy) -> None:
    async with httpx.AsyncClient(base_url=envoy.internal_url, timeout=60) as client:
        invalid = await client.post("/v1/analyze/text", json={"text": ""})
        wrong_verb = await client.get("/v1/analyze/text")
    assert invalid.status_code == 400
    (detail,) = invalid.json()["details"]
    assert (detail["reason"], detail["domain"]) == ("INVALID_TEXT", "affectmesh")
    assert wrong_verb.status_code == 404


async def test_gateway_reaches_every_service_through_it(mesh: TemporaryMesh, envoy: Envoy) -> None:
    others = {name: envoy.internal for name in SERVICES if name != "gateway"}
    settings = mesh.settings.model_copy(update={"addresses": others, "redis_url": None})
    channels = Channels(settings)
    policy = await Policy.open(settings, channels)
    transport = httpx.ASGITransport(build(settings, channels, policy))
    headers = {"x-wia-api-key": mesh.key}
    try:
        async with httpx.AsyncClient(
            transport=transport, base_url="http://mesh.test", headers=headers
        ) as client:
            ready = await client.get("/readyz")
            answer = await client.post("/v1/analyze/text", json={"text": "How nice!"})
    finally:
        await policy.close()
        await channels.close()
    assert ready.json()["services"] == dict.fromkeys(others, "SERVING")
    assert answer.status_code == 200
    assert answer.json().keys() <= set(text_pb2.AnalyzeTextResponse.DESCRIPTOR.fields_by_name)
