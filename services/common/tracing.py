"""Spans of OpenTelemetry: of a request in the gateway, a call in a service, a run of a model.

They name routes, methods and models, never what is in a request. Without an OTLP endpoint
everything here does nothing. A span that begins stays current for the rest of its task, so its
children and log lines find it; each request and each call is a task of its own.
"""

from __future__ import annotations

import os
import random
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

from opentelemetry import context, trace
from opentelemetry.trace import NonRecordingSpan, Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from services.common import errors

Attributes = Mapping[str, str | int]

KEY = "traceparent"
"""Name of the header and metadata entry that carries the parent (W3C Trace Context)."""

_PROPAGATOR = TraceContextTextMapPropagator()
_NOTHING = NonRecordingSpan(trace.INVALID_SPAN_CONTEXT)
_NOT_SAMPLED = re.compile(
    r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f][02468ace]", re.ASCII
)

_tracer: trace.Tracer | None = None
_parent_decides = False
_share = 1.0
"""Of the requests that begin in the mesh, how many are recorded at most; the sampler sees those."""

_carried: ContextVar[str | None] = ContextVar("carried", default="")
"""The traceparent that a request which is not recorded carries onwards, "" where nobody gave it
one; None where the current span is recorded and says itself."""


def start(service: str, version: str) -> None:
    """Has spans exported where OTEL_EXPORTER_OTLP_ENDPOINT is set.

    OpenTelemetry's own variables choose which: OTEL_TRACES_SAMPLER=parentbased_traceidratio with
    OTEL_TRACES_SAMPLER_ARG=0.01 keeps one request of a hundred.
    """
    global _tracer, _parent_decides, _share
    if not os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        return
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, TraceIdRatioBased

    resource = Resource.create(
        {
            "service.namespace": "affectmesh",
            "service.name": f"affectmesh-{service}",
            "service.version": version,
            "service.instance.id": f"{socket.gethostname()}-{os.getpid()}",
        }
    )
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    if isinstance(provider.sampler, ParentBased):
        _parent_decides = True
        if isinstance(provider.sampler._root, TraceIdRatioBased):
            _share = provider.sampler._root.rate
            provider.sampler = ParentBased(ALWAYS_ON)
    _tracer = provider.get_tracer("affectmesh", version)


def begin(
    name: str,
    carrier: Iterable[tuple[str | bytes, str | bytes]],
    request_id: str,
    continued: bool = False,
) -> Span:
    """Begins the span of what was asked for from outside, under the parent in its headers.

    Without a parent a trace begins, for as many as the sampler wants. What another part of the mesh
    began and calls here for (`continued`) has one where it is recorded, and begins none. The span
    is current until the task ends; its owner calls `finish`.
    """
    if _tracer is None:
        return _NOTHING
    given = next((value for key, value in carrier if key in (KEY, b"traceparent")), "")
    parent = given.decode("latin-1") if isinstance(given, bytes) else given
    if _parent_decides and _NOT_SAMPLED.fullmatch(parent):
        _carried.set(parent)
        return _NOTHING
    outer = _PROPAGATOR.extract({KEY: parent}) if parent else context.Context()
    has_parent = bool(parent) and trace.get_current_span(outer).get_span_context().is_valid
    if not has_parent and (continued or random.random() >= _share):  # noqa: S311
        _carried.set("")
        return _NOTHING
    attributes = {"affectmesh.request_id": request_id}
    begun = _tracer.start_span(name, outer, SpanKind.SERVER, attributes)
    current = trace.set_span_in_context(begun)
    if begun.is_recording():
        _carried.set(None)
        context.attach(current)
    else:
        _carried.set(_traceparent(current))
    return begun


def finish(begun: Span, code: str, failed: bool = False) -> None:
    """Ends a span with the code of its outcome."""
    if begun.is_recording():
        begun.set_attribute("affectmesh.code", code)
        if failed:
            begun.set_status(StatusCode.ERROR, code)
    begun.end()


def span(name: str, attributes: Attributes) -> AbstractContextManager[None]:
    """A part of what the current span covers; a failure is noted by its code alone."""
    if _tracer is None or _carried.get() is not None:
        return nullcontext()
    return _span(_tracer, name, attributes)


@contextmanager
def _span(tracer: trace.Tracer, name: str, attributes: Attributes) -> Iterator[None]:
    with tracer.start_as_current_span(
        name, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield
        except Exception as error:
            code = error.code if isinstance(error, errors.AffectMeshError) else "INTERNAL"
            current.set_status(StatusCode.ERROR, code)
            raise


def metadata() -> tuple[tuple[str, str], ...]:
    """What a call onwards carries of the current span."""
    traceparent = _current()
    return ((KEY, traceparent),) if traceparent else ()


def trace_id() -> str:
    """The id of the current trace in hexadecimal; "" where there is none."""
    return _current()[3:35]


def _current() -> str:
    carried = _carried.get()
    return _traceparent() if carried is None else carried


def _traceparent(of: context.Context | None = None) -> str:
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, of)
    return carrier.get(KEY, "")
