"""Endpoints found live are those found in the whole."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.voice.activity import FRAME, Span, speech_spans
from services.voice.endpointing import LONGEST_MS, Ended, Endpointer, Started

PATIENCE_MS = 500


def live(probabilities: list[float]) -> tuple[list[Started], list[Ended]]:
    endpointer = Endpointer(0, PATIENCE_MS)
    changes = [endpointer.step(p) for p in probabilities]
    changes.append(endpointer.finish(len(probabilities) * FRAME))
    return (
        [change for change in changes if isinstance(change, Started)],
        [change for change in changes if isinstance(change, Ended)],
    )


def runs() -> st.SearchStrategy[list[float]]:
    run = st.tuples(st.sampled_from([0.0, 0.3, 0.4, 0.6, 0.9]), st.integers(1, 40))
    return st.lists(run, min_size=1, max_size=20).map(
        lambda found: [0.0] * 17 + [p for p, length in found for _ in range(length)]
    )


@given(runs())
def test_utterances_are_those_of_the_whole(probabilities: list[float]) -> None:
    whole = speech_spans(
        np.array(probabilities, np.float32), len(probabilities) * FRAME, min_silence_ms=PATIENCE_MS
    )
    started, ended = live(probabilities)
    assert [Span(one.start, one.end) for one in ended] == whole
    assert [one.start for one in started] == [span.start for span in whole]


def test_long_speech_is_cut_and_goes_on_without_a_gap() -> None:
    started, ended = live([0.9] * 2500)
    assert len(started) == 1
    assert [one.cut for one in ended] == [True, True, False]
    edges = [edge for one in ended for edge in (one.start, one.end)]
    assert edges[1:-1:2] == edges[2::2]
    assert edges[0] == 0
    assert edges[-1] == 2500 * FRAME
    assert all(one.end - one.start <= LONGEST_MS * 16 for one in ended)


def test_what_lasts_less_than_250_ms_is_no_utterance() -> None:
    assert live([0.0] * 20 + [0.9] * 7 + [0.0] * 40) == ([], [])
