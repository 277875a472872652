from hypothesis import given
from hypothesis import strategies as st

from services.text.model import BUCKETS, _runs

TOKENS = 256


@given(st.lists(st.integers(3, BUCKETS[-1]), max_size=200))
def test_every_input_runs_once_in_a_run_that_holds_it(lengths: list[int]) -> None:
    runs = list(_runs(lengths, TOKENS))
    assert sorted(i for _, part in runs for i in part) == list(range(len(lengths)))
    for length, part in runs:
        assert length >= max(lengths[i] for i in part)
        assert length * len(part) <= TOKENS


@given(st.lists(st.integers(3, BUCKETS[-1]), min_size=1, max_size=200))
def test_padding_stays_within_a_bucket(lengths: list[int]) -> None:
    for length, part in _runs(lengths, TOKENS):
        bucket = next(size for size in BUCKETS if size >= length)
        assert all(next(b for b in BUCKETS if b >= lengths[i]) == bucket for i in part)


def test_a_full_run_is_as_long_as_its_longest_and_one_with_room_as_a_bucket() -> None:
    assert [(length, len(part)) for length, part in _runs([22] * 14, TOKENS)] == [(22, 11), (24, 3)]


def test_an_input_with_more_tokens_than_a_run_runs_alone() -> None:
    assert [part for _, part in _runs([40, 40], 32)] == [[0], [1]]
