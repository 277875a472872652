"""The words of Affectiva."""

from collections.abc import Mapping
from typing import Any, ClassVar

from services.common import errors
from services.gateway.endpoint import Dialect

UNPROCESSABLE = 422


class Affectiva(Dialect):
    """`error` is the message, as Affectiva's clients show it."""

    challenge: ClassVar[str] = 'Basic realm="affectmesh"'

    def error(self, error: errors.AffectMeshError, request_id: str) -> Mapping[str, Any]:
        """`error`, and beside it the code and details."""
        return {"error": error.message, "code": error.code, "details": dict(error.details)}

    def status(self, error: errors.AffectMeshError) -> int:
        """422 where one parameter is wrong."""
        if isinstance(error, errors.InvalidRequest) and "field" in error.details:
            return UNPROCESSABLE
        return error.http_status
