"""The two doors: the edge for clients, the internal listener for the mesh and JSON tools in it."""

import base64
from collections.abc import Iterable

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.rpc import error_details_pb2, status_pb2

from services.common import caller, metering
from services.common.settings import AUTHORIZATION, Settings
from services.gateway.envoy.observation import access_log, tracing
from services.gateway.envoy.parts import (
    Config,
    extension,
    patterns,
    seconds,
    socket_address,
    typed,
)
from services.gateway.envoy.replies import local_replies
from services.gateway.envoy.routes import (
    ADMITTED_FILTER,
    AUTHORIZATION_FILTER,
    BUFFER_FILTER,
    edge_routes,
    internal_routes,
)
from services.gateway.external_authorization import (
    READ_HEADERS,
    TOLD_ADMITTED,
    TOLD_REFUSED,
    TOLD_SERVICES,
)
from services.gateway.methods import SERVICES
from services.gateway.streaming.limits import Limits

AUTHORIZATION_TIMEOUT_S = 5.0
LARGEST_HEADERS_KB = 60
MOST_STREAMS = 100
"""Requests at a time on one HTTP/2 connection of a client."""
CONNECTION_BUFFER_BYTES = 128 * 1024
WINDOW_BYTES = 1024 * 1024
"""What a client may send of one call before it is read."""
IDLE_CONNECTION_S = 3600.0
HEADERS_WITHIN_S = 10.0
"""Until the headers of a request have come."""


def edge(settings: Settings, traces: str) -> Config:
    """REST, WebSocket, gRPC and gRPC-Web, over TLS where a certificate is set."""
    chain: Config = {"filters": [_connections("edge", _edge_manager(settings, traces))]}
    if settings.envoy_tls_certificate is not None:
        chain["transport_socket"] = _tls(settings)
    return _listener("edge", settings, settings.envoy_edge_port, chain, CONNECTION_BUFFER_BYTES)


def internal(settings: Settings, traces: str) -> Config:
    """gRPC between services, and JSON for whoever may reach them. It asks for no key."""
    manager = {
        **_manager("internal", traces, WINDOW_BYTES),
        "route_config": internal_routes(),
        "http_filters": [_transcoder(), _router()],
    }
    chain: Config = {"filters": [_connections("internal", manager)]}
    whole_bodies = settings.max_body_mb * 1024 * 1024  # the transcoder needs all of one
    return _listener("internal", settings, settings.envoy_internal_port, chain, whole_bodies)


def _listener(name: str, settings: Settings, port: int, chain: Config, buffer_bytes: int) -> Config:
    host = settings.envoy_host or settings.host
    host = f"[{host}]" if ":" in host else host
    return {
        "name": name,
        "address": socket_address(f"{host}:{port}"),
        "per_connection_buffer_limit_bytes": buffer_bytes,
        "filter_chains": [chain],
    }


def _connections(name: str, manager: Config) -> Config:
    kind = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    return extension("envoy.filters.network.http_connection_manager", kind, **manager)


def _manager(name: str, traces: str, window_bytes: int) -> Config:
    made = {
        "stat_prefix": name,
        "codec_type": "AUTO",
        "access_log": [access_log(name)],
        "generate_request_id": True,
        "server_header_transformation": "PASS_THROUGH",
        "stream_idle_timeout": seconds(Limits().idle_s),
        "normalize_path": True,
        "http2_protocol_options": {
            "max_concurrent_streams": MOST_STREAMS,
            "initial_stream_window_size": window_bytes,
            "initial_connection_window_size": 4 * 1024 * 1024,
        },
        "common_http_protocol_options": {"idle_timeout": seconds(IDLE_CONNECTION_S)},
    }
    if traces:
        made["tracing"] = tracing()
    return made


