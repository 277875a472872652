"""Mentions of the same thing are one aspect; product nouns are entities."""

import numpy as np
import pytest

from services.text.aspects import Mention, gather, key
from services.text.entities import Entity, with_products


def mention(text: str, start: int, polarity: tuple[float, float, float]) -> Mention:
    return Mention(text, start, start + len(text), np.array(polarity, np.float32))


GOOD, BAD = (0.0, 0.1, 0.9), (0.8, 0.2, 0.0)


@pytest.mark.parametrize(
    ("one", "other"),
    [("product", "purchase"), ("Waiter", "waitresses"), ("movies", "film"), ("dish", "FOOD")],
)
def test_words_for_the_same_thing_share_a_key(one: str, other: str) -> None:
    assert key(one) == key(other)


@pytest.mark.parametrize("word", ["glass", "bus", "analysis"])
def test_an_s_that_belongs_to_the_word_stays(word: str) -> None:
    assert key(word) == word


def test_mentions_are_gathered_in_order_with_their_mean() -> None:
    found = gather(
        [mention("purchase", 0, GOOD), mention("staff", 20, BAD), mention("product", 40, BAD)]
    )
    assert [a.name for a in found] == ["product", "staff"]
    assert [m.text for m in found[0].mentions] == ["purchase", "product"]
    assert found[0].sentiment == pytest.approx(0.05, abs=1e-6)
    assert found[1].sentiment == pytest.approx(-0.8)
    assert found[1].confidence == pytest.approx(0.8)


def test_a_product_noun_becomes_an_entity_once() -> None:
    found = with_products([], [mention("phone", 4, GOOD), mention("phone", 30, GOOD)])
    assert [(e.text, e.type, e.start, e.end) for e in found] == [("phone", "PRODUCT", 4, 9)]
    assert found[0].sentiment == pytest.approx(0.9)


def test_a_noun_inside_a_named_entity_is_not_named_again() -> None:
    named = Entity("Amazon Kindle app", "PRODUCT", 0, 17, 0.0, 0.9)
    assert with_products([named], [mention("app", 14, GOOD)]) == [named]


def test_other_aspects_are_no_entities() -> None:
    assert with_products([], [mention("service", 0, BAD)]) == []
