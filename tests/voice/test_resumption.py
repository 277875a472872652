"""Streams whose client goes: what is kept, what goes on, and what ends."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import numpy as np
import pytest

from services.common import errors
from services.voice.analyze import VoiceAnalyzer
from services.voice.sessions import Limits
from tests.voice.recordings import Floats, encoded, silence, speech
from tests.voice.streams import (
    CLOSE,
    Live,
    Request,
    Response,
    Segment,
    audio,
    config,
    finals,
    living,
    pcm,
    problems,
)


def talk() -> Floats:
    parts = (silence(0.5), speech("0880"), silence(1), speech("0930"), silence(0.8))
    return np.concatenate(parts)


@pytest.fixture(scope="module")
async def live(analyzer: VoiceAnalyzer) -> AsyncIterator[Live]:
    async with living(analyzer, Limits(kept=2, open=4), clock=lambda: 0.0) as found:
        yield found


async def broken_off(live: Live, requests: list[Request], read: int) -> list[Response]:
    """What a client got that sent these, all of them heard, read some answers and was gone."""
    call = live.stub.StreamVoice()
    for request in requests:
        await call.write(request)
    received = []
    for _ in range(read):
        answer = await call.read()
        assert isinstance(answer, Response)
        received.append(answer)
    await live.hears(requests)
    call.cancel()
    return received


async def test_a_client_that_goes_leaves_nothing_running(live: Live) -> None:
    await broken_off(live, [config(), *audio(pcm(talk()))], read=2)
    await live.empties()


async def test_a_broken_connection_leaves_nothing_running(live: Live) -> None:
    channel = grpc.aio.insecure_channel(live.address)
    call = type(live.stub)(channel).StreamVoice()
    await call.write(config())
    await call.write(Request(audio=pcm(talk())))
    await call.read()
    await channel.close()
    await live.empties()


@pytest.mark.parametrize("cut", [3, 20, 50, 70])
async def test_a_dropped_stream_goes_on_as_if_it_had_not(live: Live, cut: int) -> None:
    chunks = audio(pcm(talk()))
    whole = await live.answers(config(), *chunks, CLOSE)
    first = config(stream_id=f"dropped at {cut}")
    call = live.stub.StreamVoice()
    before: list[Response] = []

    async def read() -> None:
        while isinstance(answer := await call.read(), Response):
            before.append(answer)

    reading = asyncio.create_task(read())
    sent = [first, *chunks[:cut]]
    for request in sent:
        await call.write(request)
    async with asyncio.timeout(60):
        while not before:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await live.hears(sent)
    call.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    after = await live.answers(first, *chunks[cut:], CLOSE)
    assert after[0].ready.received_ms == pytest.approx(cut * 100, abs=1)
    together = {segment.start_ms: segment for segment in (*finals(before), *finals(after))}
    assert list(together.values()) == finals(whole)
    assert after[-1].summary == whole[-1].summary
    await live.empties()


async def test_utterances_sent_just_before_the_drop_are_sent_again(live: Live) -> None:
    first = config(stream_id="repeated")
    call = live.stub.StreamVoice()
    await call.write(first)
    await call.write(Request(audio=pcm(talk())))
    heard: list[Segment] = []
    while not heard:
        answer = await call.read()
        assert isinstance(answer, Response)
        heard = finals([answer])
    call.cancel()
    await live.leaves()
    after = await live.answers(first, CLOSE)
    assert finals(after)[0] == heard[0]
    assert len(finals(after)) == 2


async def test_a_stream_that_closed_before_the_drop_gives_the_rest(live: Live) -> None:
    first = config(stream_id="closed")
    chunks = audio(encoded(talk(), "RAW", "PCM_16", 8000))
    slow = config(stream_id="closed", rate_hz=8000)
    whole = await live.answers(config(rate_hz=8000), *chunks, CLOSE)
    await broken_off(live, [slow, *chunks, CLOSE], read=1)
    rest = await live.answers(slow, *chunks, CLOSE)
    assert finals(rest) == finals(whole)
    assert rest[-1].summary == whole[-1].summary
    await live.empties()
    assert (await live.answers(first, CLOSE))[-1].summary.duration_ms == 0


async def test_a_resumed_stream_keeps_its_configuration(live: Live) -> None:
    await broken_off(live, [config(stream_id="same"), *audio(pcm(talk()))], read=1)
    error = await live.refusal(config(stream_id="same", rate_hz=8000))
    assert isinstance(error, errors.InvalidRequest)
    assert error.details["field"] == "config.stream_id"
    assert (await live.answers(config(stream_id="same"), CLOSE))[-1].HasField("summary")
    await live.empties()


async def test_a_new_connection_takes_a_stream_over(live: Live) -> None:
    first = config(stream_id="taken over")
    old = live.stub.StreamVoice()
    await old.write(first)
    await old.write(Request(audio=pcm(talk())))
    received = await live.answers(first, CLOSE)
    assert len(finals(received)) == 2
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        [answer async for answer in old]
    assert isinstance(errors.from_rpc(caught.value, "voice"), errors.Conflict)
    await live.empties()


async def test_a_finished_stream_is_not_resumed(live: Live) -> None:
    first = config(stream_id="finished")
    await live.answers(first, *audio(pcm(talk())), CLOSE)
    again = await live.answers(first, CLOSE)
    assert again[-1].summary.duration_ms == 0


async def test_a_dropped_stream_is_kept_for_a_while_only(analyzer: VoiceAnalyzer) -> None:
    async with living(analyzer, Limits(kept_s=0.2)) as live:
        first = config(stream_id="forgotten")
        await broken_off(live, [first, *audio(pcm(talk()))], read=1)
        await live.empties()
        assert (await live.answers(first, CLOSE))[-1].summary.duration_ms == 0


async def test_few_dropped_streams_are_kept_and_the_oldest_goes_first(live: Live) -> None:
    for name in ("a", "b", "c"):
        await broken_off(live, [config(stream_id=name), *audio(pcm(talk()))], read=1)
        await live.leaves()
    assert live.sessions.running == 2
    lasted = [
        (await live.answers(config(stream_id=name), CLOSE))[-1].summary.duration_ms
        for name in ("a", "b", "c")
    ]
    assert lasted[0] == 0
    assert lasted[1] == lasted[2] == round(talk().size / 16)
    await live.empties()


async def test_too_many_streams_are_refused(live: Live) -> None:
    calls = [live.stub.StreamVoice() for _ in range(4)]
    for call in calls:
        await call.write(config())
        await call.write(Request(audio=pcm(talk())))
        await call.read()
    error = await live.refusal(config())
    assert isinstance(error, errors.RateLimited)
    assert error.details["retry_after"]
    for call in calls:
        call.cancel()
    await live.empties()


async def test_a_silent_client_is_told_and_its_stream_closed(analyzer: VoiceAnalyzer) -> None:
    async with living(analyzer, Limits(idle_s=2)) as live:
        call = live.stub.StreamVoice()
        await call.write(config())
        await call.write(Request(audio=pcm(talk())))
        received = [answer async for answer in call]
        await live.empties()
    assert problems(received) == [("STREAM_LIMIT", False)]
    assert received[-1].HasField("summary")
    assert len(finals(received)) == 2


async def test_a_client_without_config_is_told(analyzer: VoiceAnalyzer) -> None:
    async with living(analyzer, Limits(idle_s=0.2)) as live:
        call = live.stub.StreamVoice()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
    assert isinstance(errors.from_rpc(caught.value, "voice"), errors.DeadlineExceeded)


async def test_a_stream_has_a_longest_length(analyzer: VoiceAnalyzer) -> None:
    async with living(analyzer, Limits(length_s=4)) as live:
        received = await live.answers(config(), *audio(pcm(talk())))
    assert problems(received) == [("STREAM_LIMIT", False)]
    assert received[-1].summary.duration_ms == pytest.approx(4000, abs=100)