def _window_bytes(settings: Settings) -> int:
    """A client may send so much of a call before it is admitted, whatever is read of it meanwhile.
    It must be less than half of the largest body: above, Envoy would never go on reading."""
    return min(WINDOW_BYTES, settings.max_body_mb * 1024 * 1024 // 4)


def _edge_manager(settings: Settings, traces: str) -> Config:
    removed = [{"remove": name} for name in (caller.KEY, metering.KEY)]
    mutation = "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"
    return {
        **_manager("edge", traces, _window_bytes(settings)),
        "use_remote_address": True,
        "preserve_external_request_id": True,
        "early_header_mutation_extensions": [
            extension("strip_mesh_headers", mutation, mutations=removed)
        ],
        "merge_slashes": True,
        "proxy_100_continue": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "max_request_headers_kb": LARGEST_HEADERS_KB,
        "request_headers_timeout": seconds(HEADERS_WITHIN_S),
        "upgrade_configs": [{"upgrade_type": "websocket", "enabled": False}],
        "local_reply_config": local_replies(),
        "route_config": edge_routes(settings),
        "http_filters": [
            extension("envoy.filters.http.cors", "envoy.extensions.filters.http.cors.v3.Cors"),
            extension(
                "envoy.filters.http.grpc_web", "envoy.extensions.filters.http.grpc_web.v3.GrpcWeb"
            ),
            authorization(),
            _admitted(),
            _buffer(settings),
            _router(),
        ],
    }


def authorization() -> Config:
    """Asks the gateway whether a call may go on."""
    return extension(
        AUTHORIZATION_FILTER,
        "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
        http_service={
            "server_uri": {
                "uri": f"http://{AUTHORIZATION}",
                "cluster": AUTHORIZATION,
                "timeout": seconds(AUTHORIZATION_TIMEOUT_S),
            },
            "authorization_response": {
                "allowed_upstream_headers": patterns(*TOLD_SERVICES),
                "allowed_client_headers": patterns(*TOLD_REFUSED),
                "allowed_client_headers_on_success": patterns(*TOLD_ADMITTED),
            },
        },
        allowed_headers=patterns(*READ_HEADERS),
        status_on_error={"code": "ServiceUnavailable"},
        failure_mode_allow=False,
    )


def _admitted() -> Config:
    """Lets only calls through that name a caller, whatever became of the question before."""
    named = {"header": {"name": caller.KEY, "present_match": True}}
    policy = {"permissions": [{"any": True}], "principals": [named]}
    kind = "envoy.extensions.filters.http.rbac.v3.RBAC"
    rules = {"action": "ALLOW", "policies": {"admitted": policy}}
    return extension(ADMITTED_FILTER, kind, rules=rules)


def _buffer(settings: Settings) -> Config:
    """Only where a route asks for it."""
    kind = "envoy.extensions.filters.http.buffer.v3.Buffer"
    largest = settings.max_body_mb * 1024 * 1024
    return {**extension(BUFFER_FILTER, kind, max_request_bytes=largest), "disabled": True}


def _router() -> Config:
    kind = "envoy.extensions.filters.http.router.v3.Router"
    return extension("envoy.filters.http.router", kind, suppress_envoy_headers=True)


def _transcoder() -> Config:
    services = [
        service.full_name
        for file in SERVICES.values()
        for service in file.services_by_name.values()
    ]
    return extension(
        "envoy.filters.http.grpc_json_transcoder",
        "envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
        proto_descriptor_bin=base64.b64encode(descriptors().SerializeToString()).decode(),
        services=services,
        print_options={
            "always_print_primitive_fields": True,
            "preserve_proto_field_names": True,
        },
        convert_grpc_status=True,
    )


def descriptors() -> FileDescriptorSet:
    """The contract with all that it imports, and what errors are made of."""
    found = FileDescriptorSet()
    seen: set[str] = set()
    wanted = (*SERVICES.values(), status_pb2.DESCRIPTOR, error_details_pb2.DESCRIPTOR)
    _add(wanted, found, seen)
    return found


def _add(files: Iterable[FileDescriptor], found: FileDescriptorSet, seen: set[str]) -> None:
    for file in files:
        if file.name not in seen:
            seen.add(file.name)
            _add(file.dependencies, found, seen)
            found.file.add().ParseFromString(file.serialized_pb)


def _tls(settings: Settings) -> Config:
    context = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
    certificate = {
        "certificate_chain": {"filename": str(settings.envoy_tls_certificate)},
        "private_key": {"filename": str(settings.envoy_tls_key)},
    }
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": typed(
            context,
            common_tls_context={
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
                "alpn_protocols": ["h2", "http/1.1"],
                "tls_certificates": [certificate],
            },
        ),
    }
