"""Who may do what, asked for one request."""

from services.common import errors
from services.gateway.endpoint import Exchange
from services.gateway.policy import Admission, Policy
from services.gateway.scopes import ANALYZE_SCOPE, READ_SCOPE


class Access:
    """Admits requests, and puts the headers of the rate limit on their answers."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    async def admit(self, exchange: Exchange, scope: str) -> Admission:
        """Under a scope; raises what Policy.admit does."""
        admission = await self._policy.admit(exchange.connection, scope)
        exchange.headers.update(admission.headers)
        return admission

    async def analyse(self, exchange: Exchange) -> Admission:
        """To infer emotions, where the organisation's law and use context let it."""
        return await self.admit(exchange, ANALYZE_SCOPE)

    async def read(self, exchange: Exchange) -> Admission:
        """To read what is kept."""
        return await self.admit(exchange, READ_SCOPE)

    async def change(self, exchange: Exchange) -> Admission:
        """To delete what is kept, and keep webhooks: whoever may analyse, in any use context."""
        admission = await self.admit(exchange, READ_SCOPE)
        if ANALYZE_SCOPE not in admission.principal.scopes:
            raise errors.Forbidden(
                f"This credential does not have the scope {ANALYZE_SCOPE}.",
                reason="It may read, and change nothing.",
                suggestion="Use a key or token that was given this scope.",
            )
        return admission
