"""On whose behalf calls are made."""

from typing import Any

import grpc
import pytest

from services.common import caller, channels, errors
from services.common.caller import Caller
from services.common.server import RequestInterceptor

ANNA = Caller(7, "key_1", "pro", True, "consent é&=\n1")


def test_a_caller_comes_back_as_it_went() -> None:
    assert ANNA.encode().isascii()
    assert caller.decode(ANNA.encode()) == ANNA
    assert caller.decode(Caller(1, "usr_2", "free").encode()) == Caller(1, "usr_2", "free")


@pytest.mark.parametrize("text", ["", "org_id=x&principal_id=a&plan=b", "org_id=1", "\x00"])
def test_what_is_no_caller_is_none(text: str) -> None:
    assert caller.decode(text) is None


async def test_a_service_knows_on_whose_behalf_it_is_called() -> None:
    heard: list[Caller | None] = []

    async def method(request: bytes, _context: object) -> bytes:
        heard.append(caller.current.get())
        with_caller = caller.required() if request else None
        return b"" if with_caller is None else with_caller.encode().encode()

    handler = grpc.method_handlers_generic_handler(
        "test.Test",
        {"Ask": grpc.unary_unary_rpc_method_handler(method)},
    )
    server = grpc.aio.server(interceptors=[RequestInterceptor()])
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        ask: Any = channel.unary_unary("/test.Test/Ask")
        with pytest.raises(errors.Unauthorized, match="on whose behalf"):
            await channels.call("test", ask, b"?", 60)
        token = caller.current.set(ANNA)
        try:
            assert caller.decode((await channels.call("test", ask, b"?", 60)).decode()) == ANNA
        finally:
            caller.current.reset(token)
    await server.stop(None)
    assert heard == [None, ANNA]
