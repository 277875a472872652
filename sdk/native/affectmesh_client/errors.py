"""What the mesh refuses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status


class Refused(Exception):
    """An error of the mesh.

    code: for programs, such as NO_FACE_DETECTED. status: of HTTP, or the name of the gRPC status.
    details: what is known of it, with a suggestion what to do.
    """

    def __init__(
        self,
        code: str,
        message: str,
        details: Mapping[str, Any],
        status: int | str,
        request_id: str = "",
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.details = dict(details)
        self.status = status
        self.request_id = request_id


def of_answer(status: int, body: Any, request_id: str) -> Refused:
    """The error that a REST answer stands for."""
    known = body.get("error") if isinstance(body, dict) else None
    if not isinstance(known, dict):
        return Refused("UNKNOWN", f"The server answered {status}.", {}, status, request_id)
    return Refused(known["code"], known["message"], known["details"], status, request_id)


def of_call(error: grpc.aio.AioRpcError) -> Refused:
    """The error that a gRPC status stands for."""
    code, details = error.code().name, dict[str, str]()
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    for detail in status.details if status else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            code, details = info.reason, dict(info.metadata)
    return Refused(code, error.details() or "", details, error.code().name)
