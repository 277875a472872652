"""Everything that can go wrong, in one tree, and its way through gRPC.

AffectMeshError
├── InvalidRequest          a field is missing, unknown, of the wrong type or out of range
│   ├── InvalidImage
│   │   └── NoFaceDetected
│   ├── InvalidAudio
│   ├── InvalidVideo
│   ├── InvalidText
│   ├── InvalidSignal
│   └── FetchFailed         a URL given by the client cannot or may not be fetched
├── UnsupportedMedia        the bytes are of a kind that is not read here
├── PayloadTooLarge
├── Unauthorized            no credential, or an invalid one
├── Forbidden               a valid credential without the right
├── NotFound
├── Conflict
├── RateLimited
├── StorageFull
├── NotBuilt                the contract names it, this version does not have it
├── Unavailable             a part of the mesh is not answering
├── DeadlineExceeded
└── Internal
    └── WorkerLost          every worker that took a job died with it

Each carries a reason for programs, a message for people, and details: at least what to do, as
`suggestion`. On the wire an error is a gRPC status with `google.rpc.ErrorInfo`; `from_rpc` turns
it back, so the tree is the same on both sides.
"""

from collections.abc import Mapping
from typing import ClassVar

import grpc
import structlog
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

DOMAIN = "affectmesh"

_MESSAGE_BYTES, _DETAIL_BYTES = 800, 400
"""Most of a message and of a detail that is sent: gRPC drops a status over 8 KiB."""

log = structlog.get_logger()


class AffectMeshError(Exception):
    """Base of all errors that a client may see."""

    code: ClassVar[str]
    grpc_status: ClassVar[grpc.StatusCode]
    http_status: ClassVar[int]
    retriable: ClassVar[bool] = False

    def __init__(self, message: str, **details: str) -> None:
        super().__init__(message)
        self.message = message
        self.details: Mapping[str, str] = details


class InvalidRequest(AffectMeshError):
    code = "INVALID_REQUEST"
    grpc_status = grpc.StatusCode.INVALID_ARGUMENT
    http_status = 400


class InvalidImage(InvalidRequest):
    code = "INVALID_IMAGE"


class NoFaceDetected(InvalidImage):
    code = "NO_FACE_DETECTED"


class InvalidAudio(InvalidRequest):
    code = "INVALID_AUDIO"


class InvalidVideo(InvalidRequest):
    code = "INVALID_VIDEO"


class InvalidText(InvalidRequest):
    code = "INVALID_TEXT"


class InvalidSignal(InvalidRequest):
    code = "INVALID_SIGNAL"


class FetchFailed(InvalidRequest):
    code = "FETCH_FAILED"


class UnsupportedMedia(AffectMeshError):
    code = "UNSUPPORTED_MEDIA"
    grpc_status = grpc.StatusCode.INVALID_ARGUMENT
    http_status = 415


class PayloadTooLarge(AffectMeshError):
    code = "PAYLOAD_TOO_LARGE"
    grpc_status = grpc.StatusCode.RESOURCE_EXHAUSTED
    http_status = 413


class Unauthorized(AffectMeshError):
    code = "UNAUTHORIZED"
    grpc_status = grpc.StatusCode.UNAUTHENTICATED
    http_status = 401


class Forbidden(AffectMeshError):
    code = "FORBIDDEN"
    grpc_status = grpc.StatusCode.PERMISSION_DENIED
    http_status = 403


class NotFound(AffectMeshError):
    code = "NOT_FOUND"
    grpc_status = grpc.StatusCode.NOT_FOUND
    http_status = 404


class MethodNotAllowed(AffectMeshError):
    code = "METHOD_NOT_ALLOWED"
    grpc_status = grpc.StatusCode.UNIMPLEMENTED
    http_status = 405


class Conflict(AffectMeshError):
    code = "CONFLICT"
    grpc_status = grpc.StatusCode.ALREADY_EXISTS
    http_status = 409


class RateLimited(AffectMeshError):
    """Carries `retry_after`, whole seconds, in its details."""

    code = "RATE_LIMITED"
    grpc_status = grpc.StatusCode.RESOURCE_EXHAUSTED
    http_status = 429
    retriable = True


