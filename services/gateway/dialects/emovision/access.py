"""Who may do what with recordings and webhooks."""

from services.common import errors
from services.gateway.dialects.wia import ANALYZE_SCOPE
from services.gateway.endpoint import Exchange
from services.gateway.policy import Admission, Policy

READ_SCOPE = "emotion:read"


class Access:
    """Admits requests, and puts the headers of the rate limit on their answers."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    async def analyse(self, exchange: Exchange) -> Admission:
        """To infer emotions, where the organisation's law and use context let it."""
        return await self._admit(exchange, ANALYZE_SCOPE)

    async def read(self, exchange: Exchange) -> Admission:
        """To read what is kept."""
        return await self._admit(exchange, READ_SCOPE)

    async def change(self, exchange: Exchange) -> Admission:
        """To delete recordings and keep webhooks: whoever may analyse, whatever the use context."""
        admission = await self._admit(exchange, READ_SCOPE)
        if ANALYZE_SCOPE not in admission.principal.scopes:
            raise errors.Forbidden(
                f"This credential does not have the scope {ANALYZE_SCOPE}.",
                reason="It may read, and change nothing.",
                suggestion="Use a key or token that was given this scope.",
            )
        return admission

    async def _admit(self, exchange: Exchange, scope: str) -> Admission:
        admission = await self._policy.admit(exchange.connection, scope)
        exchange.headers.update(admission.headers)
        return admission
