"""The mathematics of fusion: what must hold for every input, and cases worked by hand."""

import math
from collections.abc import Mapping
from dataclasses import replace
from random import Random
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.labels import LABELS
from services.fusion.analyze import (
    LOW_QUALITY,
    TEMPERATURE,
    Fusion,
    Method,
    Opinion,
    distribution,
    entropy,
    fuse,
)
from services.fusion.vocabulary import KNOWN
from services.fusion.weights import MODALITIES

METHODS: tuple[Method, ...] = get_args(Method)
EQUAL = dict.fromkeys(MODALITIES, 1.0)

probability = st.floats(0, 1)
dimension = st.one_of(st.none(), st.floats(-1, 1))
method = st.sampled_from(METHODS)


@st.composite
def opinion(draw: st.DrawFn, modality: str) -> Opinion:
    if modality == "biosignal":
        confidence = draw(probability)
        return Opinion(
            modality, {}, arousal=draw(dimension), quality=confidence, confidence=confidence
        )
    labels = sorted(KNOWN[modality]) + (["frustration"] if modality == "text" else [])
    emotions = draw(st.dictionaries(st.sampled_from(labels), probability))
    return Opinion(
        modality,
        emotions,
        derived=frozenset(emotions) & {"frustration"},
        valence=draw(dimension),
        arousal=draw(dimension),
        dominance=draw(dimension),
        quality=draw(probability),
    )


@st.composite
def panel(draw: st.DrawFn) -> list[Opinion]:
    names = draw(st.lists(st.sampled_from(MODALITIES), min_size=1, unique=True))
    return [draw(opinion(name)) for name in names]


@st.composite
def weighed(draw: st.DrawFn) -> tuple[list[Opinion], dict[str, float]]:
    opinions = draw(panel())
    weight = st.one_of(st.just(0.0), st.floats(1e-6, 1e6))
    weights = {one.modality: draw(weight) for one in opinions}
    if not any(weights.values()):
        weights[opinions[0].modality] = 1.0
    return opinions, weights


def same(one: Fusion, other: Fusion) -> None:
    assert other.emotions == pytest.approx(one.emotions, abs=1e-9)
    for name in ("valence", "arousal", "dominance", "entropy", "uncertainty", "agreement"):
        assert getattr(other, name) == pytest.approx(getattr(one, name), abs=1e-6), name
    assert other.weights == pytest.approx(one.weights, abs=1e-9)
    assert other.contributions == pytest.approx(one.contributions, abs=1e-6)


@given(weighed(), method)
def test_every_figure_is_within_its_range(
    case: tuple[list[Opinion], dict[str, float]], method: Method
) -> None:
    fusion = fuse(*case, method)
    assert all(0 <= p <= 1 for p in fusion.emotions.values())
    assert set(fusion.emotions) <= set(LABELS)
    for value in (fusion.valence, fusion.arousal, fusion.dominance):
        assert value is None or -1 <= value <= 1
    assert fusion.entropy is None or 0 <= fusion.entropy <= 1
    assert 0 <= fusion.uncertainty <= 1
    assert 0 <= fusion.agreement <= 1
    assert math.fsum(fusion.weights.values()) == pytest.approx(1)
    assert all(weight >= 0 for weight in fusion.weights.values())
    assert not fusion.contributions or math.fsum(fusion.contributions.values()) == pytest.approx(1)


@given(weighed(), method, st.floats(1e-9, 1e9))
def test_only_the_proportions_of_weights_count(
    case: tuple[list[Opinion], dict[str, float]], method: Method, scale: float
) -> None:
    opinions, weights = case
    scaled = {name: weight * scale for name, weight in weights.items()}
    same(fuse(opinions, weights, method), fuse(opinions, scaled, method))


@given(weighed(), method, st.randoms())
def test_the_order_of_modalities_does_not_count(
    case: tuple[list[Opinion], dict[str, float]], method: Method, random: Random
) -> None:
    opinions, weights = case
    shuffled = list(opinions)
    random.shuffle(shuffled)
    assert fuse(shuffled, weights, method) == fuse(opinions, weights, method)


