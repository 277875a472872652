"""On whose behalf a call is made: from the gateway through every service that it reaches.

The gateway knows it from the credential. It travels as one entry of gRPC metadata, which nobody
outside the mesh may set: the edge replaces what clients send.
"""

from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from functools import lru_cache
from urllib.parse import parse_qs, urlencode

from services.common import errors

KEY = "x-affectmesh-caller"
"""Name of the metadata entry."""


_REMEMBERED = 1024
"""Callers that are encoded and read once only: every call of every request carries one."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking: the principal, its organisation, and the plan that it is on."""

    org_id: int
    principal_id: str
    plan: str
    test_mode: bool = False
    consent_reference: str = ""

    @lru_cache(_REMEMBERED)  # noqa: B019 - few and small
    def encode(self) -> str:
        """As it travels; ASCII whatever it holds."""
        return urlencode({**asdict(self), "test_mode": int(self.test_mode)})


current: ContextVar[Caller | None] = ContextVar("caller", default=None)
"""Of the request being served; None for what nobody asked for, such as a probe."""


@lru_cache(_REMEMBERED)
def decode(text: str) -> Caller | None:
    """The caller of an encoded one, None of anything else."""
    found = {name: values[0] for name, values in parse_qs(text).items()}
    try:
        return Caller(
            org_id=int(found["org_id"]),
            principal_id=found["principal_id"],
            plan=found["plan"],
            test_mode=found.get("test_mode") == "1",
            consent_reference=found.get("consent_reference", ""),
        )
    except (KeyError, ValueError):
        return None


def required() -> Caller:
    """The caller of the request being served. Raises Unauthorized where there is none."""
    caller = current.get()
    if caller is None:
        raise errors.Unauthorized(
            "This call does not say on whose behalf it is made.",
            suggestion="Call through the gateway or the edge, with a key.",
        )
    return caller


def metadata() -> Iterable[tuple[str, str]]:
    """What a call onwards carries of the caller."""
    caller = current.get()
    return () if caller is None else ((KEY, caller.encode()),)
