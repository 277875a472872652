"""The service over a real gRPC server."""

import json
from collections.abc import AsyncIterator

import grpc
import pytest
from google.protobuf import json_format

from affectmesh.v1 import biosignal_pb2, biosignal_pb2_grpc
from services.biosignal.servicer import BiosignalServicer
from services.common import errors
from tests.biosignal.synthetic import SAMPLES
from tests.common.serving import serving

Stub = biosignal_pb2_grpc.BiosignalServiceStub


@pytest.fixture
async def stub() -> AsyncIterator[Stub]:
    async def add(server: grpc.aio.Server) -> None:
        biosignal_pb2_grpc.add_BiosignalServiceServicer_to_server(BiosignalServicer(), server)

    async with serving(add) as address, grpc.aio.insecure_channel(address) as channel:
        yield Stub(channel)


def request(**changes: object) -> biosignal_pb2.AnalyzeBiosignalRequest:
    body = json.loads((SAMPLES / "rest.json").read_text())
    return json_format.ParseDict({**body, **changes}, biosignal_pb2.AnalyzeBiosignalRequest())


async def test_answers_every_field_of_the_contract(stub: Stub) -> None:
    answer = await stub.AnalyzeBiosignal(request())
    assert answer.duration_ms == 60_000
    assert answer.heart_rate.mean_bpm == pytest.approx(59.4, abs=0.1)
    assert answer.hrv.rmssd_ms == pytest.approx(46.5, abs=1)
    assert not answer.hrv.HasField("lf_hf_ratio")
    assert answer.eda.scr_count == 9
    assert answer.derived_states.HasField("stress_level")
    assert list(answer.derived_states.experimental) == ["engagement"]
    assert [moment.time_ms for moment in answer.timeline] == [*range(0, 60_000, 10_000)]
    assert {part.signal for part in answer.quality} == {"ecg", "eda"}
    assert {method.model for method in answer.provenance} == {
        "ecg-envelope-sequence",
        "nn-variability",
        "eda-trough-to-peak",
        "biosignal-states",
    }
    assert "WINDOW_TOO_SHORT" in {warning.code for warning in answer.warnings}
    assert answer.request_id


async def test_leaves_out_what_is_not_asked_for(stub: Stub) -> None:
    options = {"return_hrv": False, "return_stress": False, "return_engagement": False}
    answer = await stub.AnalyzeBiosignal(request(options=options))
    assert answer.HasField("heart_rate")
    assert not answer.HasField("hrv")
    assert not answer.HasField("derived_states")
    assert not any(moment.HasField("stress") for moment in answer.timeline)
    assert "EXPERIMENTAL" not in {warning.code for warning in answer.warnings}


async def test_a_baseline_raises_the_confidence(stub: Stub) -> None:
    body = json.loads((SAMPLES / "rest.json").read_text())
    alone = await stub.AnalyzeBiosignal(request())
    against = await stub.AnalyzeBiosignal(request(baseline=body["signals"]))
    assert against.derived_states.confidence > alone.derived_states.confidence
    assert against.derived_states.stress_level < 0.2


async def test_refuses_bad_signals_and_goes_on(stub: Stub) -> None:
    bad = request()
    bad.signals.ecg.data[5] = float("nan")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.AnalyzeBiosignal(bad)
    error = errors.from_rpc(caught.value, "biosignal")
    assert isinstance(error, errors.InvalidSignal)
    assert error.details["field"] == "signals.ecg.data"
    assert (await stub.AnalyzeBiosignal(request())).heart_rate.beat_count == 59


async def test_live_signals_are_not_built(stub: Stub) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in stub.StreamBiosignal(iter([biosignal_pb2.StreamBiosignalRequest()])):
            pass
    assert isinstance(errors.from_rpc(caught.value, "biosignal"), errors.NotBuilt)
