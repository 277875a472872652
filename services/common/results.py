"""The parts of a response that every modality shares."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

from affectmesh.v1 import types_pb2
from services.common.inference import ModelInfo
from services.common.telemetry import request_id


class Stopwatch:
    """Started when made; fills the head of a response."""

    def __init__(self) -> None:
        self._started = time.perf_counter()

    def head(self) -> dict[str, Any]:
        """request_id and processing_time_ms of a response, as keyword arguments."""
        return {
            "request_id": request_id.get(),
            "processing_time_ms": round((time.perf_counter() - self._started) * 1000),
        }


def emotions(
    confidences: Mapping[str, float], derived: Iterable[str] = (), least: float = 0.0
) -> types_pb2.Emotions:
    """Emotions, most confident first; those below `least` are left out, but never the first."""
    marked = frozenset(derived)
    ranked = sorted(confidences.items(), key=lambda pair: -pair[1])
    kept = [pair for place, pair in enumerate(ranked) if place == 0 or pair[1] >= least]
    found = [emotion(label, confidence, label in marked) for label, confidence in kept]
    return types_pb2.Emotions(primary=found[0], all=found)


def emotion(label: str, confidence: float, derived: bool = False) -> types_pb2.Emotion:
    """One emotion; derived is set only where true."""
    return types_pb2.Emotion(
        label=label, confidence=round(float(confidence), 4), derived=True if derived else None
    )


def provenance(model: ModelInfo) -> types_pb2.Provenance:
    """Which model said so."""
    return types_pb2.Provenance(
        model=model.name, version=model.version, digest=model.digest, calibration=model.calibration
    )