@given(st.sampled_from(MODALITIES).flatmap(opinion), method)
def test_one_modality_comes_back_as_it_is(one: Opinion, method: Method) -> None:
    fusion = fuse([one], EQUAL, method)
    assert fusion.emotions == one.emotions
    assert fusion.derived == one.derived
    assert (fusion.valence, fusion.arousal, fusion.dominance) == pytest.approx(
        (one.valence, one.arousal, one.dominance), abs=1e-12
    )
    assert fusion.agreement == 1
    assert fusion.weights == {one.modality: 1}


@given(panel(), st.sampled_from(MODALITIES).flatmap(opinion), method)
def test_a_modality_of_weight_0_changes_nothing(
    opinions: list[Opinion], ignored: Opinion, method: Method
) -> None:
    others = [one for one in opinions if one.modality != ignored.modality]
    if others:
        weights = {**EQUAL, ignored.modality: 0.0}
        alone, together = (fuse(case, weights, method) for case in (others, [*others, ignored]))
        assert together.weights[ignored.modality] == 0
        assert together.contributions.get(ignored.modality, 0) == 0
        same(
            replace(alone, weights=together.weights, contributions=together.contributions),
            together,
        )


@given(st.floats(0, 1), st.sampled_from(["weighted_average", "bayesian"]))
def test_confidence_in_a_label_rises_with_a_modality_that_is_surer_of_it(
    confidence: float, method: Method
) -> None:
    def fused(anger: float) -> float:
        face = Opinion("face", {"anger": anger, "neutral": 1 - anger})
        text = Opinion("text", {"anger": 0.4, "neutral": 0.6})
        return fuse([face, text], {"face": 0.5, "text": 0.5}, method).emotions["anger"]

    assert fused(confidence) <= fused(min(1.0, confidence + 0.1)) + 1e-9


@given(st.dictionaries(st.sampled_from(LABELS), probability, min_size=1))
def test_a_distribution_sums_to_1(confidences: Mapping[str, float]) -> None:
    shares = distribution(np.array(list(confidences.values())))
    assert shares.sum() == pytest.approx(1)
    assert (shares >= 0).all()
    assert 0 <= entropy(shares) <= 1


FACE = Opinion("face", {"happiness": 0.85, "neutral": 0.15}, valence=0.72, arousal=0.48)
VOICE = Opinion("voice", {"happiness": 0.82, "neutral": 0.18}, valence=0.78, arousal=0.55)
TEXT = Opinion("text", {"happiness": 0.90, "neutral": 0.10}, valence=0.80, arousal=0.60)
DOCUMENT = {"face": 0.5, "voice": 0.3, "text": 0.2}


def test_the_weighted_average_of_the_documents_sample_is_what_its_weights_give() -> None:
    fusion = fuse([FACE, VOICE, TEXT], DOCUMENT, "weighted_average")
    assert fusion.emotions["happiness"] == pytest.approx(0.5 * 0.85 + 0.3 * 0.82 + 0.2 * 0.90)
    assert fusion.valence == pytest.approx(0.754)
    assert fusion.arousal == pytest.approx(0.525)
    assert fusion.weights == pytest.approx(DOCUMENT)
    assert fusion.contributions == pytest.approx(
        {"face": 0.425 / 0.851, "voice": 0.246 / 0.851, "text": 0.18 / 0.851}
    )


def test_modalities_that_say_the_same_agree_fully() -> None:
    twins = [Opinion(name, {"fear": 1.0}, valence=-0.5, arousal=0.5) for name in ("face", "text")]
    fusion = fuse(twins, EQUAL, "weighted_average")
    assert fusion.agreement == pytest.approx(1)
    assert fusion.uncertainty == pytest.approx(0)


