"""Errors on their way from a service to its caller, over real gRPC."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from affectmesh.v1 import text_pb2, text_pb2_grpc
from services.common import errors, telemetry
from services.common.channels import Channels, call
from services.common.settings import Settings
from tests.common.serving import serving

Behaviour = Callable[[Any], Any]

REQUEST = text_pb2.AnalyzeTextRequest(text="hello")


def every_error(cls: type[errors.AffectMeshError]) -> list[type[errors.AffectMeshError]]:
    below = [error for child in cls.__subclasses__() for error in every_error(child)]
    return below if cls is errors.AffectMeshError else [cls, *below]


TREE = [
    error for error in every_error(errors.AffectMeshError) if error.__module__ == errors.__name__
]


class Servicer(text_pb2_grpc.TextServiceServicer):
    """Does what the test says in AnalyzeText; has no AnalyzeTextBatch."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour

    async def AnalyzeText(self, request: Any, context: Any) -> Any:
        return await self._behaviour(request)


@asynccontextmanager
async def text_service(behaviour: Behaviour) -> AsyncIterator[text_pb2_grpc.TextServiceStub]:
    async def add(server: grpc.aio.Server) -> None:
        servicer = Servicer(behaviour)  # type: ignore[abstract]
        text_pb2_grpc.add_TextServiceServicer_to_server(servicer, server)

    async with serving(add) as address:
        channels = Channels(Settings(addresses={"text": address}))
        yield channels.stub("text", text_pb2_grpc.TextServiceStub)
        await channels.close()


def raising(error: Exception) -> Behaviour:
    async def behave(request: Any) -> Any:
        raise error

    return behave


async def caught(error: Exception) -> errors.AffectMeshError:
    async with text_service(raising(error)) as stub:
        with pytest.raises(errors.AffectMeshError) as raised:
            await call("text", stub.AnalyzeText, REQUEST, 60)
    return raised.value


def test_codes_are_unique() -> None:
    codes = [error.code for error in TREE]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.code)
async def test_an_error_is_the_same_on_both_sides(kind: type[errors.AffectMeshError]) -> None:
    details = {"field": "text", "suggestion": "Send “words”, 5 µV or\nmore.", "retry_after": "3"}
    error = await caught(kind("Zu wenig – 不够.\nMore.", **details))
    assert type(error) is kind
    assert error.message == "Zu wenig – 不够.\nMore."
    assert error.details == details


async def test_the_status_carries_error_info_for_clients_in_any_language() -> None:
    async with text_service(raising(errors.InvalidText("Empty.", field="text"))) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.AnalyzeText(REQUEST)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert raised.value.details() == "Empty."
    status = rpc_status.from_call(raised.value)  # type: ignore[arg-type]
    assert status
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain) == ("INVALID_TEXT", errors.DOMAIN)
    assert dict(info.metadata) == {"field": "text"}


async def test_a_long_message_arrives_as_the_error_it_is() -> None:
    long = dict.fromkeys(("field", "reason", "suggestion", "limit"), "😀" * 100000)
    error = await caught(errors.InvalidText("😀" * 100_000, **long))
    assert type(error) is errors.InvalidText
    assert error.message.startswith("😀" * 100)
    assert error.details.keys() == long.keys()
    assert all(detail.startswith("😀" * 50) for detail in error.details.values())


async def test_half_a_character_in_a_message_does_not_hide_the_error() -> None:
    error = await caught(errors.InvalidText("What is \ud83d?", suggestion="\udc00"))
    assert type(error) is errors.InvalidText
    assert error.message == "What is ??"


async def test_what_a_service_did_not_foresee_is_internal_and_tells_nothing() -> None:
    error = await caught(ZeroDivisionError("secret of the house"))
    assert type(error) is errors.Internal
    assert "secret" not in error.message + str(error.details)


async def test_not_implemented_is_not_built() -> None:
    error = await caught(NotImplementedError())
    assert type(error) is errors.NotBuilt
    assert "/affectmesh.v1.TextService/AnalyzeText" in error.message


async def test_a_method_left_out_of_a_servicer_is_not_built() -> None:
    async with text_service(raising(ZeroDivisionError())) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.AnalyzeTextBatch(text_pb2.AnalyzeTextBatchRequest())
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
    error = errors.from_rpc(raised.value, "text")
    assert type(error) is errors.NotBuilt
    assert "AnalyzeTextBatch" in error.message


async def test_the_service_goes_on_after_errors() -> None:
    async def behave(request: text_pb2.AnalyzeTextRequest) -> text_pb2.AnalyzeTextResponse:
        if request.text == "crash":
            raise ZeroDivisionError
        return text_pb2.AnalyzeTextResponse(text_length=len(request.text))

    async with text_service(behave) as stub:
        outcomes = await asyncio.gather(
            *(
                call("text", stub.AnalyzeText, text_pb2.AnalyzeTextRequest(text=text), 60)
                for text in ("crash", "hello", "crash", "yes")
            ),
            return_exceptions=True,
        )
    assert [getattr(outcome, "text_length", None) for outcome in outcomes] == [None, 5, None, 3]


async def test_a_service_that_is_gone_is_unavailable() -> None:
    channels = Channels(Settings(addresses={"text": "127.0.0.1:1"}))
    stub = channels.stub("text", text_pb2_grpc.TextServiceStub)
    with pytest.raises(errors.Unavailable, match="text") as raised:
        await call("text", stub.AnalyzeText, REQUEST, 60)
    assert raised.value.retriable
    assert int(raised.value.details["retry_after"])
    await channels.close()


async def test_a_service_that_is_too_slow_exceeds_the_deadline() -> None:
    async def sleep(request: Any) -> Any:
        await asyncio.sleep(60)

    async with text_service(sleep) as stub:
        with pytest.raises(errors.DeadlineExceeded, match="text"):
            await call("text", stub.AnalyzeText, REQUEST, 0.05)


async def test_a_service_without_the_method_has_it_not_built() -> None:
    async def add_nothing(server: grpc.aio.Server) -> None:
        pass

    async with serving(add_nothing) as address:
        channels = Channels(Settings(addresses={"text": address}))
        stub = channels.stub("text", text_pb2_grpc.TextServiceStub)
        with pytest.raises(errors.NotBuilt):
            await call("text", stub.AnalyzeText, REQUEST, 60)
        await channels.close()


async def test_the_request_id_travels_with_a_call() -> None:
    seen: list[str] = []

    async def note(request: Any) -> text_pb2.AnalyzeTextResponse:
        seen.append(telemetry.request_id.get())
        return text_pb2.AnalyzeTextResponse()

    async with text_service(note) as stub:
        token = telemetry.request_id.set("req_of_the_caller")
        await call("text", stub.AnalyzeText, REQUEST, 60)
        telemetry.request_id.reset(token)
        await stub.AnalyzeText(REQUEST)
    assert seen[0] == "req_of_the_caller"
    assert seen[1].startswith("req_")
    assert seen[1] != seen[0]


@pytest.mark.parametrize("given", ["", "x" * 100, "req one"])
async def test_a_senseless_request_id_is_replaced(given: str) -> None:
    seen: list[str] = []

    async def note(request: Any) -> text_pb2.AnalyzeTextResponse:
        seen.append(telemetry.request_id.get())
        return text_pb2.AnalyzeTextResponse()

    async with text_service(note) as stub:
        await stub.AnalyzeText(REQUEST, metadata=((telemetry.REQUEST_ID_KEY, given),))
    assert seen[0].startswith("req_")
