"""A mesh that sends its traces to a real collector and speaks mutual TLS inside."""

import secrets
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import pytest

from affectmesh.v1 import text_pb2, text_pb2_grpc
from services.cli.samples import SAMPLES, sample_requests
from services.common.settings import SERVICES
from services.mesh.temporary import TemporaryMesh
from tests.common.certificates import Authority
from tests.envoy.servers import Envoy
from tests.mesh import waiting
from tests.observability.sink import Collector, Span, collector

pytestmark = pytest.mark.slow

VOICE = SAMPLES / "voice" / "austen-0880.flac"
TEXT = "Marguerite Blanchefleur was so happy to see the rain stop."
NAMES = ("Marguerite", "Blanchefleur")


@pytest.fixture(scope="module")
def sink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    with collector(tmp_path_factory.mktemp("collector")) as running:
        yield running


@pytest.fixture(scope="module")
def traced(sink: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TemporaryMesh]:
    authority = Authority(tmp_path_factory.mktemp("tls"))
    certificate, key = authority.issue("mesh")
    overrides = {
        "AFFECTMESH_TLS_CERT": str(certificate),
        "AFFECTMESH_TLS_KEY": str(key),
        "AFFECTMESH_TLS_CA": str(authority.path),
        "AFFECTMESH_LOG_LEVEL": "debug",
        "OTEL_EXPORTER_OTLP_ENDPOINT": sink.address,
        "OTEL_BSP_SCHEDULE_DELAY": "200",
    }
    with TemporaryMesh(overrides) as running:
        yield running


def parent_of(trace: str, sampled: bool = True) -> str:
    """Names a span outside as the parent."""
    return f"00-{trace}-{secrets.token_hex(8)}-{'01' if sampled else '00'}"


def ask(
    mesh: TemporaryMesh,
    path: str,
    body: Any,
    trace: str,
    sampled: bool = True,
    address: str = "",
) -> Any:
    headers = {"x-wia-api-key": mesh.key, "traceparent": parent_of(trace, sampled)}
    with httpx.Client(base_url=address or mesh.address, headers=headers, timeout=60) as client:
        answer = client.post(path, json=body)
    assert answer.is_success, answer.text
    return answer


def logged(mesh: TemporaryMesh, service: str, trace: str) -> list[dict[str, Any]]:
    """The lines of a trace once there are any: a request is logged when its answer is out."""

    def ours() -> list[dict[str, Any]]:
        return [line for line in waiting.logged(mesh, service) if line.get("trace_id") == trace]

    waiting.wait_until(lambda: bool(ours()), "the request is logged")
    return ours()


def named(spans: list[Span], name: str) -> Span:
    (found,) = [span for span in spans if span.name == name]
    return found


def test_one_trace_goes_from_the_gateway_through_fusion_and_services_to_the_models(
    traced: TemporaryMesh, sink: Collector
) -> None:
    trace = secrets.token_hex(16)
    sample = next(one for one in sample_requests() if one.path == "/v1/analyze/multimodal")
    ask(traced, sample.path, sample.body, trace)
    calls = {
        "POST /v1/analyze/multimodal",
        "affectmesh.v1.FusionService/AnalyzeMultimodal",
        "affectmesh.v1.TextService/AnalyzeText",
        "affectmesh.v1.FaceService/AnalyzeFace",
        "affectmesh.v1.VoiceService/AnalyzeVoice",
    }
    spans = sink.wait_for(trace, calls)
    gateway = named(spans, "POST /v1/analyze/multimodal")
    fusion = named(spans, "affectmesh.v1.FusionService/AnalyzeMultimodal")
    assert gateway.service == "affectmesh-gateway"
    assert fusion.parent == gateway.id
    for name, service in (("Text", "text"), ("Face", "face"), ("Voice", "voice")):
        call = named(spans, f"affectmesh.v1.{name}Service/Analyze{name}")
        assert (call.service, call.parent) == (f"affectmesh-{service}", fusion.id)
        models = [span for span in spans if span.parent == call.id]
        assert models
        assert all(span.name.startswith("model ") for span in models)


