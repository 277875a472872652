"""Every Prometheus metric of the mesh."""

from typing import Any, Self

import prometheus_client


class _Remembering(prometheus_client.metrics.MetricWrapperBase):
    """Finds the series of some labels without making text of them again, under a lock."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._known: dict[tuple[object, ...], Self] = {}

    def labels(self, *labelvalues: object, **labelkwargs: object) -> Self:
        """The series of some labels, made when it is first asked for."""
        if labelkwargs:
            return super().labels(*labelvalues, **labelkwargs)
        found = self._known.get(labelvalues)
        if found is None:
            found = self._known[labelvalues] = super().labels(*labelvalues)
        return found


class Counter(_Remembering, prometheus_client.Counter):
    """Counts what happened."""


class Gauge(_Remembering, prometheus_client.Gauge):
    """Says how many there are now."""


class Histogram(_Remembering, prometheus_client.Histogram):
    """Counts what happened by size."""


_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

UP = Gauge(
    "affectmesh_up",
    "1 for a process of the mesh that serves.",
    ["process", "version", "inference"],
)
RPC_SECONDS = Histogram(
    "affectmesh_rpc_seconds",
    "Time to serve a gRPC call.",
    ["method", "code"],
    buckets=_SECONDS,
)
RPC_IN_FLIGHT = Gauge("affectmesh_rpc_in_flight", "gRPC calls being served.")
RPC_STREAMS_OPEN = Gauge(
    "affectmesh_rpc_streams_open", "gRPC calls that stream answers, being served.", ["method"]
)
HTTP_SECONDS = Histogram(
    "affectmesh_http_seconds",
    "Time to serve a REST request.",
    ["route", "status"],
    buckets=_SECONDS,
)
MODEL_SECONDS = Histogram(
    "affectmesh_model_seconds", "Time of one run of a model.", ["model"], buckets=_SECONDS
)
MODEL_BATCH_SIZE = Histogram(
    "affectmesh_model_batch_size",
    "Inputs in one run of a model.",
    ["model"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128),
)
MODEL_WAITING = Gauge(
    "affectmesh_model_waiting", "Calls of a model that have no answer yet.", ["model"]
)
MODEL_FAILURES = Counter(
    "affectmesh_model_failures", "Calls of a model that failed, by code.", ["model", "code"]
)
MODEL_READY = Gauge(
    "affectmesh_model_ready", "1 while a model on Triton answers, as last looked at.", ["model"]
)
RESULTS = Counter(
    "affectmesh_results",
    "Results by their primary emotion: the label mix, which drifts when inputs or models do.",
    ["modality", "label"],
)
CONFIDENCE = Histogram(
    "affectmesh_confidence",
    "Calibrated confidence of the primary emotion.",
    ["modality"],
    buckets=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
)
WARNINGS = Counter(
    "affectmesh_warnings",
    "Warnings in results, by code: the quality of what is sent.",
    ["modality", "code"],
)
FETCHES = Counter("affectmesh_fetches", "URLs given by clients, by outcome.", ["outcome"])
DATABASE_UP = Gauge(
    "affectmesh_database_up", "1 while the last transaction on the records reached them."
)
DATABASE_SECONDS = Histogram(
    "affectmesh_database_seconds",
    "Time of a transaction on the records.",
    ["kind"],
    buckets=_SECONDS,
)
LIMITS_LOCAL = Gauge(
    "affectmesh_limits_local", "1 while this gateway applies limits by itself, without Redis."
)
LIMITS_LOCAL_GRANTS = Counter(
    "affectmesh_limits_local_grants", "Requests granted while limits were local."
)
LIMITS_REFUSALS = Counter(
    "affectmesh_limits_refusals",
    "Requests refused, by what was used up: the rate of a key, or the day of an organisation.",
    ["limit"],
)
USAGE_WAITING = Gauge("affectmesh_usage_waiting", "Usage entries not yet in the ledger.")
USAGE_REJECTED = Counter(
    "affectmesh_usage_rejected", "Usage entries that the ledger refused; kept in a file."
)
LEDGER_ENTRIES = Counter(
    "affectmesh_ledger_entries",
    "Entries of the ledger, by item; test keys apart.",
    ["item", "mode"],
)
LEDGER_QUANTITY = Counter(
    "affectmesh_ledger_quantity", "Billed units (requests or minutes), by item.", ["item"]
)
LEDGER_USD = Counter("affectmesh_ledger_usd", "Money billed, before rounding to cents.", ["item"])
STREAMS_OPEN = Gauge("affectmesh_streams_open", "Live streams of clients.", ["route"])
STREAM_INPUTS_DROPPED = Counter(
    "affectmesh_stream_inputs_dropped",
    "Frames and chunks that came too fast and were dropped by the gateway.",
    ["route"],
)
TLS_ENDS = Gauge(
    "affectmesh_tls_certificate_ends_seconds",
    "When the certificate that this process calls with ends, in seconds since the epoch.",
)
JOBS = Gauge("affectmesh_jobs", "Jobs that have not ended, by state: queued or working.", ["state"])
JOBS_OLDEST_SECONDS = Gauge(
    "affectmesh_jobs_oldest_seconds", "How long the oldest queued job that may start has waited."
)
JOB_PLACES = Gauge("affectmesh_job_places", "Jobs that the living workers work on at once.")
JOB_SECONDS = Histogram(
    "affectmesh_job_seconds",
    "Time from the making of a job to its end.",
    ["kind", "state"],
    buckets=(0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14400, 86400),
)
WEBHOOK_TRIES = Counter(
    "affectmesh_webhook_tries", "Tries to deliver to webhooks and callbacks.", ["outcome"]
)
