"""The whole configuration, as YAML."""

import ssl
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import urlsplit

import yaml

from services.common.settings import AUTHORIZATION, SERVICES, Settings
from services.gateway.envoy import listeners
from services.gateway.envoy.clusters import cluster, traces_cluster
from services.gateway.envoy.observation import traces_endpoint
from services.gateway.envoy.parts import Config, extension, socket_address

LISTENERS: Mapping[str, Callable[[Settings, str], Config]] = {
    "edge": listeners.edge,
    "internal": listeners.internal,
}

MOST_CONNECTIONS = 20_000
"""Of all clients together; more are not accepted."""

_INTERNAL = tuple(name for name in SERVICES if name != "gateway")
_HIDDEN_FROM_EDGE = frozenset({"billing"})


class WrongSetting(ValueError):
    """A setting with which Envoy would not start; the message begins with its name."""


def render(settings: Settings, wanted: Iterable[str]) -> str:
    """The configuration of one Envoy with these listeners. Raises WrongSetting."""
    check(settings)
    return yaml.safe_dump(bootstrap(settings, tuple(wanted)), sort_keys=False, width=100)


def bootstrap(settings: Settings, wanted: tuple[str, ...]) -> Config:
    """The same, before it is written."""
    traces = traces_endpoint()
    reached = [name for name in (*SERVICES, AUTHORIZATION) if _is_reached(name, wanted)]
    clusters = [cluster(settings, name) for name in reached]
    if traces:
        clusters.append(traces_cluster(traces))
    return {
        "node": {"id": "affectmesh-" + "-".join(wanted), "cluster": "affectmesh"},
        "admin": {"address": socket_address(f"127.0.0.1:{settings.envoy_admin_port}")},
        "overload_manager": {
            "resource_monitors": [
                extension(
                    "envoy.resource_monitors.global_downstream_max_connections",
                    "envoy.extensions.resource_monitors.downstream_connections.v3"
                    ".DownstreamConnectionsConfig",
                    max_active_downstream_connections=MOST_CONNECTIONS,
                )
            ]
        },
        "static_resources": {
            "listeners": [LISTENERS[name](settings, traces) for name in wanted],
            "clusters": clusters,
        },
    }


def check(settings: Settings) -> None:
    """Raises WrongSetting where a certificate or an address cannot be used."""
    certificate, key = settings.envoy_tls_certificate, settings.envoy_tls_key
    if certificate is None and key is not None:
        raise WrongSetting("AFFECTMESH_ENVOY_TLS_CERTIFICATE: is missing beside its key.")
    if certificate is not None:
        if key is None:
            raise WrongSetting("AFFECTMESH_ENVOY_TLS_KEY: is missing beside its certificate.")
        for name, path in (("CERTIFICATE", certificate), ("KEY", key)):
            if not path.is_file():
                raise WrongSetting(f"AFFECTMESH_ENVOY_TLS_{name}: there is no file {path}.")
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as error:
            raise WrongSetting(
                f"AFFECTMESH_ENVOY_TLS_CERTIFICATE: it cannot be used with its key: {error}"
            ) from None
    if traces := traces_endpoint():
        parts = urlsplit(traces)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise WrongSetting(f"OTEL_EXPORTER_OTLP_ENDPOINT: {traces} is no http(s) URL.")


def _is_reached(name: str, wanted: tuple[str, ...]) -> bool:
    if "internal" in wanted and name in _INTERNAL:
        return True
    return "edge" in wanted and name not in _HIDDEN_FROM_EDGE
