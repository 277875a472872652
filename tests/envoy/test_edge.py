"""The edge: the same rules, errors and bills as at the gateway, whatever a client speaks."""

import asyncio
import json
import struct
from typing import Any

import grpc
import httpx
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from affectmesh.v1 import (
    billing_pb2,
    billing_pb2_grpc,
    biosignal_pb2,
    biosignal_pb2_grpc,
    jobs_pb2,
    jobs_pb2_grpc,
    text_pb2,
    text_pb2_grpc,
)
from services.common import caller, metering
from services.mesh.temporary import TemporaryMesh
from tests.envoy.conftest import ORIGIN, Accounts
from tests.envoy.servers import Envoy
from tests.gateway.streams import calls_in_flight, talk, until

TEXT = "What a wonderful surprise, thank you!"
METHOD = "/affectmesh.v1.TextService/AnalyzeText"
Metadata = tuple[tuple[str, str], ...]


def analyze(channel: grpc.aio.Channel, metadata: Metadata, text: str = TEXT) -> Any:
    stub = text_pb2_grpc.TextServiceStub(channel)
    request = text_pb2.AnalyzeTextRequest(text=text)
    return stub.AnalyzeText(request, metadata=metadata, timeout=60)


def key(secret: str) -> Metadata:
    return (("x-wia-api-key", secret),)


