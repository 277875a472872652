"""Calls from one service of the mesh to another."""

from collections.abc import Callable
from typing import Any, TypeVar

import grpc

from services.common import caller, errors, telemetry, tls, tracing
from services.common.settings import Settings

S = TypeVar("S")

MAX_MESSAGE_BYTES = 256 * 1024 * 1024

OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.http2.max_frame_size", 1024 * 1024),
    ("grpc.http2.lookahead_bytes", 4 * 1024 * 1024),
    ("grpc.http2.bdp_probe", 0),
)
"""Options of every channel and server of the mesh. Frames of 16 KiB, the default, double the CPU
that streams of media cost; a window that gRPC may widen by itself holds 100 MB of one on a busy
machine."""

_CLIENT_OPTIONS = (
    *OPTIONS,
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.lb_policy_name", "round_robin"),
    ("grpc.use_local_subchannel_pool", 1),
)
"""A name that stands for several addresses is every replica: calls are spread over them. A new
channel does not take over the failures of an older one."""


CALLEE_KEY = "x-affectmesh-callee"
"""Metadata that names the service called: behind one address there may be several, and health
checks of all have the same path."""


class Channels:
    """One shared channel per service, opened when first used."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._credentials = tls.channel_credentials(settings)
        self._channels: dict[str, grpc.aio.Channel] = {}

    def stub(self, service: str, make: Callable[[grpc.aio.Channel], S]) -> S:
        """A stub of the service, made by the generated class."""
        return make(self._channel(service))

    def _channel(self, service: str) -> grpc.aio.Channel:
        if service not in self._channels:
            self._channels[service] = self._open(self._settings.address(service))
        return self._channels[service]

    def _open(self, address: str) -> grpc.aio.Channel:
        if self._credentials is None:
            return grpc.aio.insecure_channel(address, options=_CLIENT_OPTIONS)
        return grpc.aio.secure_channel(address, self._credentials, options=_CLIENT_OPTIONS)

    async def close(self) -> None:
        """Ends every call in flight."""
        for channel in self._channels.values():
            await channel.close()


def metadata() -> tuple[tuple[str, str], ...]:
    """What every call onwards carries: the current request id, the caller and the trace."""
    identity = (telemetry.REQUEST_ID_KEY, telemetry.request_id.get())
    return (identity, *caller.metadata(), *tracing.metadata())


async def call(service: str, method: Any, request: Any, timeout_s: float) -> Any:
    """Calls a stub's unary method under the current request id, for the current caller.

    Raises the AffectMeshError that the service raised, Unavailable when it is gone, and
    DeadlineExceeded when it takes longer than timeout_s.
    """
    try:
        return await method(
            request, timeout=timeout_s, metadata=(*metadata(), (CALLEE_KEY, service))
        )
    except grpc.aio.AioRpcError as error:
        raise errors.from_rpc(error, service) from error
