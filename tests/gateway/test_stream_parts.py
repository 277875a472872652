"""Clocks, output rates, resumption and followers of live streams."""

import asyncio
from contextlib import ExitStack

import pytest

from services.common import errors
from services.gateway.streaming.clock import AudioClock, ImageClock, Moment, SentAudio, iso
from services.gateway.streaming.config import consent_reference
from services.gateway.streaming.following import (
    CAPACITY,
    MOST_FOLLOWERS,
    Audience,
    Follower,
    Message,
    Running,
)
from services.gateway.streaming.rates import Bucket, Rating, Throttle
from services.gateway.streaming.resumption import Resumption

AT = 1_766_140_215_123


def test_image_times_come_back_though_the_service_dropped_the_first() -> None:
    clock = ImageClock()
    assert clock.add(Moment(1, AT)) == 0
    assert clock.epoch_ms(0) == AT
    assert clock.add(Moment(2, AT + 40)) == 40
    assert clock.add(Moment(3, AT + 80)) == 80
    assert clock.of(2, 0).epoch_ms == AT + 40
    assert clock.epoch_ms(40) == AT + 80
    assert clock.of(3, 40).epoch_ms == AT + 80


def test_an_image_from_before_the_first_has_no_negative_time() -> None:
    clock = ImageClock()
    clock.add(Moment(1, AT))
    assert clock.add(Moment(2, AT - 500)) == 0


def test_audio_times_follow_the_chunks_over_a_gap() -> None:
    clock = AudioClock("LINEAR16", 16_000)
    clock.add(Moment(1, AT), 3200)
    clock.add(Moment(4, AT + 5000), 3200)
    assert clock.at(60) == (clock.at(100)[0], AT + 60)
    assert clock.at(100)[0].number == 1
    assert clock.at(100)[1] == AT + 100
    assert clock.at(150)[0].number == 4
    assert clock.at(150)[1] == AT + 5050
    assert clock.at(0)[1] == AT


def test_audio_of_unknown_length_goes_by_the_timestamps() -> None:
    clock = AudioClock("OGG_OPUS", 48_000)
    clock.add(Moment(1, AT), 99)
    clock.add(Moment(2, AT + 20), 140)
    assert clock.at(35) == (clock.at(40)[0], AT + 35)
    assert clock.at(35)[0].number == 2


def test_times_are_written_in_utc() -> None:
    assert iso(AT) == "2025-12-19T10:30:15.123Z"
    assert iso(0) == "1970-01-01T00:00:00.000Z"


def test_every_output_rate_lets_through_what_it_says() -> None:
    results = [(0, 0.9, False), (400, 0.4, False), (999, 0.8, True), (1000, 0.3, False)]

    def passed(rating: Rating) -> list[int]:
        return [at for at, sure, changed in results if rating.due(at, sure, changed)]

    assert passed(Rating("per_frame", 0.5)) == [0, 400, 999, 1000]
    assert passed(Rating("per_second", 0.5)) == [0, 1000]
    assert passed(Rating("on_change", 0.5)) == [0, 999]
    assert passed(Rating("threshold", 0.5)) == [0, 999]


def test_a_bucket_gives_a_burst_and_then_its_rate() -> None:
    bucket = Bucket(10)
    assert [bucket.take(0.0) for _ in range(12)] == [True] * 10 + [False] * 2
    assert bucket.take(0.1)
    assert not bucket.take(0.1)
    slow = Bucket(0.5)
    assert [slow.take(at) for at in (0.0, 1.0, 2.0)] == [True, False, True]


def test_a_throttle_tells_once_in_a_while_how_much() -> None:
    throttle = Throttle(1.0)
    assert [throttle.count(at) for at in (0.0, 0.1, 0.9, 1.0, 1.1)] == [1, 0, 0, 3, 0]
    assert throttle.count(2.5, 4) == 5


def test_a_dropped_stream_is_resumed_once_by_its_owner_in_time() -> None:
    now = 0.0
    resumption = Resumption(60, lambda: now)
    resumption.keep(7, "/v1/stream", "a", {"modalities": ["facial"]}, 12)
    assert resumption.take(8, "/v1/stream", "a") is None
    assert resumption.take(7, "/v1/analyze/voice/stream", "a") is None
    found = resumption.take(7, "/v1/stream", "a")
    assert found is not None
    assert found.frames == 12
    assert resumption.take(7, "/v1/stream", "a") is None
    resumption.keep(7, "/v1/stream", "b", {}, 1)
    now = 61.0
    assert resumption.take(7, "/v1/stream", "b") is None


def test_the_clock_of_resumed_audio_goes_on_where_the_service_is() -> None:
    before, after = AudioClock("LINEAR16", 16_000), AudioClock("LINEAR16", 16_000)
    for number in range(5):
        before.add(Moment(number + 1, AT + 100 * number), 3200)
    after.add(Moment(9, AT + 7000), 3200)
    after.go_on(before, 300)
    after.add(Moment(10, AT + 7100), 3200)
    assert [after.at(ms)[1] - AT for ms in (50, 250, 350, 450)] == [50, 250, 7050, 7150]
    assert [after.at(ms)[0].number for ms in (50, 250, 350, 450)] == [1, 3, 9, 10]


def test_sent_audio_is_counted_by_bytes_or_by_answers() -> None:
    bare, packed = SentAudio("MULAW", 8000), SentAudio("FLAC", 0)
    bare.begin_ms = packed.begin_ms = 500
    for sent in (bare, packed):
        sent.add(4000)
        sent.heard(700)
    assert (bare.ms, packed.ms) == (1000, 700)


def test_a_slow_follower_loses_the_oldest_and_is_told_how_many() -> None:
    audience = Audience()
    audience.tell("ready", b"{}")
    with audience.joined() as follower:
        for number in range(CAPACITY + 4):
            audience.tell("result", str(number).encode())
        audience.tell("ping", b"{}")
        audience.end()
        assert follower.dropped == 5
        told = asyncio.run(_all(follower))
    assert told == [("result", str(n).encode()) for n in range(4, CAPACITY + 4)]


async def _all(follower: Follower) -> list[Message | None]:
    return [message async for message in follower.messages(60)]


def test_streams_are_found_by_their_organisation_alone_while_they_run() -> None:
    running, audience = Running(), Audience()
    with running.listed(7, "a", audience):
        assert running.find(7, "a") is audience
        with pytest.raises(errors.NotFound):
            running.find(8, "a")
        newer = Audience()
        with running.listed(7, "a", newer):
            assert running.find(7, "a") is newer
    with pytest.raises(errors.NotFound):
        running.find(7, "a")


def test_a_stream_has_so_many_followers_at_most() -> None:
    audience = Audience()
    with ExitStack() as joined:
        for _ in range(MOST_FOLLOWERS):
            audience.refuse_crowd()
            joined.enter_context(audience.joined())
        with pytest.raises(errors.RateLimited):
            audience.refuse_crowd()
    audience.refuse_crowd()


def test_a_long_consent_token_is_kept_as_its_digest() -> None:
    assert consent_reference("consent-17") == "consent-17"
    assert consent_reference("e" * 500).startswith("sha256:")
    assert len(consent_reference("e" * 500)) == 71
