"""Live signals: the same numbers as of a recording, and what a stream does with all that comes."""

import asyncio
import gc
import tracemalloc
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import json_format

from affectmesh.v1 import biosignal_pb2 as pb
from affectmesh.v1 import biosignal_pb2_grpc, types_pb2
from services.biosignal.analyze import Options
from services.biosignal.live import LiveSession, Summary
from services.biosignal.servicer import BiosignalServicer
from services.biosignal.signals import Recording, Signal
from services.common import errors
from services.common.channels import Channels
from services.common.media import MediaLoader
from services.common.settings import Settings
from tests.biosignal import synthetic
from tests.biosignal.conftest import Stub
from tests.common.serving import serving

SECONDS = 90
BEATS = synthetic.beat_times(SECONDS)
SIGNALS: Recording = {
    "ecg": Signal(synthetic.ecg(BEATS, SECONDS, 256), 256.0, "mV"),
    "eda": Signal(synthetic.conductance(np.array([10.0, 30.0, 70.0]), SECONDS, 4), 4.0, "uS"),
    "ppg": Signal(synthetic.ppg(BEATS, SECONDS, 64), 64.0, ""),
    "respiration": Signal(np.sin(np.arange(SECONDS * 25) / 25 * 1.5), 25.0, ""),
    "temperature": Signal(np.linspace(33, 32.5, SECONDS), 1.0, "C"),
    "rr": Signal(np.diff(BEATS) * 1000, 0.0, "ms"),
}


def only(*names: str) -> Recording:
    return {name: SIGNALS[name] for name in names}


def part(recording: Recording, start_s: float, end_s: float) -> Recording:
    """The samples of all signals in [start_s, end_s); of rr the intervals that end there."""
    found = {}
    for name, one in recording.items():
        ends = np.cumsum(one.data) / 1000 if name == "rr" else None
        if ends is not None:
            data = one.data[(ends > start_s) & (ends <= end_s)]
        else:
            data = one.data[round(start_s * one.rate_hz) : round(end_s * one.rate_hz)]
        if len(data):
            found[name] = Signal(data, one.rate_hz, one.unit)
    return found


def signals(recording: Recording, described: bool) -> pb.Signals:
    return pb.Signals(
        **{
            name: pb.Signal(sample_rate_hz=one.rate_hz, unit=one.unit, data=one.data)
            if described
            else pb.Signal(data=one.data)
            for name, one in recording.items()
        }
    )


def emptied(recording: Recording) -> Recording:
    return {name: Signal(one.data[:0], one.rate_hz, one.unit) for name, one in recording.items()}


def config(recording: Recording, **more: Any) -> pb.StreamBiosignalRequest:
    described = signals(emptied(recording), True)
    return pb.StreamBiosignalRequest(
        config=pb.StreamBiosignalConfig(stream_id="s1", signals=described, **more)
    )


def samples(recording: Recording) -> pb.StreamBiosignalRequest:
    return pb.StreamBiosignalRequest(samples=signals(recording, False))


def data(**values: Any) -> pb.StreamBiosignalRequest:
    return pb.StreamBiosignalRequest(
        samples=pb.Signals(**{name: pb.Signal(data=given) for name, given in values.items()})
    )


def action(kind: types_pb2.StreamAction.ValueType) -> pb.StreamBiosignalRequest:
    return pb.StreamBiosignalRequest(action=kind)


PAUSE, RESUME, CLOSE = (
    action(kind)
    for kind in (
        types_pb2.STREAM_ACTION_PAUSE,
        types_pb2.STREAM_ACTION_RESUME,
        types_pb2.STREAM_ACTION_CLOSE,
    )
)


def chunks(
    recording: Recording, step_s: float, end_s: float
) -> Iterator[pb.StreamBiosignalRequest]:
    edges = [*np.arange(0, end_s, step_s).tolist(), end_s]
    for start, end in pairwise(edges):
        yield samples(part(recording, start, end))


async def answers(stub: Stub, *requests: pb.StreamBiosignalRequest) -> list[Any]:
    return [response async for response in stub.StreamBiosignal(iter(requests))]


