"""What clients may call over gRPC, and what each call asks for and owes: one table for all.

It is made from the contract. Methods with an HTTP annotation and live streams are public, and so
is the job service; all others are calls between services.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from google.api import annotations_pb2
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor

from affectmesh.v1 import billing_pb2, jobs_pb2
from services.billing.prices import PRICES
from services.gateway.dialects.wia import SERVICES as MODALITIES
from services.gateway.scopes import ANALYZE_SCOPE, READ_SCOPE, STREAM_SCOPE

SERVICES: Mapping[str, FileDescriptor] = {
    **MODALITIES,
    "jobs": jobs_pb2.DESCRIPTOR,
    "billing": billing_pb2.DESCRIPTOR,
}
"""Which service serves which part of the contract."""

_PUBLIC = (*MODALITIES, "jobs")
_READING = ("Get", "List", "Watch", "Download")
_REPEATABLE = ("Analyze", "Get", "List", "Authenticate", "Verify", "Quote", "RecordUsage")
"""Beginnings of the names of methods that may run twice as well as once."""

_STREAM_ITEMS = {
    "StreamFace": "stream",
    "StreamVoice": "analyze.voice.stream",
    "StreamBiosignal": "analyze.biosignal.stream",
}


@dataclass(frozen=True)
class Method:
    """A method of the contract."""

    service: str
    """Name of the service in the mesh."""
    path: str
    """Such as /affectmesh.v1.TextService/AnalyzeText."""
    http_path: str
    """Of its HTTP annotation; empty where it has none."""
    streams: bool
    """Whether either side sends more than one message."""
    public: bool
    repeatable: bool
    """Whether a call may be sent again where it is not known whether it ran."""
    scope: str
    item: str
    """In the price table; empty where it costs nothing by itself."""

    @property
    def by_minute(self) -> bool:
        """Whether it is metered by the minute."""
        return bool(self.item) and PRICES[self.item].unit == "minute"


def _methods() -> Iterator[Method]:
    for service, file in SERVICES.items():
        for proto_service in file.services_by_name.values():
            for method in proto_service.methods:
                yield _method(service, method)


def _method(service: str, method: MethodDescriptor) -> Method:
    http_path = method.GetOptions().Extensions[annotations_pb2.http].post
    streams = method.client_streaming or method.server_streaming
    live = method.client_streaming and method.server_streaming
    item = _STREAM_ITEMS.get(method.name, "")
    if http_path:
        item = http_path.removeprefix("/v1/").replace("/", ".")
    scope = ANALYZE_SCOPE
    if live:
        scope = STREAM_SCOPE
    elif method.name.startswith(_READING):
        scope = READ_SCOPE
    return Method(
        service=service,
        path=f"/{method.containing_service.full_name}/{method.name}",
        http_path=http_path,
        streams=streams,
        public=service in _PUBLIC and (bool(http_path or item) or service == "jobs"),
        repeatable=not streams and method.name.startswith(_REPEATABLE),
        scope=scope,
        item=item,
    )


METHODS: Mapping[str, Method] = {method.path: method for method in _methods()}
"""Every method of the contract by its path."""
