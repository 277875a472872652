"""The services behind Envoy: where their replicas are, which are well, and how much they get."""

import ipaddress
from urllib.parse import urlsplit

from services.common.settings import AUTHORIZATION, Settings
from services.gateway.envoy.parts import Config, seconds, socket_address, typed
from services.gateway.methods import SERVICES

CONNECT_TIMEOUT_S = 1.0
HEALTH_EVERY_S = 1.0
HEALTH_TIMEOUT_S = 2.0
KEEP_ALIVE_S = 4.0
"""Idle connections to the gateway are closed by Envoy first: uvicorn closes its own after 5 s."""
MOST_REQUESTS = 1024
"""In flight to all replicas of a service; the next get 503 at once (circuit breaker)."""
MOST_STREAMS = 256
"""In flight on one connection to a replica."""
RETRY_PERCENT = 100
"""Of the requests in flight, how many may be repetitions: one of two replicas that dies takes half
of all with it, and all of those are sent again."""
LEAST_RETRIES = 256
"""So many repetitions may always be under way: those that wait for their next try are none of the
requests in flight."""

TRACES = "traces"


def backends(settings: Settings, name: str) -> list[str]:
    """The replicas of a service, of the gateway's REST API, or of what Envoy asks."""
    if given := settings.envoy_backends.get(name):
        return given
    if name == "gateway":
        return [f"{settings.http_host or settings.host}:{settings.http_port}"]
    if name == AUTHORIZATION:
        return [f"{settings.host}:{settings.authorization_port}"]
    return [settings.address(name)]


def cluster(settings: Settings, name: str) -> Config:
    """One service: balanced by load, checked, and kept from being overrun."""
    replicas = backends(settings, name)
    speaks_http = name in ("gateway", AUTHORIZATION)
    made = {
        **_located(name, replicas),
        "lb_policy": "LEAST_REQUEST",
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "typed_extension_protocol_options": _http() if speaks_http else _grpc(),
        "health_checks": [_http_check() if speaks_http else _grpc_check(name)],
        "ignore_health_on_host_removal": True,
        "outlier_detection": _outliers(),
        "circuit_breakers": _breakers(),
    }
    if settings.tls_ca is not None and not speaks_http:
        made["transport_socket"] = _mutual_tls(settings)
    return made


def traces_cluster(endpoint: str) -> Config:
    """Where spans go, from the URL of OTEL_EXPORTER_OTLP_ENDPOINT."""
    parts = urlsplit(endpoint)
    secure = parts.scheme == "https"
    address = f"{parts.hostname}:{parts.port or 4317}"
    made = {**_located(TRACES, [address]), "typed_extension_protocol_options": _grpc()}
    if secure:
        context = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
        made["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": typed(context, sni=parts.hostname),
        }
    return made


def _located(name: str, replicas: list[str]) -> Config:
    endpoints = [{"endpoint": {"address": socket_address(one)}} for one in replicas]
    return {
        "name": name,
        "type": "STATIC" if all(map(_is_ip, replicas)) else "STRICT_DNS",
        "connect_timeout": seconds(CONNECT_TIMEOUT_S),
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
    }


def _is_ip(address: str) -> bool:
    try:
        ipaddress.ip_address(address.rpartition(":")[0].strip("[]"))
    except ValueError:
        return False
    return True


def _grpc() -> Config:
    return _protocol(
        {
            "http2_protocol_options": {
                "max_concurrent_streams": MOST_STREAMS,
                "initial_stream_window_size": 1024 * 1024,
                "initial_connection_window_size": 16 * 1024 * 1024,
                "connection_keepalive": {"interval": "60s", "timeout": "10s"},
            }
        },
        {},
    )


def _http() -> Config:
    return _protocol({"http_protocol_options": {}}, {"idle_timeout": seconds(KEEP_ALIVE_S)})


def _protocol(explicit: Config, common: Config) -> Config:
    kind = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    options = typed(kind, explicit_http_config=explicit, common_http_protocol_options={**common})
    return {kind: options}


def _check(**how: Config) -> Config:
    every = seconds(HEALTH_EVERY_S)
    return {
        "timeout": seconds(HEALTH_TIMEOUT_S),
        "interval": every,
        "no_traffic_interval": every,
        "unhealthy_threshold": 2,
        "healthy_threshold": 1,
        **how,
    }


def _grpc_check(name: str) -> Config:
    """By the name of the contract: a service whose models do not answer is left out, too."""
    (served,) = SERVICES[name].services_by_name.values()
    return _check(grpc_health_check={"service_name": served.full_name})


def _http_check() -> Config:
    return _check(http_health_check={"path": "/healthz"})


def _outliers() -> Config:
    """Ejects a replica that cannot be connected to or breaks off; a status that a service chose,
    such as INTERNAL for one bad request, says nothing of the replica."""
    return {
        "split_external_local_origin_errors": True,
        "consecutive_local_origin_failure": 2,
        "consecutive_gateway_failure": 10,
        "enforcing_consecutive_5xx": 0,
        "enforcing_success_rate": 0,
        "enforcing_local_origin_success_rate": 0,
        "interval": "1s",
        "base_ejection_time": "5s",
        "max_ejection_percent": 50,
    }


def _breakers() -> Config:
    budget = {
        "budget_percent": {"value": RETRY_PERCENT},
        "min_retry_concurrency": LEAST_RETRIES,
    }
    limits = {
        "max_connections": MOST_REQUESTS,
        "max_pending_requests": MOST_REQUESTS,
        "max_requests": MOST_REQUESTS,
        "retry_budget": budget,
        "track_remaining": True,
    }
    return {"thresholds": [limits]}


def _mutual_tls(settings: Settings) -> Config:
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": typed(
            "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            auto_host_sni=True,
            auto_sni_san_validation=True,
            common_tls_context={
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
                "alpn_protocols": ["h2"],
                "tls_certificates": [
                    {
                        "certificate_chain": {"filename": str(settings.tls_cert)},
                        "private_key": {"filename": str(settings.tls_key)},
                    }
                ],
                "validation_context": {"trusted_ca": {"filename": str(settings.tls_ca)}},
            },
        ),
    }
