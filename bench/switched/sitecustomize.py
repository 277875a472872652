"""Put on PYTHONPATH, has a process of the mesh stop counting and tracing, and go on.

It stops at SIGUSR1 and goes on at SIGUSR2, which may come between any two steps of a request. One
process is measured both ways, since two that are started alike differ by more than what is sought.
"""

import signal
from contextlib import nullcontext
from typing import Any

_METHODS = ("inc", "dec", "set", "observe", "time", "track_inprogress")
_NOTHING = nullcontext()
_kept: dict[str, Any] = {}


def _nothing(*_arguments: Any, **_named: Any) -> Any:
    return _NOTHING


_UNCOUNTED = type("Uncounted", (), dict.fromkeys(_METHODS, _nothing))()
"""In place of the series of some labels."""


def _uncounted(*_arguments: Any, **_named: Any) -> Any:
    return _UNCOUNTED


def _observer(_method: str) -> Any:
    return _nothing


def _stop(*_arguments: object) -> None:
    from services.common import drift, metrics, tracing

    if _kept:
        return
    _kept.update({name: getattr(tracing, name) for name in ("begin", "span", "metadata")})
    _kept["observer"] = drift.observer
    for kind in (metrics.Counter, metrics.Gauge, metrics.Histogram):
        for method in _METHODS:
            setattr(kind, method, _nothing)
        setattr(kind, "labels", _uncounted)  # noqa: B010 - mypy takes no assignment to a method
    setattr(drift, "observer", _observer)  # noqa: B010
    tracing.begin = lambda *_arguments, **_named: tracing._NOTHING
    tracing.span = _nothing
    tracing.metadata = tuple


def _go_on(*_arguments: object) -> None:
    from services.common import drift, metrics, tracing

    if not _kept:
        return
    for kind in (metrics.Counter, metrics.Gauge, metrics.Histogram):
        for method in (*_METHODS, "labels"):
            delattr(kind, method)
    setattr(drift, "observer", _kept.pop("observer"))  # noqa: B010
    for name, kept in _kept.items():
        setattr(tracing, name, kept)
    _kept.clear()


signal.signal(signal.SIGUSR1, _stop)
signal.signal(signal.SIGUSR2, _go_on)