async def unhurried(stub: Stub, *requests: pb.StreamBiosignalRequest) -> list[Any]:
    """Keeps at most 45 s ahead of the answers, so that nothing is dropped."""
    call = stub.StreamBiosignal()
    received: list[Any] = []
    came = asyncio.Event()

    async def read() -> None:
        async for response in call:
            received.append(response)
            came.set()

    reading = asyncio.create_task(read())
    sent_s: defaultdict[str, float] = defaultdict(float)
    for request in requests:
        await call.write(request)
        for field, given in request.samples.ListFields():
            sent_s[field.name] += seconds(field.name, given)
        while max(sent_s.values(), default=0) - max(results(received), default=0) / 1000 > 45:
            came.clear()
            await came.wait()
    await call.done_writing()
    await reading
    return received


def seconds(name: str, given: pb.Signal) -> float:
    if name == "rr":
        return sum(given.data) / 1000
    return len(given.data) / SIGNALS[name].rate_hz


async def refused(stub: Stub, *requests: pb.StreamBiosignalRequest) -> errors.AffectMeshError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await answers(stub, *requests)
    return errors.from_rpc(caught.value, "biosignal")


def results(received: list[Any]) -> dict[int, pb.StreamBiosignalResult]:
    return {r.result.timestamp_ms: r.result for r in received if r.HasField("result")}


def problems(received: list[Any]) -> list[str]:
    return [r.error.code for r in received if r.HasField("error")]


def plain(message: Any, *without: str) -> dict[str, Any]:
    found: dict[str, Any] = json_format.MessageToDict(message, preserving_proto_field_name=True)
    return {name: value for name, value in found.items() if name not in without}


async def test_results_come_once_a_second_from_the_tenth_on(stub: Stub) -> None:
    received = await answers(stub, config(only("ecg")), *chunks(only("ecg"), 1, 30), CLOSE)
    found = results(received)
    assert list(found) == [*range(10_000, 31_000, 1000)]
    assert all(one.window_start_ms == 0 and one.stream_id == "s1" for one in found.values())
    assert found[10_000].heart_rate.mean_bpm == pytest.approx(66, abs=1)
    assert not found[10_000].hrv.HasField("rmssd_ms")
    assert "WINDOW_TOO_SHORT" in {warning.code for warning in found[10_000].warnings}
    assert found[30_000].hrv.HasField("rmssd_ms")
    assert not problems(received)
    assert [r.HasField("summary") for r in received].index(True) == len(received) - 1
    summary = received[-1].summary
    assert (summary.duration_ms, summary.frames_processed, summary.frames_dropped) == (
        30_000,
        21,
        0,
    )


@pytest.mark.parametrize("names", [tuple(SIGNALS), ("ecg", "eda"), ("rr",), ("ppg", "temperature")])
async def test_live_numbers_are_those_of_a_recording(stub: Stub, names: tuple[str, ...]) -> None:
    recording = only(*names)
    received = await unhurried(stub, config(recording), *chunks(recording, 0.37, 89), CLOSE)
    found = results(received)
    for end in (12, 37, 60, 74, 87):
        start = max(0, end - 60)
        assert found[end * 1000].window_start_ms == start * 1000
        answer = await stub.AnalyzeBiosignal(
            pb.AnalyzeBiosignalRequest(signals=signals(part(recording, start, end), True))
        )
        live, whole = found[end * 1000], answer
        for name in ("heart_rate", "hrv", "eda", "respiration", "temperature", "derived_states"):
            assert plain(getattr(live, name)) == plain(getattr(whole, name)), (end, name)
        assert list(live.warnings) == list(whole.warnings)
        assert [(q.signal, q.score, q.start_ms - start * 1000) for q in live.quality] == [
            (q.signal, q.score, q.start_ms) for q in whole.quality
        ]


@pytest.mark.parametrize("step_s", [0.011, 1, 7.3, 19])
async def test_chunks_of_any_size_give_the_same(stub: Stub, step_s: float) -> None:
    recording = only("ecg", "eda")
    alone = await answers(stub, config(recording), samples(part(recording, 0, 45)), CLOSE)
    cut = [
        request
        for both in zip(*(chunks(only(name), step_s, 45) for name in recording), strict=True)
        for request in both
        if request.samples.ListFields()
    ]
    received = await answers(stub, config(recording), *cut, CLOSE)
    assert results(received) == results(alone)
    assert not problems(received)


