"""Put on PYTHONPATH, makes every metric of a process do nothing: what metrics cost is the rest."""

from contextlib import nullcontext
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

_NOTHING = nullcontext()


def _nothing(_self: Any, *_arguments: Any, **_named: Any) -> Any:
    return _NOTHING


def _itself(self: Any, *_values: Any, **_named: Any) -> Any:
    return self


for _kind in (Counter, Gauge, Histogram):
    for _method in ("inc", "dec", "set", "observe", "time", "track_inprogress"):
        if hasattr(_kind, _method):
            setattr(_kind, _method, _nothing)
    setattr(_kind, "labels", _itself)  # noqa: B010 - mypy takes no assignment to a method
