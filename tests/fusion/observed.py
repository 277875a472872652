"""Observations for the tests of what is made of them."""

from hypothesis import strategies as st

from services.fusion.analyze import Opinion
from services.fusion.observations import Observations, Saying, Sighting, Word
from services.fusion.vocabulary import KNOWN

NEUTRAL = {"neutral": 0.9, "happiness": 0.1}
VALENCES = {"happiness": 0.8, "neutral": 0.0, "sadness": -0.6, "anger": -0.5}

probability = st.floats(0, 1)
dimension = st.one_of(st.none(), st.floats(-1, 1))
angle = st.floats(-90, 90)


def opinion(modality: str, label: str, confidence: float = 0.9, quality: float = 1.0) -> Opinion:
    """A modality sure of one emotion, with the valence that belongs to it."""
    return Opinion(
        modality,
        {label: confidence, "neutral": 1 - confidence} if label != "neutral" else {label: 1.0},
        valence=VALENCES[label],
        arousal=0.0,
        quality=quality,
    )


def sighting(
    time_ms: int,
    label: str = "neutral",
    head: tuple[float, float, float] = (0, 0, 0),
    eyes: tuple[float, float] = (0, 0),
    closed: float | None = 0.0,
    quality: float = 1.0,
) -> Sighting:
    return Sighting(time_ms, opinion("face", label, quality=quality), head, eyes, closed)


def saying(start_ms: int, end_ms: int, voice: str = "neutral", words: str | None = None) -> Saying:
    said = opinion("text", words) if words else None
    return Saying(start_ms, end_ms, "words", opinion("voice", voice), said)


def even_words(start_ms: int, end_ms: int, every_ms: int = 400) -> list[Word]:
    """Words of three quarters of `every_ms`, one after another."""
    return [Word(at, at + every_ms * 3 // 4) for at in range(start_ms, end_ms, every_ms)]


@st.composite
def _opinions(draw: st.DrawFn, modality: str) -> Opinion:
    return Opinion(
        modality,
        draw(st.dictionaries(st.sampled_from(sorted(KNOWN[modality])), probability, max_size=5)),
        valence=draw(dimension),
        arousal=draw(dimension),
        quality=draw(probability),
    )


@st.composite
def observations(draw: st.DrawFn) -> Observations:
    """Anything a recording of up to a minute may hold."""
    duration_ms = draw(st.integers(1, 60_000))
    time = st.integers(0, duration_ms)
    times = sorted(draw(st.lists(time, max_size=40, unique=True)))
    sightings = [
        Sighting(
            at,
            draw(_opinions("face")),
            (draw(angle), draw(angle), draw(angle)),
            (draw(angle), draw(angle)),
            draw(st.one_of(st.none(), probability)),
        )
        for at in times
    ]
    edges = sorted(draw(st.lists(time, max_size=16, unique=True)))
    sayings = [
        Saying(
            start,
            end,
            "words",
            draw(_opinions("voice")),
            draw(st.one_of(st.none(), _opinions("text"))),
        )
        for start, end in zip(edges[::2], edges[1::2], strict=False)
    ]
    spoken = sorted(draw(st.lists(time, max_size=40)))
    words = [Word(start, end) for start, end in zip(spoken[::2], spoken[1::2], strict=False)]
    interval_ms = draw(st.floats(20, 1000))
    return Observations(duration_ms, interval_ms if times else None, sightings, sayings, words)
