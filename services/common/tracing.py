"""Spans of OpenTelemetry: of a request in the gateway, a call in a service, a run of a model.

They name routes, methods and models, never what is in a request. Without an OTLP endpoint
everything here does nothing. A span that begins stays current for the rest of its task, so its
children and log lines find it; each request and each call is a task of its own.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

from opentelemetry import context, trace
from opentelemetry.trace import NonRecordingSpan, Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from services.common import errors

Attributes = Mapping[str, str | int]

KEY = "traceparent"
"""Name of the header and metadata entry that carries the parent (W3C Trace Context)."""

_PROPAGATOR = TraceContextTextMapPropagator()
_NOTHING = NonRecordingSpan(trace.INVALID_SPAN_CONTEXT)

_tracer: trace.Tracer | None = None


def start(service: str, version: str) -> None:
    """Has spans exported where OTEL_EXPORTER_OTLP_ENDPOINT is set.

    OpenTelemetry's own variables choose which: OTEL_TRACES_SAMPLER=parentbased_traceidratio with
    OTEL_TRACES_SAMPLER_ARG=0.01 keeps one request of a hundred.
    """
    global _tracer
    if not os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        return
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

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
    _tracer = provider.get_tracer("affectmesh", version)


def begin(name: str, carrier: Iterable[tuple[str | bytes, str | bytes]], request_id: str) -> Span:
    """Begins the span of what was asked for from outside, under the parent in its headers.

    It is current until the task ends; its owner calls `finish`.
    """
    if _tracer is None:
        return _NOTHING
    parent = next((value for key, value in carrier if key in (KEY, b"traceparent")), None)
    found = {KEY: parent.decode("latin-1") if isinstance(parent, bytes) else parent}
    outer = _PROPAGATOR.extract(found) if parent else context.Context()
    attributes = {"affectmesh.request_id": request_id}
    begun = _tracer.start_span(name, outer, SpanKind.SERVER, attributes)
    context.attach(trace.set_span_in_context(begun))
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
    if _tracer is None or not trace.get_current_span().is_recording():
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
    if _tracer is None:
        return ()
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return tuple((name, value) for name, value in carrier.items() if name == KEY)
