"""Which request goes where, how long it may take, how large it may be, and what is sent again."""

from collections.abc import Iterator

from services.common.channels import CALLEE_KEY
from services.common.settings import SERVICES as NAMES
from services.common.settings import Settings
from services.gateway.dialects.wia import BASE_PATHS
from services.gateway.envoy.parts import Config, headers_to_add, seconds, typed
from services.gateway.methods import METHODS, Method
from services.gateway.streaming.limits import Limits

PATIENCE_S = 5.0
"""How much longer Envoy waits than the gateway, whose own answer says more."""

NEVER_RAN = ("connect-failure", "refused-stream", "reset-before-request")
"""Failures after which a request has certainly not been seen by the replica."""
MAY_HAVE_RUN = (*NEVER_RAN, "reset", "unavailable")
RETRIES = 2
HOST_DRAWS = 32
"""Until a replica is drawn that was not tried: a dead one has no requests, so it is drawn most."""
REPEATABLE_BYTES = 8 * 1024 * 1024
"""A larger request is not kept to be sent again."""

AUTHORIZATION_FILTER = "envoy.filters.http.ext_authz"
ADMITTED_FILTER = "envoy.filters.http.rbac"
BUFFER_FILTER = "envoy.filters.http.buffer"

IS_GRPC = {"name": "content-type", "string_match": {"prefix": "application/grpc"}}
"""Of gRPC and gRPC-Web."""

_LONGEST = 2**63 - 1


def edge_routes(settings: Settings) -> Config:
    """Everything from outside: public methods to their services, all else to the gateway."""
    return {
        "name": "edge",
        "virtual_hosts": [
            {
                "name": "edge",
                "domains": ["*"],
                "request_body_buffer_limit": _repeatable_bytes(settings),
                "routes": [
                    *_public_methods(settings),
                    *_hidden_methods(),
                    *_rest(settings),
                    *_anything(settings),
                ],
                "response_headers_to_add": headers_to_add(
                    {"x-request-id": "%REQ(X-REQUEST-ID)%"}, "ADD_IF_ABSENT"
                ),
                "typed_per_filter_config": {"envoy.filters.http.cors": _cors(settings)},
            }
        ],
    }


def internal_routes() -> Config:
    """Every method of every service, for the mesh itself and for JSON that became gRPC."""
    return {
        "name": "internal",
        "virtual_hosts": [
            {
                "name": "internal",
                "domains": ["*"],
                "routes": [*map(_internal_method, METHODS.values()), *_health_checks()],
            }
        ],
    }