async def test_states_are_relative_to_a_baseline(stub: Stub) -> None:
    baseline = signals(part(only("ecg", "eda"), 0, 60), True)
    recording = only("ecg", "eda")
    feed = [*chunks(recording, 5, 40), CLOSE]
    without = results(await answers(stub, config(recording), *feed))[40_000]
    received = results(await answers(stub, config(recording, baseline=baseline), *feed))[40_000]
    assert received.derived_states.confidence > without.derived_states.confidence
    assert "NO_BASELINE" not in {warning.code for warning in received.warnings}


async def test_the_first_minute_may_be_the_baseline(stub: Stub) -> None:
    recording = only("ecg", "eda")
    options = pb.BiosignalOptions(baseline_ms=60_000)
    feed = [*chunks(recording, 5, 85), CLOSE]
    found = results(await unhurried(stub, config(recording, options=options), *feed))
    own = {end for end, one in found.items() if "NO_BASELINE" not in {w.code for w in one.warnings}}
    assert own == {end for end in found if end >= 60_000}


async def test_leaves_out_what_is_not_asked_for(stub: Stub) -> None:
    options = pb.BiosignalOptions(return_hrv=False, return_stress=False, return_engagement=False)
    feed = [*chunks(only("ecg"), 5, 20), CLOSE]
    found = results(await answers(stub, config(only("ecg"), options=options), *feed))[20_000]
    assert found.HasField("heart_rate")
    assert not found.HasField("hrv")
    assert not found.HasField("derived_states")


async def test_high_arousal_is_told_once_a_moment(stub: Stub) -> None:
    calm = synthetic.conductance(np.array([20.0]), 60, 4)
    storm = calm[-1] + 4 * (synthetic.conductance(np.arange(2, 60, 4.0), 60, 4) - 3)
    after = np.full(150 * 4, storm[-1]) + 0.001 * np.sin(np.arange(150 * 4))
    eda = {"eda": Signal(np.concatenate([calm, storm, after]), 4.0, "uS")}
    baseline = signals({"eda": Signal(calm, 4.0, "uS")}, True)
    call = stub.StreamBiosignal()
    received = await paced(call, config(eda, baseline=baseline), eda, 270)
    events = [r.event for r in received if r.HasField("event")]
    assert [event.type for event in events] == [types_pb2.STREAM_EVENT_TYPE_HIGH_AROUSAL]
    assert 60_000 < events[0].timestamp_ms < 120_000
    at_event = results(received)[events[0].timestamp_ms]
    assert at_event.derived_states.arousal > 0.6
    assert received[-1].summary.high_arousal_moments == 1


async def paced(
    call: Any, first: pb.StreamBiosignalRequest, recording: Recording, seconds: int
) -> list[Any]:
    """Sends 10 s at a time, the next once they are answered; closes and gives all answers."""
    received: list[Any] = []
    await call.write(first)
    for start in range(0, seconds, 10):
        await call.write(samples(part(recording, start, start + 10)))
        while True:
            received.append(await call.read())
            if received[-1].result.timestamp_ms == (start + 10) * 1000:
                break
    await call.write(CLOSE)
    while (response := await call.read()) is not grpc.aio.EOF:
        received.append(response)
    return received


async def test_what_comes_too_fast_is_dropped_and_counted(stub: Stub) -> None:
    minute = part(only("ecg"), 0, 60)
    received = await answers(stub, config(minute), *[samples(minute)] * 20, CLOSE)
    summary = received[-1].summary
    assert summary.frames_dropped > 0
    assert summary.frames_processed + summary.frames_dropped == 20 * 60 - 9
    assert len(results(received)) == summary.frames_processed
    dropped = [r.event for r in received if r.HasField("event")]
    assert {event.type for event in dropped} == {types_pb2.STREAM_EVENT_TYPE_INPUT_DROPPED}
    assert sum(event.dropped_count for event in dropped) == summary.frames_dropped
    assert max(results(received)) == 20 * 60_000


async def test_memory_is_bounded_however_much_comes() -> None:
    minute = part(only("ecg", "rr"), 0, 60)
    session = LiveSession(emptied(minute), Options())
    tracemalloc.start()
    try:
        for _ in range(100):
            session.offer(minute)
            session.offer({"eda": Signal(np.ones(4), 0.0, "")})
        assert tracemalloc.get_traced_memory()[0] < 200_000
    finally:
        tracemalloc.stop()
    session.close()
    outputs = [output async for output in session.outputs()]
    assert isinstance(outputs[-1], Summary)
    assert outputs[-1].processed <= 60


