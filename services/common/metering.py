"""What a call that comes straight from the edge owes, and its entry in the journal.

The gateway meters what goes through it. A gRPC call that it only admitted is metered by the service
that answers it: the gateway names item and entry of the ledger in one entry of gRPC metadata, which
clients cannot set (the edge removes theirs) and services do not pass on. The edge repeats a call
that failed with the same metadata, so that however often it runs, the ledger enters it once.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode

import grpc

from services.common import caller
from services.common.handlers import Answering, Continuation, Details, Streaming, wrapped

if TYPE_CHECKING:
    from services.billing.journal import Journal

KEY = "x-affectmesh-meter"
"""Name of the metadata entry."""

_MICRO = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class Meter:
    """An item of the price table, and the id of the ledger's entry."""

    item: str
    entry_id: str
    by_minute: bool = False

    def encode(self) -> str:
        """As it travels."""
        return urlencode({**asdict(self), "by_minute": int(self.by_minute)})


def decode(text: str) -> Meter | None:
    """The meter of an encoded one, None of anything else."""
    found = {name: values[0] for name, values in parse_qs(text).items()}
    try:
        return Meter(found["item"], found["entry_id"], found.get("by_minute") == "1")
    except KeyError:
        return None


class MeterInterceptor(grpc.aio.ServerInterceptor):
    """Puts calls that carry a meter in the journal: unary ones when they have succeeded, streams at
    their end, once anything was answered."""

    def __init__(self, journal: Callable[[], Journal]) -> None:
        self._journal = journal

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: Details
    ) -> Any:
        handler: Any = await continuation(handler_call_details)
        metadata = dict(handler_call_details.invocation_metadata or ())
        meter = decode(str(metadata.get(KEY, "")))
        if handler is None or meter is None:
            return handler
        metered = _Metered(meter, self._journal)
        return wrapped(handler, metered.answering, metered.streaming)


class _Metered:
    """One call."""

    def __init__(self, meter: Meter, journal: Callable[[], Journal]) -> None:
        self._meter = meter
        self._journal = journal
        self._started = time.monotonic()

    def answering(self, method: Answering) -> Answering:
        async def serve(request: Any, context: Any) -> Any:
            response = await method(request, context)
            self._record()
            return response

        return serve

    def streaming(self, method: Streaming) -> Streaming:
        async def serve(request: Any, context: Any) -> AsyncGenerator[Any, None]:
            answered = False
            try:
                async with aclosing(method(request, context)) as responses:
                    async for response in responses:
                        answered = True
                        yield response
            finally:
                if answered:
                    self._record()

        return serve

    def _record(self) -> None:
        payer = caller.required()
        quantity = Decimal(1)
        if self._meter.by_minute:
            quantity = (Decimal(time.monotonic() - self._started) / 60).quantize(_MICRO)
        self._journal().write(
            payer, self._meter.entry_id, self._meter.item, quantity, payer.consent_reference
        )
