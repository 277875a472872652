"""Between the contract and the analysis."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from google.protobuf.message import Message

from affectmesh.v1 import biosignal_pb2, types_pb2
from services.biosignal import live, states
from services.biosignal.analyze import Analysis, Moment, Options
from services.biosignal.signals import Recording, Signal

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_Message = TypeVar("_Message", bound=Message)


def recording(signals: biosignal_pb2.Signals) -> Recording:
    """The signals of a message."""
    return {field.name: _signal(given) for field, given in signals.ListFields()}


def _signal(given: biosignal_pb2.Signal) -> Signal:
    return Signal(
        np.fromiter(given.data, float, len(given.data)),
        given.sample_rate_hz,
        given.unit,
        given.adc_gain if given.HasField("adc_gain") else None,
    )


def options(asked: biosignal_pb2.BiosignalOptions) -> Options:
    """The options of a message, with their defaults."""
    return Options(
        hrv=asked.return_hrv if asked.HasField("return_hrv") else True,
        stress=asked.return_stress if asked.HasField("return_stress") else True,
        engagement=asked.return_engagement if asked.HasField("return_engagement") else True,
        baseline_s=asked.baseline_ms / 1000 if asked.HasField("baseline_ms") else None,
    )


def response(found: Analysis, asked: Options) -> biosignal_pb2.AnalyzeBiosignalResponse:
    """The answer to a recording, its head apart."""
    return biosignal_pb2.AnalyzeBiosignalResponse(
        duration_ms=_ms(found.duration_s),
        **_measured(found, asked),
        timeline=[_moment(moment, asked) for moment in found.timeline],
        quality=_quality(found),
        provenance=[
            types_pb2.Provenance(model=method.name, version=method.version)
            for method in found.methods
        ],
    )


def live_response(
    output: live.Output, stream_id: str, asked: Options
) -> biosignal_pb2.StreamBiosignalResponse:
    """One message to a live client."""
    match output:
        case live.Result():
            return biosignal_pb2.StreamBiosignalResponse(result=_result(output, stream_id, asked))
        case live.Event():
            return biosignal_pb2.StreamBiosignalResponse(
                event=types_pb2.StreamEvent(
                    type=_EVENTS[output.happening],
                    timestamp_ms=_ms(output.at_s),
                    dropped_count=output.dropped,
                )
            )
        case live.Problem():
            return biosignal_pb2.StreamBiosignalResponse(
                error=types_pb2.StreamError(
                    code=output.code, message=output.message, recoverable=output.recoverable
                )
            )
        case live.Summary():
            return biosignal_pb2.StreamBiosignalResponse(
                summary=types_pb2.SessionSummary(
                    duration_ms=_ms(output.duration_s),
                    frames_processed=output.processed,
                    frames_dropped=output.dropped,
                    high_arousal_moments=output.high_arousal_moments,
                )
            )


_EVENTS = {
    live.Happening.HIGH_AROUSAL: types_pb2.STREAM_EVENT_TYPE_HIGH_AROUSAL,
    live.Happening.INPUT_DROPPED: types_pb2.STREAM_EVENT_TYPE_INPUT_DROPPED,
}


def _result(
    result: live.Result, stream_id: str, asked: Options
) -> biosignal_pb2.StreamBiosignalResult:
    found = result.found
    return biosignal_pb2.StreamBiosignalResult(
        stream_id=stream_id,
        timestamp_ms=_ms(result.end_s),
        window_start_ms=_ms(result.start_s),
        **_measured(found, asked),
        quality=_quality(found, result.start_s),
    )


def _quality(found: Analysis, offset_s: float = 0.0) -> list[biosignal_pb2.SignalQuality]:
    return [
        biosignal_pb2.SignalQuality(
            signal=name,
            start_ms=_ms(offset_s + part.start_s),
            end_ms=_ms(offset_s + part.end_s),
            score=round(part.score, 4),
            usable=part.usable,
        )
        for name, parts in found.quality.items()
        for part in parts
    ]


def _measured(found: Analysis, asked: Options) -> dict[str, Any]:
    """The fields that a recording's answer and a live result have alike."""
    pb = biosignal_pb2
    breathing = found.respiration
    return {
        "heart_rate": _figures(pb.HeartRate, found.heart_rate),
        "hrv": _figures(pb.HeartRateVariability, found.hrv),
        "eda": _figures(pb.ElectrodermalActivity, found.eda),
        "respiration": breathing
        and pb.Respiration(
            rate_mean_bpm=_rounded(breathing.mean_bpm), rate_std_bpm=_rounded(breathing.std_bpm)
        ),
        "temperature": _figures(pb.SkinTemperature, found.temperature),
        "derived_states": _states(found.states, asked),
        "warnings": [
            types_pb2.Warning(code=remark.code, message=remark.message) for remark in found.remarks
        ],
    }


def _figures(kind: Callable[..., _Message], found: DataclassInstance | None) -> _Message | None:
    """A message with the fields of what was found, those not measured absent."""
    if found is None:
        return None
    return kind(
        **{
            name: round(value, 3 if "_ms" in name else 4)
            for name, value in asdict(found).items()
            if value is not None
        }
    )


def _states(derived: states.States, asked: Options) -> biosignal_pb2.DerivedStates | None:
    if not (asked.stress or asked.engagement):
        return None
    return biosignal_pb2.DerivedStates(
        stress_level=_rounded(derived.stress) if asked.stress else None,
        relaxation=_rounded(derived.relaxation) if asked.stress else None,
        engagement=_rounded(derived.engagement) if asked.engagement else None,
        arousal=_rounded(derived.arousal),
        confidence=round(derived.confidence, 4),
        experimental=states.EXPERIMENTAL if asked.engagement else (),
    )


def _moment(moment: Moment, asked: Options) -> biosignal_pb2.BiosignalMoment:
    return biosignal_pb2.BiosignalMoment(
        time_ms=_ms(moment.start_s),
        stress=_rounded(moment.states.stress) if asked.stress else None,
        engagement=_rounded(moment.states.engagement) if asked.engagement else None,
        arousal=_rounded(moment.states.arousal),
        heart_rate_bpm=_rounded(moment.heart_rate_bpm),
    )


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 4)
