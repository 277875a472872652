"""Whether the client may still go on."""

from __future__ import annotations

from starlette.requests import HTTPConnection

from services.common import errors
from services.gateway.policy import Admission, Policy
from services.gateway.scopes import STREAM_SCOPE


class Standing:
    """The credential of a stream, looked at again while it lasts."""

    def __init__(self, policy: Policy, connection: HTTPConnection, admission: Admission) -> None:
        self._policy = policy
        self._connection = connection
        self.admission = admission

    async def check(self) -> None:
        """Raises Unauthorized or Forbidden; a billing service that is gone ends no stream."""
        try:
            await self._policy.check(self._connection, STREAM_SCOPE)
        except errors.Unavailable:
            return

    async def refresh(self, token: str) -> None:
        """Takes another credential of the same organisation in place of this one.

        Raises Unauthorized, Forbidden, Unavailable; the one before then stays.
        """
        header = (b"x-wia-api-key", token.encode())
        scope = {**self._connection.scope, "headers": [header], "query_string": b""}
        connection = HTTPConnection(scope)
        principal = await self._policy.check(connection, STREAM_SCOPE)
        if principal.org_id != self.admission.principal.org_id:
            raise errors.Forbidden(
                "This credential belongs to another organisation.",
                suggestion="Open a stream of its own for it.",
            )
        self._connection = connection
