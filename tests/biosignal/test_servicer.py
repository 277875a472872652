"""The service over a real gRPC server."""

import json

import grpc
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from google.protobuf import json_format

from affectmesh.v1 import biosignal_pb2
from services.common import errors
from tests.biosignal import recorded, synthetic
from tests.biosignal.conftest import Stub
from tests.biosignal.recorded import Channel
from tests.biosignal.synthetic import SAMPLES


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


async def test_an_uploaded_file_gives_what_its_signals_give(stub: Stub) -> None:
    rest = synthetic.sample("rest")
    ecg, eda = rest["ecg"], rest["eda"]
    file = recorded.edf(
        Channel("ECG", ecg.unit, int(ecg.rate_hz), ecg.data, 5),
        Channel("EEG", "uV", 4, eda.data, 50),
        Channel("GSR", eda.unit, int(eda.rate_hz), eda.data, 50),
    )
    answer = await stub.AnalyzeBiosignal(
        biosignal_pb2.AnalyzeBiosignalRequest(recording=file, duration_ms=60_000)
    )
    direct = await stub.AnalyzeBiosignal(request())
    assert answer.heart_rate.mean_bpm == pytest.approx(direct.heart_rate.mean_bpm, abs=0.05)
    assert answer.eda.scl_mean == pytest.approx(direct.eda.scl_mean, abs=0.01)
    assert answer.warnings[0].code == "CHANNELS_LEFT_OUT"
    codes = [warning.code for warning in answer.warnings]
    assert codes[1:] == [warning.code for warning in direct.warnings]


async def refused(
    stub: Stub, asked: biosignal_pb2.AnalyzeBiosignalRequest
) -> errors.AffectMeshError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.AnalyzeBiosignal(asked)
    return errors.from_rpc(caught.value, "biosignal")


async def test_a_request_has_signals_or_one_file(stub: Stub) -> None:
    both = request()
    both.recording = b"ecg"
    assert (await refused(stub, both)).details["field"] == "signals"
    twice = biosignal_pb2.AnalyzeBiosignalRequest(recording=b"ecg", recording_url="https://a.org/b")
    assert "exactly one of recording_url" in (await refused(stub, twice)).message
    empty = biosignal_pb2.AnalyzeBiosignalRequest(recording_format="edf")
    assert "exactly one of recording_url" in (await refused(stub, empty)).message


async def test_a_file_is_judged_as_signals_are(stub: Stub) -> None:
    ecg = synthetic.ecg(synthetic.beat_times(30), 30, 256)
    bad = {
        "Unknown unit": recorded.edf(Channel("ECG", "furlong", 256, ecg)),
        "Implausible values for the unit": recorded.edf(Channel("ECG", "uV", 256, ecg)),
        "NaN or infinite samples": recorded.zipped(
            {"r.hea": "r 1 256\nr.dat 16 200 16 0 0 0 0 II\n", "r.dat": b"\0\x80" * 9000}
        ),
    }
    for reason, file in bad.items():
        error = await refused(stub, biosignal_pb2.AnalyzeBiosignalRequest(recording=file))
        assert isinstance(error, errors.InvalidSignal)
        assert error.details["reason"] == reason
        assert error.details["field"].startswith("recording.ecg")
    assert (await stub.AnalyzeBiosignal(request())).heart_rate.beat_count == 59


async def test_a_file_may_be_behind_a_url(stub: Stub) -> None:
    ecg = synthetic.ecg(synthetic.beat_times(30), 30, 256)
    file = recorded.csv("ecg (mV) @ 256 Hz", ecg)

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=file)

    app = web.Application()
    app.router.add_get("/night.csv", answer)
    async with TestServer(app) as server:
        found = await stub.AnalyzeBiosignal(
            biosignal_pb2.AnalyzeBiosignalRequest(recording_url=str(server.make_url("/night.csv")))
        )
        error = await refused(
            stub,
            biosignal_pb2.AnalyzeBiosignalRequest(recording_url=str(server.make_url("/other"))),
        )
    assert found.heart_rate.mean_bpm == pytest.approx(66, abs=0.5)
    assert isinstance(error, errors.FetchFailed)