BAD_SAMPLES: Mapping[str, tuple[Any, str, str]] = {
    "NaN": (data(ecg=[0.1, float("nan"), 0.2]), "INVALID_SAMPLES", "no numbers"),
    "infinite": (data(ecg=[float("inf")]), "INVALID_SAMPLES", "no numbers"),
    "absurd": (data(ecg=[1e300]), "INVALID_SAMPLES", "no sensor"),
    "no samples": (data(ecg=[]), "INVALID_SAMPLES", "no samples"),
    "over a minute": (data(ecg=np.zeros(256 * 61)), "INVALID_SAMPLES", "more than 60 s"),
    "not configured": (data(eda=[2.0] * 4), "UNKNOWN_SIGNAL", "eda is not among"),
}


@pytest.mark.parametrize("case", BAD_SAMPLES)
async def test_bad_samples_leave_the_stream_open(stub: Stub, case: str) -> None:
    bad, code, words = BAD_SAMPLES[case]
    ecg = only("ecg")
    after = samples(part(ecg, 0, 12))
    received = await answers(stub, config(ecg), samples(part(ecg, 0, 12)), bad, after, CLOSE)
    told = [r.error for r in received if r.HasField("error")]
    assert [error.code for error in told] == [code]
    assert words in told[0].message
    assert told[0].recoverable
    last = max(results(received))
    assert last >= 22_000
    assert results(received)[last].heart_rate.mean_bpm == pytest.approx(66, abs=1)


async def test_negative_intervals_leave_the_stream_open(stub: Stub) -> None:
    rr = only("rr")
    received = await answers(stub, config(rr), data(rr=[800.0, -5.0]), *chunks(rr, 5, 60), CLOSE)
    assert problems(received) == ["INVALID_SAMPLES"]
    assert results(received)


async def test_a_gap_starts_the_window_of_its_signal_anew(stub: Stub) -> None:
    both = only("ecg", "eda")
    requests = [samples(part(both, start, start + 1)) for start in range(90)]
    requests[20].samples.ecg.data[7] = float("nan")
    found = results(await unhurried(stub, config(both), *requests, CLOSE))
    assert found[20_000].HasField("heart_rate")
    with_heart = [end for end, one in found.items() if one.HasField("heart_rate")]
    assert with_heart == [*range(10_000, 21_000, 1000), *range(81_000, 91_000, 1000)]
    assert list(found) == [*range(10_000, 91_000, 1000)]
    assert all(one.HasField("eda") for one in found.values())


async def test_a_signal_that_falls_silent_does_not_hold_the_others(stub: Stub) -> None:
    both = only("ecg", "eda")
    silent = [*chunks(both, 1, 15), *chunks(only("ecg"), 1, 90)]
    back = chunks(both, 1, 75)
    received = await unhurried(stub, config(both), *silent, *back, CLOSE)
    assert problems(received) == ["SIGNAL_BEHIND"]
    found = results(received)
    assert received[-1].summary.frames_dropped == 0
    assert max(found) == 180_000
    with_skin = {end for end, one in found.items() if one.HasField("eda")}
    assert {10_000, 15_000, 170_000, 180_000} <= with_skin
    assert not with_skin & {*range(76_000, 160_000, 1000)}


async def test_a_signal_that_cannot_be_analysed_is_told_once_and_left_out(stub: Stub) -> None:
    both = {**only("ecg"), "eda": Signal(np.full(SECONDS * 4, 2.0), 4.0, "uS")}
    received = await answers(stub, config(both), *chunks(both, 1, 30), CLOSE)
    assert problems(received) == ["INVALID_SIGNAL"]
    assert "eda is flat" in next(r.error.message for r in received if r.HasField("error"))
    found = results(received)
    assert len(found) == 21
    assert not any(one.HasField("eda") for one in found.values())
    assert all(one.heart_rate.HasField("mean_bpm") for one in found.values())


async def test_values_a_thousand_times_too_large_are_told(stub: Stub) -> None:
    ecg = {"ecg": Signal(SIGNALS["ecg"].data * 1000, 256.0, "mV")}
    received = await answers(stub, config(ecg), *chunks(ecg, 1, 20), CLOSE)
    assert problems(received) == ["INVALID_SIGNAL"]
    assert "fit uV" in received[0].error.message
    assert not results(received)