class StorageFull(AffectMeshError):
    code = "STORAGE_FULL"
    grpc_status = grpc.StatusCode.RESOURCE_EXHAUSTED
    http_status = 507


class NotBuilt(AffectMeshError):
    code = "NOT_IMPLEMENTED"
    grpc_status = grpc.StatusCode.UNIMPLEMENTED
    http_status = 501


class Unavailable(AffectMeshError):
    code = "SERVICE_UNAVAILABLE"
    grpc_status = grpc.StatusCode.UNAVAILABLE
    http_status = 503
    retriable = True


class DeadlineExceeded(AffectMeshError):
    code = "DEADLINE_EXCEEDED"
    grpc_status = grpc.StatusCode.DEADLINE_EXCEEDED
    http_status = 504
    retriable = True


class Internal(AffectMeshError):
    code = "INTERNAL_ERROR"
    grpc_status = grpc.StatusCode.INTERNAL
    http_status = 500

    def __init__(self, message: str = "Something went wrong on our side.", **details: str) -> None:
        suggestion = "Try again; if it stays, give the operator the request id."
        super().__init__(message, **{"suggestion": suggestion, **details})


class WorkerLost(Internal):
    code = "WORKER_LOST"


def _tree(cls: type[AffectMeshError]) -> list[type[AffectMeshError]]:
    return [cls, *(found for child in cls.__subclasses__() for found in _tree(child))]


_BY_CODE = {cls.code: cls for cls in _tree(AffectMeshError) if hasattr(cls, "code")}
_BY_GRPC_STATUS: Mapping[grpc.StatusCode, type[AffectMeshError]] = {
    grpc.StatusCode.UNIMPLEMENTED: NotBuilt,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.RESOURCE_EXHAUSTED: PayloadTooLarge,
}


def known(code: str, message: str, details: Mapping[str, str]) -> AffectMeshError:
    """The error of a code that was kept; Internal where there is none of that code."""
    kind = _BY_CODE.get(code)
    return Internal(**details) if kind is None else kind(message, **details)


def to_status(error: AffectMeshError) -> grpc.Status:
    """The gRPC status of an error, with its ErrorInfo among the details."""
    details = {key: _shorten(value, _DETAIL_BYTES) for key, value in error.details.items()}
    info = error_details_pb2.ErrorInfo(reason=error.code, domain=DOMAIN, metadata=details)
    detail = any_pb2.Any()
    detail.Pack(info)
    status = status_pb2.Status(
        code=error.grpc_status.value[0],
        message=_shorten(error.message, _MESSAGE_BYTES),
        details=[detail],
    )
    return rpc_status.to_status(status)


def _shorten(text: str, limit_bytes: int) -> str:
    encoded = text.encode(errors="replace")
    if len(encoded) <= limit_bytes:
        return encoded.decode()
    return encoded[:limit_bytes].decode(errors="ignore") + "…"


def from_rpc(error: grpc.aio.AioRpcError, service: str) -> AffectMeshError:
    """The error a service raised, from what its client caught.

    A status without our ErrorInfo comes from gRPC itself: the service is gone, too slow, or the
    message was too large.
    """
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    for detail in status.details if status else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info) and info.domain == DOMAIN and info.reason in _BY_CODE:
            return known(info.reason, status.message, info.metadata)
    log.warning("call failed", callee=service, code=error.code().name, details=error.details())
    kind = _BY_GRPC_STATUS.get(error.code(), Unavailable)
    if kind is DeadlineExceeded:
        return DeadlineExceeded(
            f"The {service} service took too long.",
            suggestion="Send less at once, or try again when the system is less busy.",
        )
    if kind is PayloadTooLarge:
        return PayloadTooLarge(
            f"The message is too large for the {service} service.", suggestion="Send less at once."
        )
    if kind is NotBuilt:
        return NotBuilt(f"The {service} service has no such method.")
    return Unavailable(
        f"The {service} service is not answering.",
        suggestion="Try again in a few seconds.",
        retry_after="2",
    )
