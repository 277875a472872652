"""Moments of a recording: what must hold for every input, and cases worked by hand."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.fusion.observations import Observations
from services.fusion.timeline import blend, breakdown, build
from tests.fusion.observed import observations, opinion, saying, sighting

hops = st.sampled_from([500, 1000])


@given(observations(), hops)
def test_moments_cover_the_recording_without_gaps(seen: Observations, hop_ms: int) -> None:
    line = build(seen, hop_ms)
    assert line[0].start_ms == 0
    assert line[-1].end_ms == seen.duration_ms
    assert all(one.end_ms == other.start_ms for one, other in pairwise(line))
    assert all(0 < one.end_ms - one.start_ms <= hop_ms for one in line)


@given(observations(), hops)
def test_every_moment_is_within_its_ranges(seen: Observations, hop_ms: int) -> None:
    for one in build(seen, hop_ms):
        assert (one.fusion is None) == (not one.opinions)
        assert (one.agreement is None) == (len(one.opinions) < 2)
        assert one.agreement is None or 0 <= one.agreement <= 1
        if one.fusion:
            assert all(0 <= p <= 1 for p in one.fusion.emotions.values())
            assert math.fsum(one.fusion.weights.values()) == pytest.approx(1)
        assert not one.shares or math.fsum(one.shares.values()) == pytest.approx(1)


@given(observations(), hops)
def test_the_breakdown_sums_to_1_or_is_empty(seen: Observations, hop_ms: int) -> None:
    line = build(seen, hop_ms)
    shares = breakdown(line)
    assert all(0 < share <= 1 for share in shares.values())
    if any(one.shares for one in line):
        assert math.fsum(shares.values()) == pytest.approx(1, abs=1e-9)
        assert list(shares.values()) == sorted(shares.values(), reverse=True)
    else:
        assert not shares


def test_a_modality_speaks_only_where_it_was_observed() -> None:
    seen = Observations(
        4000, 500, [sighting(1200), sighting(1700)], [saying(2000, 3600, words="neutral")]
    )
    assert [sorted(one.opinions) for one in build(seen, 1000)] == [
        [],
        ["face"],
        ["text", "voice"],
        ["text", "voice"],
    ]


def test_a_saying_that_fills_less_than_half_a_moment_does_not_speak_in_it() -> None:
    seen = Observations(2000, sayings=[saying(0, 1400)])
    assert [sorted(one.opinions) for one in build(seen, 1000)] == [["voice"], []]


def test_pictures_within_a_moment_are_averaged() -> None:
    seen = Observations(1000, 500, [sighting(0, "happiness"), sighting(500, "anger")])
    (moment,) = build(seen, 1000)
    assert moment.fusion is not None
    assert moment.fusion.emotions == pytest.approx(
        {"happiness": 0.45, "anger": 0.45, "neutral": 0.1}
    )
    assert moment.fusion.valence == pytest.approx(0.15)


def test_sayings_count_by_the_time_they_fill() -> None:
    long, short = opinion("voice", "happiness", 1.0), opinion("voice", "anger", 1.0)
    blended = blend("voice", [(long, 750.0), (short, 250.0)])
    assert blended.emotions == pytest.approx({"happiness": 0.75, "anger": 0.25, "neutral": 0.0})
    assert blended.valence == pytest.approx(0.75 * 0.8 - 0.25 * 0.5)


def test_default_weights_are_renormalised_over_those_that_speak() -> None:
    seen = Observations(1000, 500, [sighting(0, "happiness")], [saying(0, 1000, "sadness")])
    (moment,) = build(seen, 1000)
    assert moment.fusion is not None
    assert moment.fusion.weights == pytest.approx({"face": 0.75, "voice": 0.25})


def test_the_breakdown_counts_time() -> None:
    seen = Observations(
        3500,
        1000,
        [sighting(at, "happiness" if at < 2000 else "neutral") for at in (0, 1000, 3000)],
    )
    shares = breakdown(build(seen, 1000))
    assert shares == pytest.approx({"happiness": 0.72, "neutral": 0.28}, abs=1e-4)