async def test_a_paused_stream_ignores_samples_and_starts_anew(stub: Stub) -> None:
    ecg = only("ecg")
    received = await answers(
        stub,
        config(ecg),
        *chunks(ecg, 1, 12),
        PAUSE,
        *chunks(ecg, 1, 50),
        RESUME,
        *chunks(ecg, 1, 12),
        CLOSE,
    )
    found = results(received)
    assert found[24_000].window_start_ms == 12_004
    assert max(found) == 24_000
    assert not any(12_000 < end < 22_000 for end in found)
    assert received[-1].summary.duration_ms == 24_004


async def test_a_client_that_is_done_writing_gets_its_summary(stub: Stub) -> None:
    received = await answers(stub, config(only("ecg")), *chunks(only("ecg"), 1, 12))
    assert received[-1].summary.frames_processed == 3


async def test_a_stream_without_samples_ends_with_a_summary(stub: Stub) -> None:
    received = await answers(stub, config(only("ecg")), CLOSE)
    assert [r.WhichOneof("message") for r in received] == ["summary"]
    assert received[0].summary.duration_ms == 0


async def test_the_server_chooses_an_id_where_the_client_does_not(stub: Stub) -> None:
    first = config(only("ecg"))
    first.config.stream_id = ""
    received = await answers(stub, first, *chunks(only("ecg"), 1, 12), CLOSE)
    assert len({one.stream_id for one in results(received).values()} - {""}) == 1


def changed(**fields: Any) -> pb.StreamBiosignalRequest:
    first = config(only("ecg"))
    for name, value in fields.items():
        setattr(first.config.signals.ecg, name, value)
    return first


def filled() -> pb.StreamBiosignalRequest:
    first = config(only("ecg"))
    first.config.signals.ecg.data.append(0.5)
    return first


def with_baseline(**more: Any) -> pb.StreamBiosignalRequest:
    return config(only("ecg"), **more)


ENDINGS: Mapping[str, tuple[list[pb.StreamBiosignalRequest], type[Exception], str]] = {
    "nothing": ([], errors.InvalidRequest, "config"),
    "no config": ([samples(only("ecg"))], errors.InvalidRequest, "config"),
    "an action first": ([CLOSE], errors.InvalidRequest, "config"),
    "two configs": ([config(only("ecg"))] * 2, errors.InvalidRequest, "config"),
    "no signals": ([config({})], errors.InvalidRequest, "config.signals"),
    "samples in the config": ([filled()], errors.InvalidRequest, "config.signals.ecg.data"),
    "unknown unit": ([changed(unit="furlong")], errors.InvalidSignal, "config.signals.ecg.unit"),
    "no gain": ([changed(unit="adc")], errors.InvalidSignal, "config.signals.ecg.adc_gain"),
    "rate of 0": (
        [changed(sample_rate_hz=0)],
        errors.InvalidSignal,
        "config.signals.ecg.sample_rate",
    ),
    "absurd rate": (
        [changed(sample_rate_hz=1e12)],
        errors.InvalidSignal,
        "config.signals.ecg.sample_rate",
    ),
    "another unit later": (
        [
            config(only("ecg")),
            pb.StreamBiosignalRequest(samples=pb.Signals(ecg=pb.Signal(unit="uV", data=[1.0]))),
        ],
        errors.InvalidSignal,
        "samples.ecg.unit",
    ),
    "another rate later": (
        [
            config(only("ecg")),
            pb.StreamBiosignalRequest(
                samples=pb.Signals(ecg=pb.Signal(sample_rate_hz=128, data=[1.0]))
            ),
        ],
        errors.InvalidSignal,
        "samples.ecg.sample_rate",
    ),
    "no action": (
        [config(only("ecg")), action(types_pb2.STREAM_ACTION_UNSPECIFIED)],
        errors.InvalidRequest,
        "action",
    ),
    "an empty message": (
        [config(only("ecg")), pb.StreamBiosignalRequest()],
        errors.InvalidRequest,
        "message",
    ),
    "a baseline of 1 s": (
        [with_baseline(options=pb.BiosignalOptions(baseline_ms=1000))],
        errors.InvalidRequest,
        "config.options.baseline_ms",
    ),
    "a bad baseline": (
        [with_baseline(baseline=signals(part(only("ecg"), 0, 20), True))],
        errors.InvalidSignal,
        "baseline.ecg.data",
    ),
}


