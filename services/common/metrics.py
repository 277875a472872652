"""Every Prometheus metric of the mesh."""

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

RPC_SECONDS = Histogram(
    "affectmesh_rpc_seconds",
    "Time to serve a gRPC call.",
    ["method", "code"],
    buckets=_SECONDS,
)
RPC_IN_FLIGHT = Gauge("affectmesh_rpc_in_flight", "gRPC calls being served.")
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
FETCHES = Counter("affectmesh_fetches", "URLs given by clients, by outcome.", ["outcome"])
LIMITS_LOCAL = Gauge(
    "affectmesh_limits_local", "1 while this gateway applies limits by itself, without Redis."
)
LIMITS_LOCAL_GRANTS = Counter(
    "affectmesh_limits_local_grants", "Requests granted while limits were local."
)
LIMITS_REFUSALS = Counter(
    "affectmesh_limits_refusals", "Requests refused for their rate or the day's allowance."
)
USAGE_WAITING = Gauge("affectmesh_usage_waiting", "Usage entries not yet in the ledger.")
USAGE_REJECTED = Counter(
    "affectmesh_usage_rejected", "Usage entries that the ledger refused; kept in a file."
)
STREAMS_OPEN = Gauge("affectmesh_streams_open", "Live streams of clients.", ["route"])
STREAM_INPUTS_DROPPED = Counter(
    "affectmesh_stream_inputs_dropped",
    "Frames and chunks that came too fast and were dropped by the gateway.",
    ["route"],
)