async def refused(call: Any) -> tuple[grpc.StatusCode, str, dict[str, str], dict[str, Any]]:
    """Status, reason and details of a call's error, and its metadata."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    error: Any = caught.value
    status = rpc_status.from_call(error)
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "affectmesh"
    metadata = dict((*error.initial_metadata(), *error.trailing_metadata()))
    return error.code(), info.reason, dict(info.metadata), metadata


def without_times(answer: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in answer.items() if k not in ("request_id", "processing_time_ms")}


async def test_rest_is_answered_as_by_the_gateway(
    mesh: TemporaryMesh, client: httpx.AsyncClient
) -> None:
    body = {"text": TEXT}
    edge = await client.post("/v1/analyze/text", json=body, headers={"x-request-id": "mine-1"})
    direct = await client.post(f"{mesh.address}/v1/analyze/text", json=body)
    assert edge.status_code == 200
    assert without_times(edge.json()) == without_times(direct.json())
    assert edge.headers["x-request-id"] == edge.json()["request_id"] == "mine-1"
    assert "x-ratelimit-remaining" in edge.headers
    assert "server" not in edge.headers


@pytest.mark.parametrize("header", ["x-wia-api-key", "x-api-key", "authorization"])
async def test_grpc_takes_a_key_in_any_header(
    mesh: TemporaryMesh, channel: grpc.aio.Channel, header: str
) -> None:
    value = f"Bearer {mesh.key}" if header == "authorization" else mesh.key
    call = analyze(channel, ((header, value), ("x-request-id", "mine-2")))
    answer = await call
    assert answer.request_id == "mine-2"
    assert answer.emotions.primary.label == "happiness"
    metadata = dict(await call.initial_metadata())
    assert metadata["x-request-id"] == "mine-2"
    assert int(metadata["x-ratelimit-remaining"]) >= 0
    assert not {caller.KEY, metering.KEY} & metadata.keys()


async def grpc_web(client: httpx.AsyncClient, **headers: str) -> httpx.Response:
    message = text_pb2.AnalyzeTextRequest(text=TEXT).SerializeToString()
    return await client.post(
        METHOD,
        content=b"\0" + struct.pack(">I", len(message)) + message,
        headers={"content-type": "application/grpc-web+proto", "x-grpc-web": "1", **headers},
    )


async def test_grpc_web_is_answered(client: httpx.AsyncClient) -> None:
    answer = await grpc_web(client, origin=ORIGIN)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    flag, length = struct.unpack(">BI", answer.content[:5])
    assert flag == 0
    message = text_pb2.AnalyzeTextResponse.FromString(answer.content[5 : 5 + length])
    assert message.emotions.primary.label == "happiness"
    trailer = answer.content[5 + length :]
    assert trailer[0] == 0x80
    assert b"grpc-status:0" in trailer


async def test_grpc_web_without_a_valid_key_is_refused_as_grpc(client: httpx.AsyncClient) -> None:
    answer = await grpc_web(client, **{"x-wia-api-key": "wrong-key-000"})
    assert answer.status_code == 200
    assert answer.headers["grpc-status"] == str(grpc.StatusCode.UNAUTHENTICATED.value[0])
    assert "not known" in answer.headers["grpc-message"]


async def test_websocket_is_upgraded(mesh: TemporaryMesh, envoy: Envoy) -> None:
    config = {"signals": {"ecg": {"sample_rate": 250, "unit": "mV"}}}
    path = "/v1/analyze/biosignal/stream"
    async with talk(envoy.url, path, mesh.key, {"type": "config", **config}) as stream:
        await stream.say({"type": "ping"})
        await stream.hear("pong")
        await stream.say({"type": "close"})
        await stream.hear("session_summary")
        assert await stream.closed() == 1000


async def test_refused_websocket_gets_the_answer_of_a_plain_request(envoy: Envoy) -> None:
    headers = {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    async with httpx.AsyncClient(base_url=envoy.url, timeout=60) as client:
        answer = await client.get("/v1/stream", headers=headers)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "UNAUTHORIZED"


async def test_no_and_unknown_keys_are_unauthenticated(
    client: httpx.AsyncClient, channel: grpc.aio.Channel
) -> None:
    for metadata in ((), key("wrong-key-000")):
        code, reason, details, headers = await refused(analyze(channel, metadata))
        assert (code, reason) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHORIZED")
        assert details["suggestion"]
        assert headers["x-request-id"]
    answer = await client.post(
        "/v1/analyze/text", json={"text": TEXT}, headers={"x-wia-api-key": "wrong-key-000"}
    )
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "UNAUTHORIZED"


async def test_key_without_the_scope_is_denied(
    accounts: Accounts, client: httpx.AsyncClient, channel: grpc.aio.Channel
) -> None:
    secret = await accounts.key(await accounts.organization(), "emotion:read")
    code, reason, details, _ = await refused(analyze(channel, key(secret)))
    assert (code, reason) == (grpc.StatusCode.PERMISSION_DENIED, "FORBIDDEN")
    assert "emotion:read" in details["reason"]
    answer = await client.post(
        "/v1/analyze/text", json={"text": TEXT}, headers={"x-wia-api-key": secret}
    )
    assert answer.status_code == 403
    assert answer.json()["error"]["details"]["reason"] == details["reason"]


async def test_prohibited_use_is_denied(accounts: Accounts, channel: grpc.aio.Channel) -> None:
    org_id = await accounts.organization(jurisdiction="EU", use_context="workplace")
    secret = await accounts.key(org_id)
    code, reason, details, _ = await refused(analyze(channel, key(secret)))
    assert (code, reason) == (grpc.StatusCode.PERMISSION_DENIED, "FORBIDDEN")
    assert details["use_context"] == "workplace"


@pytest.mark.parametrize(
    "limits",
    [
        billing_pb2.Limits(requests_per_minute=2, burst=2),
        billing_pb2.Limits(requests_per_minute=1000, burst=1000, requests_per_day=2),
    ],
    ids=["rate", "day"],
)
async def test_rest_and_grpc_share_one_limit(
    accounts: Accounts,
    client: httpx.AsyncClient,
    channel: grpc.aio.Channel,
    limits: billing_pb2.Limits,
) -> None:
    secret = await accounts.key(await accounts.organization(limits))
    header = {"x-wia-api-key": secret}
    assert (await client.post("/v1/analyze/text", json={"text": TEXT}, headers=header)).is_success
    await analyze(channel, key(secret))
    code, reason, details, metadata = await refused(analyze(channel, key(secret)))
    assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
    assert metadata["retry-after"] == details["retry_after"]
    assert metadata["x-ratelimit-remaining"] == "0"
    answer = await client.post("/v1/analyze/text", json={"text": TEXT}, headers=header)
    assert answer.status_code == 429
    assert answer.json()["error"]["code"] == "RATE_LIMITED"


async def test_error_of_a_service_reaches_the_client_whole(
    mesh: TemporaryMesh, channel: grpc.aio.Channel
) -> None:
    code, reason, details, _ = await refused(analyze(channel, key(mesh.key), text=""))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_TEXT")
    assert details["field"] == "text"


async def test_caller_that_a_client_names_itself_counts_for_nothing(
    accounts: Accounts, channel: grpc.aio.Channel
) -> None:
    victim, own = await accounts.organization(), await accounts.organization()
    forged = caller.Caller(victim, "key_forged", "enterprise").encode()
    meter = metering.Meter("analyze.text", "forged").encode()
    headers = ((caller.KEY, forged), (metering.KEY, meter))
    code, reason, _, _ = await refused(analyze(channel, headers))
    assert (code, reason) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHORIZED")
    await analyze(channel, (*headers, *key(await accounts.key(own))))
    await billed(accounts, own, {"analyze.text": (1, "1")})
    assert await accounts.billed(victim) == {}


async def test_internal_methods_are_not_there(
    mesh: TemporaryMesh, channel: grpc.aio.Channel
) -> None:
    stub: Any = billing_pb2_grpc.BillingServiceStub(channel)
    for metadata in ((), key(mesh.key)):
        call = stub.ListPlans(billing_pb2.ListPlansRequest(), metadata=metadata)
        code, reason, _, _ = await refused(call)
        assert (code, reason) == (grpc.StatusCode.UNIMPLEMENTED, "NOT_IMPLEMENTED")


async def test_jobs_are_those_of_the_caller(accounts: Accounts, channel: grpc.aio.Channel) -> None:
    stub: Any = jobs_pb2_grpc.JobServiceStub(channel)
    secret = await accounts.key(await accounts.organization(), "emotion:read")
    request = jobs_pb2.GetJobRequest(job_id="job_of_somebody_else")
    code, reason, _, _ = await refused(stub.GetJob(request, metadata=key(secret)))
    assert reason in ("NOT_FOUND", "INVALID_REQUEST")
    code, reason, _, _ = await refused(
        stub.CreateJob(jobs_pb2.CreateJobRequest(), metadata=key(secret))
    )
    assert (code, reason) == (grpc.StatusCode.PERMISSION_DENIED, "FORBIDDEN")


async def billed(accounts: Accounts, org_id: int, wanted: dict[str, tuple[int, str]]) -> None:
    """Waits until the ledger is what is wanted, and a little longer: it must stay so."""

    async def is_so() -> bool:
        return await accounts.billed(org_id) == wanted

    await until(is_so)
    await asyncio.sleep(0.5)
    assert await accounts.billed(org_id) == wanted


async def test_ledger_counts_what_succeeded(
    accounts: Accounts, client: httpx.AsyncClient, channel: grpc.aio.Channel
) -> None:
    org_id = await accounts.organization()
    secret = await accounts.key(org_id)
    results = await asyncio.gather(
        *(analyze(channel, (*key(secret), ("x-request-id", "same"))) for _ in range(20)),
        *(grpc_web(client, **{"x-wia-api-key": secret}) for _ in range(5)),
    )
    assert len(results) == 25
    for _ in range(3):
        await refused(analyze(channel, key(secret), text=""))
    header = {"x-wia-api-key": secret}
    assert (await client.post("/v1/analyze/text", json={"text": TEXT}, headers=header)).is_success
    await billed(accounts, org_id, {"analyze.text": (26, "26")})


async def test_live_stream_is_metered_by_the_minute(
    mesh: TemporaryMesh, accounts: Accounts, channel: grpc.aio.Channel
) -> None:
    org_id = await accounts.organization()
    secret = await accounts.key(org_id, "emotion:stream")
    stub: Any = biosignal_pb2_grpc.BiosignalServiceStub(channel)
    ecg = biosignal_pb2.Signals(ecg=biosignal_pb2.Signal(sample_rate_hz=250, unit="mV"))
    config = biosignal_pb2.StreamBiosignalConfig(signals=ecg)
    stream = stub.StreamBiosignal(metadata=key(secret))
    await stream.write(biosignal_pb2.StreamBiosignalRequest(config=config))

    async def is_served() -> bool:
        return await calls_in_flight(mesh.settings, "biosignal") > 0

    async def is_billed() -> bool:
        return bool(await accounts.billed(org_id))

    await until(is_served)
    await asyncio.sleep(0.7)
    await stream.done_writing()
    answers = [answer async for answer in stream]
    assert answers[-1].WhichOneof("message") == "summary"
    await until(is_billed)
    count, minutes = (await accounts.billed(org_id))["analyze.biosignal.stream"]
    assert count == 1
    assert 0.3 / 60 <= float(minutes) < 30 / 60


async def test_pages_of_other_sites_need_leave(client: httpx.AsyncClient) -> None:
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "x-api-key"}
    allowed = await client.options("/v1/analyze/text", headers={"origin": ORIGIN, **asked})
    assert allowed.headers["access-control-allow-origin"] == ORIGIN
    assert "x-api-key" in allowed.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in allowed.headers
    other = {"origin": "https://evil.example.org", **asked}
    refused = await client.options("/v1/analyze/text", headers=other)
    assert "access-control-allow-origin" not in refused.headers


async def test_access_log_joins_requests_and_holds_no_key(
    mesh: TemporaryMesh, envoy: Envoy, client: httpx.AsyncClient, channel: grpc.aio.Channel
) -> None:
    for name in ("apikey", "token"):
        path = f"/v1/analyze/text?{name}={mesh.key}"
        answer = await client.post(
            path, json={"text": TEXT}, headers={"x-request-id": f"logged-{name}"}
        )
        assert answer.is_success
    await analyze(channel, (*key(mesh.key), ("x-request-id", "logged-grpc")))

    def lines_by_id() -> dict[str, dict[str, Any]]:
        return {line.get("request_id", ""): line for line in envoy.access_log()}

    await until(lambda: {"logged-apikey", "logged-token", "logged-grpc"} <= lines_by_id().keys())
    lines = lines_by_id()
    assert lines["logged-token"]["path"] == "/v1/analyze/text"
    assert lines["logged-apikey"]["status"] == 200
    grpc_line = lines["logged-grpc"]
    assert (grpc_line["path"], grpc_line["grpc_status"]) == (METHOD, 0)
    assert grpc_line["cluster"] == "text"
    assert mesh.key not in json.dumps(envoy.access_log())
    assert mesh.key not in envoy.log()
