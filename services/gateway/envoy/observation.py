"""What Envoy says of a request: a line of JSON, and a span. Neither has a query or an address."""

import os

from services.gateway.envoy.clusters import TRACES
from services.gateway.envoy.parts import Config, extension

_FIELDS = {
    "time": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
    "service": "envoy",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "trace_id": "%TRACE_ID%",
    "protocol": "%PROTOCOL%",
    "method": "%REQ(:METHOD)%",
    "path": "%PATH(NQ)%",
    "status": "%RESPONSE_CODE%",
    "grpc_status": "%GRPC_STATUS_NUMBER%",
    "why": "%RESPONSE_CODE_DETAILS%",
    "flags": "%RESPONSE_FLAGS%",
    "cluster": "%UPSTREAM_CLUSTER%",
    "replica": "%UPSTREAM_HOST%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "bytes_in": "%BYTES_RECEIVED%",
    "bytes_out": "%BYTES_SENT%",
    "ms": "%DURATION%",
}


def access_log(listener: str) -> Config:
    """One line for each request, to standard output. A query may hold a key: paths have none."""
    return extension(
        "envoy.access_loggers.stdout",
        "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
        log_format={
            "json_format": {"listener": listener, **_FIELDS},
            "omit_empty_values": True,
        },
    )


def traces_endpoint() -> str:
    """OTEL_EXPORTER_OTLP_ENDPOINT, by which every process of the mesh exports its spans, or ''."""
    return os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")


def tracing() -> Config:
    """Spans by OTLP, of the share of requests that OpenTelemetry's own variables name.

    The URL of a span has no path: Envoy would put the query in it.
    """
    return {
        "provider": extension(
            "envoy.tracers.opentelemetry",
            "envoy.config.trace.v3.OpenTelemetryConfig",
            grpc_service={"envoy_grpc": {"cluster_name": TRACES}, "timeout": "1s"},
            service_name="affectmesh-envoy",
        ),
        "random_sampling": {"value": 100 * _sampled()},
        "max_path_tag_length": 0,
        "spawn_upstream_span": False,
    }


def _sampled() -> float:
    if os.environ.get("OTEL_TRACES_SAMPLER", "").endswith("traceidratio"):
        return float(os.environ.get("OTEL_TRACES_SAMPLER_ARG", "1"))
    return 1.0
