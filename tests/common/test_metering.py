"""Calls that come from the edge are put in the journal by the service that answers them."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import orjson
import pytest

from affectmesh.v1 import voice_pb2, voice_pb2_grpc
from services.billing.journal import Journal
from services.common import caller, metering
from services.common.channels import OPTIONS, Channels
from services.common.metering import Meter, MeterInterceptor
from services.common.settings import Settings
from tests.common.serving import serving
from tests.gateway.streams import Script, until

ITEM = "analyze.voice.stream"
CALLER = caller.Caller(7, "key_seven", "pro", consent_reference="consent-7")
LARGE = "x" * 1_000_000


def metadata(entry_id: str) -> tuple[tuple[str, str], ...]:
    """What the edge gives a call on its way."""
    meter = Meter(ITEM, entry_id, by_minute=True)
    return ((caller.KEY, CALLER.encode()), (metering.KEY, meter.encode()))


def answer(request: voice_pb2.StreamVoiceRequest) -> Iterator[voice_pb2.StreamVoiceResponse]:
    """A small answer, then more than a client that does not read takes."""
    partial = voice_pb2.StreamVoicePartial(timestamp_ms=1)
    yield voice_pb2.StreamVoiceResponse(partial=partial)
    while request.audio:
        yield voice_pb2.StreamVoiceResponse(
            partial=voice_pb2.StreamVoicePartial(timestamp_ms=2, transcript=LARGE)
        )


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    """A journal whose ledger is gone."""
    channels = Channels(Settings(addresses={"billing": "127.0.0.1:9"}))
    journal = Journal(tmp_path, channels)
    yield journal
    await journal.close()
    await channels.close()


def entries(folder: Path) -> list[tuple[Any, ...]]:
    """Id, organisation, principal, item and consent of what is in the journal."""
    lines = [line for path in folder.glob("*.journal") for line in path.read_bytes().splitlines()]
    found = [orjson.loads(line) for line in lines]
    return sorted((one[0], one[1], one[2], one[3], one[7]) for one in found)


@asynccontextmanager
async def stream(
    journal: Journal, script: Script, entry_id: str
) -> AsyncIterator[grpc.aio.StreamStreamCall[Any, Any]]:
    """A metered stream."""
    interceptor = MeterInterceptor(lambda: journal)
    async with (
        serving(script.add_voice, interceptor) as address,
        grpc.aio.insecure_channel(address, OPTIONS) as channel,
    ):
        stub: Any = voice_pb2_grpc.VoiceServiceStub(channel)
        yield stub.StreamVoice(metadata=metadata(entry_id))


async def test_a_stream_is_metered_when_it_ends(journal: Journal, tmp_path: Path) -> None:
    async with stream(journal, Script(answer), "r1") as call:
        await call.write(voice_pb2.StreamVoiceRequest())
        await call.done_writing()
        assert len([one async for one in call]) == 1
    assert entries(tmp_path) == [("r1", 7, "key_seven", ITEM, "consent-7")]


async def test_a_stream_without_an_answer_is_not_metered(journal: Journal, tmp_path: Path) -> None:
    async with stream(journal, Script(answer), "r1") as call:
        await call.done_writing()
        assert [one async for one in call] == []
    assert entries(tmp_path) == []


async def test_a_stream_that_its_client_leaves_is_metered_for_its_own_caller(
    journal: Journal, tmp_path: Path
) -> None:
    script = Script(answer)
    async with stream(journal, script, "r1") as call:
        await call.write(voice_pb2.StreamVoiceRequest())
        await call.read()
        call.cancel()
        await until(lambda: script.open == 0)
    assert entries(tmp_path) == [("r1", 7, "key_seven", ITEM, "consent-7")]


async def test_a_stream_that_is_left_while_an_answer_is_on_its_way_is_metered(
    journal: Journal, tmp_path: Path
) -> None:
    script = Script(answer)
    async with stream(journal, script, "r1") as call:
        await call.write(voice_pb2.StreamVoiceRequest(audio=b"\0\0"))
        await call.read()
        await asyncio.sleep(0.5)
        call.cancel()
        await until(lambda: script.open == 0)
    assert entries(tmp_path) == [("r1", 7, "key_seven", ITEM, "consent-7")]


def test_what_is_no_meter_is_none() -> None:
    for text in ("", "item=x", "entry_id=1"):
        assert metering.decode(text) is None
    meter = Meter(ITEM, "r 1&", True)
    assert metering.decode(meter.encode()) == meter