def test_opposite_modalities_do_not_agree_at_all() -> None:
    happy = Opinion("face", {"happiness": 1.0}, valence=1, arousal=1)
    sad = Opinion("text", {"sadness": 1.0}, valence=-1, arousal=-1)
    fusion = fuse([happy, sad], EQUAL, "weighted_average")
    assert fusion.agreement == pytest.approx(0)
    assert fusion.uncertainty == 1


def test_agreement_by_hand() -> None:
    face = Opinion("face", {"anger": 1.0}, valence=0.0, arousal=0.0)
    text = Opinion("text", {"anger": 0.5, "fear": 0.5}, valence=0.6, arousal=0.8)
    divergence = (math.log2(1 / 0.75) + 0.5 * math.log2(0.5 / 0.75) + 0.5 * math.log2(2)) / 2
    apart = (math.sqrt(divergence) + math.sqrt((0.3**2 + 0.4**2) / 2)) / 2
    assert fuse([face, text], EQUAL, "weighted_average").agreement == pytest.approx(1 - apart)


def test_a_finer_label_agrees_with_its_family() -> None:
    face = Opinion("face", {"happiness": 0.9, "neutral": 0.1})
    text = Opinion("text", {"gratitude": 0.9, "neutral": 0.1})
    fusion = fuse([face, text], EQUAL, "weighted_average")
    assert fusion.emotions["happiness"] == pytest.approx(0.9)
    assert "gratitude" not in fusion.emotions
    assert fusion.agreement == pytest.approx(1)


def test_a_family_is_not_counted_twice_beside_its_finer_labels() -> None:
    text = Opinion("text", {"happiness": 0.8, "gratitude": 0.6, "love": 0.5, "neutral": 0.2})
    face = Opinion("face", {"neutral": 1.0})
    fusion = fuse([text, face], EQUAL, "weighted_average")
    assert fusion.emotions["happiness"] == pytest.approx(0.8 / 2)


def test_a_derived_label_is_no_second_evidence() -> None:
    face = Opinion("face", {"anger": 0.5, "neutral": 0.5})
    plain = Opinion("text", {"annoyance": 0.5})
    twice = replace(
        plain, emotions={"annoyance": 0.5, "frustration": 0.5}, derived=frozenset({"frustration"})
    )
    once, again = (fuse([face, text], EQUAL, "weighted_average") for text in (plain, twice))
    same(once, again)


def test_a_modality_follows_the_others_on_a_label_it_cannot_emit() -> None:
    face = Opinion("face", {"surprise": 0.9, "neutral": 0.1})
    unsure = Opinion("voice", {"fear": 0.3})
    fusion = fuse([face, unsure], {"face": 0.6, "voice": 0.4}, "weighted_average")
    assert fusion.emotions["surprise"] == pytest.approx(0.6 * 0.9 + 0.4 * 0.7)


def test_a_modality_that_is_sure_does_not_follow_the_others() -> None:
    face = Opinion("face", {"surprise": 0.9, "neutral": 0.1})
    sure = Opinion("voice", {"sadness": 0.95})
    fusion = fuse([face, sure], {"face": 0.1, "voice": 0.9}, "weighted_average")
    assert fusion.emotions["surprise"] == pytest.approx(0.1 * 0.9 + 0.9 * 0.05)
    assert max(fusion.emotions, key=lambda label: fusion.emotions[label]) == "sadness"


def test_confidence_weighting_prefers_the_surer_modality() -> None:
    face = Opinion("face", {"happiness": 0.9, "neutral": 0.1}, valence=0.8, arousal=0.0)
    voice = Opinion("voice", {"sadness": 0.5, "neutral": 0.5}, valence=-0.4, arousal=0.0)
    fusion = fuse([face, voice], EQUAL, "confidence_weighted")
    surer, less_sure = 1 / (1 - 0.82), 1 / (1 - 0.5)
    assert fusion.weights["face"] == pytest.approx(surer / (surer + less_sure))
    assert fusion.valence == pytest.approx((0.8 * surer - 0.4 * less_sure) / (surer + less_sure))