async def test_one_trace_goes_from_envoy_through_mutual_tls_to_the_models(
    traced: TemporaryMesh, sink: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", sink.address)
    rest, grpc_ = secrets.token_hex(16), secrets.token_hex(16)
    with Envoy(traced.settings, ("edge",)) as edge:
        ask(traced, "/v1/analyze/text", {"text": TEXT}, rest, address=edge.url)
        metadata = (("x-api-key", traced.key), ("traceparent", parent_of(grpc_)))
        async with grpc.aio.insecure_channel(edge.edge) as channel:
            stub: Any = text_pb2_grpc.TextServiceStub(channel)
            request = text_pb2.AnalyzeTextRequest(text=TEXT)
            await stub.AnalyzeText(request, metadata=metadata, timeout=30)
        call = "affectmesh.v1.TextService/AnalyzeText"
        wanted = {"POST /v1/analyze/text", call, "model text_affect"}
        spans = sink.wait_for_service(rest, wanted, "affectmesh-envoy")
        direct = sink.wait_for_service(grpc_, {call, "model text_affect"}, "affectmesh-envoy")
    (root,) = [span for span in spans if span.service == "affectmesh-envoy"]
    gateway = named(spans, "POST /v1/analyze/text")
    assert gateway.parent == root.id
    assert named(spans, call).parent == gateway.id
    assert named(spans, "model text_affect").parent == named(spans, call).id
    edges = {span.id for span in direct if span.service == "affectmesh-envoy"}
    assert named(direct, call).parent in edges


def test_a_job_is_a_trace_of_its_own(traced: TemporaryMesh, sink: Collector) -> None:
    headers = {"x-wia-api-key": traced.key}
    with httpx.Client(base_url=traced.address, headers=headers, timeout=60) as client:
        media = client.post("/v1/media", files={"file": ("speech.flac", VOICE.read_bytes())}).json()
        client.post("/v1/jobs", json={"kind": "voice", "input": {"media_id": media["media_id"]}})
    job = sink.wait_for_trace("job voice")
    call = "affectmesh.v1.VoiceService/AnalyzeVoice"
    spans = sink.wait_for(job, {"job voice", call})
    root = named(spans, "job voice")
    assert root.service.startswith("affectmesh-worker")
    assert not root.parent
    assert named(spans, call).parent == root.id


def test_what_the_edge_does_not_sample_is_not_exported(
    traced: TemporaryMesh, sink: Collector
) -> None:
    dark, seen = secrets.token_hex(16), secrets.token_hex(16)
    ask(traced, "/v1/analyze/text", {"text": TEXT}, dark, sampled=False)
    ask(traced, "/v1/analyze/text", {"text": TEXT}, seen)
    assert sink.wait_for(seen, {"POST /v1/analyze/text"})
    assert sink.spans(dark) == []


def test_logs_of_every_service_are_joined_by_request_and_trace(traced: TemporaryMesh) -> None:
    trace = secrets.token_hex(16)
    answer = ask(traced, "/v1/analyze/text", {"text": TEXT}, trace)
    request = answer.headers["x-request-id"]
    for service in ("gateway", "text"):
        ours = logged(traced, service, trace)
        assert ours
        assert {line["request_id"] for line in ours} == {request}
        assert {line["service"] for line in ours} == {service}


def test_neither_logs_nor_traces_hold_keys_texts_names_or_addresses(
    traced: TemporaryMesh, sink: Collector
) -> None:
    trace = secrets.token_hex(16)
    email, password = "marguerite@blanchefleur.example", "correct horse battery " + trace
    ask(traced, "/v1/analyze/text", {"text": TEXT}, trace)
    with httpx.Client(base_url=traced.address, timeout=60) as client:
        client.post("/v1/analyze/text?apikey=" + traced.key, json={"text": TEXT})
        client.post("/v1/analyze/text", json={"text": TEXT, "surprise": TEXT})
        client.post("/api/session", json={"email": email, "password": password})
        client.post(
            "/v1/analyze/text",
            json={"text": TEXT},
            headers={"authorization": f"Bearer {traced.key}", "x-consent-reference": NAMES[1]},
        )
    sink.wait_for(trace, {"POST /v1/analyze/text"})
    kept = {service: traced.log(service) for service in SERVICES}
    kept["collector"] = sink.text
    secret_words = (*NAMES, traced.key, email, password, "correct horse")
    found = [(place, word) for place, text in kept.items() for word in secret_words if word in text]
    assert found == []
