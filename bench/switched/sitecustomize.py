"""Put on PYTHONPATH, has a process of the mesh stop counting and tracing, and go on.

It stops at SIGUSR1 and goes on at SIGUSR2. One process is measured both ways, since two that are
started alike differ by more than what is sought.
"""

import signal
from contextlib import nullcontext
from typing import Any

_NOTHING = nullcontext()
_METHODS = ("inc", "dec", "set", "observe", "time", "track_inprogress")
_kept: dict[str, Any] = {}


def _nothing(*_arguments: Any, **_named: Any) -> Any:
    return _NOTHING


def _itself(self: Any, *_values: Any, **_named: Any) -> Any:
    return self


def _nothing_of(_method: str) -> Any:
    return _nothing


def _stop(*_arguments: object) -> None:
    from services.common import drift, metrics, tracing

    if _kept:
        return
    _kept.update(tracer=tracing._tracer, observer=drift.observer)
    for kind in (metrics.Counter, metrics.Gauge, metrics.Histogram):
        for method in _METHODS:
            setattr(kind, method, _nothing)
        setattr(kind, "labels", _itself)  # noqa: B010 - mypy takes no assignment to a method
    setattr(drift, "observer", _nothing_of)  # noqa: B010
    tracing._tracer = None


def _go_on(*_arguments: object) -> None:
    from services.common import drift, metrics, tracing

    if not _kept:
        return
    for kind in (metrics.Counter, metrics.Gauge, metrics.Histogram):
        for method in (*_METHODS, "labels"):
            delattr(kind, method)
    setattr(drift, "observer", _kept.pop("observer"))  # noqa: B010
    tracing._tracer = _kept.pop("tracer")


signal.signal(signal.SIGUSR1, _stop)
signal.signal(signal.SIGUSR2, _go_on)