def _repeatable_bytes(settings: Settings) -> int:
    """So much of a call is also read while it waits for its admission. What is read then must be
    less than half of the largest body: Envoy goes on reading only below half of the new limit."""
    return min(REPEATABLE_BYTES, settings.max_body_mb * 1024 * 1024 // 8)


def _public_methods(settings: Settings) -> Iterator[Config]:
    for method in METHODS.values():
        if method.public:
            action = _unary(method, settings) if not method.streams else _stream(method)
            match = {"path": method.path, "headers": [IS_GRPC]}
            route: Config = {"match": match, "route": action}
            if not method.streams:
                largest = settings.max_body_mb * 1024 * 1024
                kind = "envoy.extensions.filters.http.buffer.v3.BufferPerRoute"
                limit = typed(kind, buffer={"max_request_bytes": largest})
                route["typed_per_filter_config"] = {BUFFER_FILTER: limit}
            yield route


def _unary(method: Method, settings: Settings) -> Config:
    longest = seconds(settings.request_timeout_s)
    return {
        "cluster": method.service,
        "timeout": longest,
        "max_stream_duration": {
            "max_stream_duration": longest,
            "grpc_timeout_header_max": longest,
        },
        "retry_policy": _retries(MAY_HAVE_RUN if method.repeatable else NEVER_RAN),
    }


def _stream(method: Method) -> Config:
    limits = Limits()
    return {
        "cluster": method.service,
        "timeout": "0s",
        "idle_timeout": seconds(limits.idle_s),
        "max_stream_duration": {"max_stream_duration": seconds(limits.duration_s)},
        "retry_policy": _retries(NEVER_RAN),
    }


def _hidden_methods() -> Iterator[Config]:
    for prefix in ("/affectmesh.v1.", "/grpc."):
        yield _refused({"prefix": prefix}, 404)


def _rest(settings: Settings) -> Iterator[Config]:
    """The fixed paths of the contract. A body that says that it is too large is refused unread;
    one that does not say is counted by the gateway."""
    largest = settings.max_body_mb * 1024 * 1024
    too_large = {
        "name": "content-length",
        "range_match": {"start": largest + 1, "end": _LONGEST},
    }
    for method in METHODS.values():
        for base in BASE_PATHS if method.http_path else ():
            path = base + method.http_path
            yield _refused({"path": path, "headers": [too_large]}, 413)
            action = {
                "cluster": "gateway",
                "timeout": seconds(settings.request_timeout_s + PATIENCE_S),
                "retry_policy": _retries(NEVER_RAN),
            }
            yield _open({"match": {"path": path}, "route": action})


def _anything(settings: Settings) -> Iterator[Config]:
    """Accounts, jobs, media, dialects and live streams: long ones may last, silent ones may not."""
    safe = {"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD"}}}
    idle = max(settings.request_timeout_s + PATIENCE_S, Limits().ping_s * 2)
    for headers, failures in (([safe], (*NEVER_RAN, "reset")), ([], NEVER_RAN)):
        action = {
            "cluster": "gateway",
            "timeout": "0s",
            "idle_timeout": seconds(idle),
            "retry_policy": _retries(failures),
            "upgrade_configs": [{"upgrade_type": "websocket"}],
        }
        yield _open({"match": {"prefix": "/", "headers": headers}, "route": action})


def _internal_method(method: Method) -> Config:
    """Callers say themselves how long they wait."""
    action = {
        "cluster": method.service,
        "timeout": "0s",
        "idle_timeout": "0s",
        "max_stream_duration": {"grpc_timeout_header_max": "0s"},
        "retry_policy": _retries(MAY_HAVE_RUN if method.repeatable else NEVER_RAN),
    }
    return {"match": {"path": method.path}, "route": action}


def _health_checks() -> Iterator[Config]:
    for name in NAMES:
        if name != "gateway":
            callee = {"name": CALLEE_KEY, "string_match": {"exact": name}}
            match = {"prefix": "/grpc.health.v1.Health/", "headers": [callee]}
            yield {"match": match, "route": {"cluster": name, "timeout": "5s"}}


def _open(route: Config) -> Config:
    """A route that the gateway guards itself."""
    unasked = typed("envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute", disabled=True)
    unchecked = typed("envoy.extensions.filters.http.rbac.v3.RBACPerRoute")
    filters = {AUTHORIZATION_FILTER: unasked, ADMITTED_FILTER: unchecked}
    return {**route, "typed_per_filter_config": filters}


def _refused(match: Config, status: int) -> Config:
    return _open({"match": match, "direct_response": {"status": status}})


def _retries(failures: tuple[str, ...]) -> Config:
    other_host = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
    return {
        "retry_on": ",".join(failures),
        "num_retries": RETRIES,
        "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.25s"},
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": typed(other_host),
            }
        ],
        "host_selection_retry_max_attempts": HOST_DRAWS,
    }


def _cors(settings: Settings) -> Config:
    kind = "envoy.extensions.filters.http.cors.v3.CorsPolicy"
    every = "*" in settings.envoy_cors_origins
    origins = [{"exact": origin} for origin in settings.envoy_cors_origins if origin != "*"]
    return typed(
        kind,
        allow_origin_string_match=[{"safe_regex": {"regex": ".*"}}] if every else origins,
        allow_methods="GET, POST, PUT, PATCH, DELETE, OPTIONS",
        allow_headers="authorization, content-type, grpc-timeout, x-api-key, x-consent-reference, "
        "x-grpc-web, x-request-id, x-user-agent, x-wia-api-key",
        expose_headers="grpc-message, grpc-status, grpc-status-details-bin, retry-after, "
        "x-ratelimit-limit, x-ratelimit-remaining, x-ratelimit-reset, x-request-id",
        max_age="3600",
    )