@pytest.mark.parametrize("case", ENDINGS)
async def test_what_cannot_be_gone_on_with_ends_the_stream(stub: Stub, case: str) -> None:
    requests, kind, field = ENDINGS[case]
    error = await refused(stub, *requests)
    assert type(error) is kind
    assert error.details["field"] == field
    assert error.details["suggestion"]


async def test_an_error_that_ends_the_stream_sends_no_summary(stub: Stub) -> None:
    call = stub.StreamBiosignal(iter([config(only("ecg")), data(ecg=[0.1]), config(only("ecg"))]))
    with pytest.raises(grpc.aio.AioRpcError):
        await anext(aiter(call))


@asynccontextmanager
async def limited(idle_s: float, longest_s: float) -> AsyncIterator[Stub]:
    """A service with other limits on its streams."""

    async def add(server: grpc.aio.Server) -> None:
        settings = Settings()
        media = MediaLoader(settings, Channels(settings))
        servicer = BiosignalServicer(media, idle_s=idle_s, longest_s=longest_s)
        biosignal_pb2_grpc.add_BiosignalServiceServicer_to_server(servicer, server)

    async with serving(add) as address, grpc.aio.insecure_channel(address) as channel:
        yield Stub(channel)


async def held_open(
    stub: Stub, *requests: pb.StreamBiosignalRequest
) -> AsyncIterator[pb.StreamBiosignalResponse]:
    """Sends requests and stays until the server ends the stream."""
    call = stub.StreamBiosignal()
    for request in requests:
        await call.write(request)
    async for response in call:
        yield response


LIMITS = {
    "by its silence": (2.0, 60.0, "No message came for 2 s"),
    "by its age": (60.0, 2.0, "is 2 s old"),
    "by its samples": (60.0, 6.0, "has the 6 s"),
}


@pytest.mark.parametrize("case", LIMITS)
async def test_a_stream_that_reaches_a_limit_ends_with_a_summary(case: str) -> None:
    idle_s, longest_s, words = LIMITS[case]
    size = 512 if case == "by its samples" else 1
    requests = [config(only("ecg")), *[data(ecg=[0.1] * size)] * 3]
    async with limited(idle_s, longest_s) as stub:
        received: list[Any] = [response async for response in held_open(stub, *requests)]
    *before, error, summary = received
    assert all(r.HasField("result") for r in before)
    assert error.error.code == "STREAM_LIMIT"
    assert words in error.error.message
    assert not error.error.recoverable
    assert summary.summary.duration_ms == round(3 * size / 256 * 1000)


async def test_an_idle_client_without_a_config_is_sent_away() -> None:
    async with limited(0.2, 60.0) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await anext(held_open(stub))
    assert isinstance(errors.from_rpc(caught.value, "biosignal"), errors.DeadlineExceeded)


def running() -> set[Any]:
    """All tasks but the one in which a server waits for its next call."""
    tasks = asyncio.all_tasks()
    return {task for task in tasks if "_request_registered_call" not in repr(task)}


def sessions() -> set[int]:
    gc.collect()
    return {id(one) for one in gc.get_objects() if type(one) is LiveSession}


@pytest.mark.parametrize("reading", [True, False])
async def test_a_client_that_vanishes_leaves_nothing_behind(stub: Stub, reading: bool) -> None:
    await answers(stub, config(only("ecg")), CLOSE)
    before, others = running(), sessions()
    call = stub.StreamBiosignal()
    await call.write(config(only("ecg", "eda")))
    for request in chunks(only("ecg", "eda"), 5, 60):
        await call.write(request)
    if reading:
        first: Any = await call.read()
        assert first.HasField("result")
    call.cancel()
    for _ in range(1200):
        if not (running() - before or sessions() - others):
            break
        await asyncio.sleep(0.05)
    assert not running() - before
    assert not sessions() - others
    assert (await answers(stub, config(only("ecg")), CLOSE))[-1].HasField("summary")


async def test_streams_side_by_side_do_not_disturb_each_other(stub: Stub) -> None:
    async def one(name: str) -> list[Any]:
        return await answers(stub, config(only(name)), *chunks(only(name), 1, 20), CLOSE)

    together = await asyncio.gather(*(one(name) for name in ("ecg", "eda", "ppg") * 3))
    for name, received in zip(("ecg", "eda", "ppg") * 3, together, strict=True):
        assert results(received) == results(await one(name))