def test_no_modality_is_taken_as_surer_than_calibration_allows() -> None:
    face = Opinion("face", {"happiness": 1.0})
    voice = Opinion("voice", {"sadness": 0.985, "neutral": 0.015})
    fusion = fuse([face, voice], EQUAL, "confidence_weighted")
    assert fusion.weights == pytest.approx({"face": 0.5, "voice": 0.5})


def test_modalities_that_agree_make_the_product_surer_than_each() -> None:
    fusion = fuse([FACE, VOICE, TEXT], DOCUMENT, "bayesian")
    assert fusion.emotions["happiness"] > 0.9
    assert math.fsum(fusion.emotions.values()) == pytest.approx(1)


def test_no_modality_can_veto_a_label_in_the_product() -> None:
    face = Opinion("face", {"anger": 0.0, "happiness": 1.0})
    others = [Opinion(name, {"anger": 0.97, "neutral": 0.03}) for name in ("voice", "text")]
    fusion = fuse([face, *others], EQUAL, "bayesian")
    assert max(fusion.emotions, key=lambda label: fusion.emotions[label]) == "anger"


def test_a_label_a_modality_cannot_emit_is_neither_helped_nor_hurt_by_it_in_the_product() -> None:
    face = Opinion("face", {"surprise": 0.9, "neutral": 0.1})
    blank = Opinion("voice", dict.fromkeys(KNOWN["voice"], 1 / 7))
    fused = fuse([face, blank], EQUAL, "bayesian").emotions
    power = (1 + (2 - 1) / TEMPERATURE) / 2
    odds = (0.97 * 0.9 * 8 + 0.03) / (0.97 * 0.1 * 8 + 0.03)
    assert fused["surprise"] / fused["neutral"] == pytest.approx(odds**power)


def test_a_modality_of_low_quality_loses_weight_in_proportion() -> None:
    poor = replace(FACE, quality=LOW_QUALITY / 4)
    fusion = fuse([poor, TEXT], {"face": 0.5, "text": 0.5}, "weighted_average")
    assert fusion.weights == pytest.approx({"face": 0.2, "text": 0.8})


def test_ordinary_quality_leaves_the_weights_as_given() -> None:
    fusion = fuse([replace(FACE, quality=LOW_QUALITY), TEXT], EQUAL, "weighted_average")
    assert fusion.weights == {"face": 0.5, "text": 0.5}


def test_a_lone_modality_of_no_quality_still_answers() -> None:
    fusion = fuse([replace(FACE, quality=0.0)], EQUAL, "weighted_average")
    assert fusion.emotions == FACE.emotions


def test_signals_of_the_body_move_arousal_only() -> None:
    body = Opinion("biosignal", {}, arousal=-0.6, quality=1.0, confidence=0.5)
    fusion = fuse([TEXT, body], {"text": 0.75, "biosignal": 0.25}, "weighted_average")
    assert fusion.emotions == TEXT.emotions
    assert fusion.valence == TEXT.valence
    assert fusion.arousal == pytest.approx(0.75 * 0.6 - 0.25 * 0.6)
    assert fusion.contributions == {"text": 1, "biosignal": 0}


def test_signals_of_the_body_alone_give_no_emotions() -> None:
    fusion = fuse(
        [Opinion("biosignal", {}, arousal=0.4, quality=1.0, confidence=0.3)], EQUAL, "bayesian"
    )
    assert not fusion.emotions
    assert fusion.entropy is None
    assert (fusion.valence, fusion.arousal) == (None, 0.4)
    assert fusion.uncertainty == pytest.approx(0.7)


def test_dimensions_are_derived_only_where_all_are() -> None:
    derived = replace(FACE, dimensions_derived=True)
    assert fuse([derived], EQUAL, "weighted_average").dimensions_derived
    assert not fuse([derived, TEXT], EQUAL, "weighted_average").dimensions_derived


def test_entropy_is_largest_where_nothing_is_known() -> None:
    assert entropy(np.full(8, 1 / 8)) == pytest.approx(1)
    assert entropy(np.eye(8)[0]) == 0
