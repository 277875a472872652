"""Sentences made from templates: reviews, negations, intensifiers, contrasts and plain facts.

GoEmotions is small talk and MAMS is restaurants; these sentences carry the same affect into
products, services, films and plain statements, with the polarity known by construction. The parts
lie in phrases.tsv. Adjectives come from the English sentiment lexicon of De Smedt and Daelemans
(PDDL) inside the `textblob` package and single words from the VADER lexicon (MIT); both are read at
training time only.
"""

import importlib.util
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from models.training.text.corpora import FIRST_NAMES, Span

_PHRASES = Path(__file__).with_name("phrases.tsv")


def _table(kind: str) -> tuple[tuple[str, float], ...]:
    rows = [line.split("\t") for line in _PHRASES.read_text(encoding="utf-8").splitlines()]
    return tuple((text, float(value)) for name, text, value in rows if name == kind)


def _negations() -> tuple[tuple[str, float, float], ...]:
    rows = [line.split("\t") for line in _PHRASES.read_text(encoding="utf-8").splitlines()]
    changes = [(text, value.split("|")) for name, text, value in rows if name == "negation"]
    return tuple((text, float(good), float(bad)) for text, (good, bad) in changes)


def _list(kind: str) -> tuple[str, ...]:
    return tuple(text for text, _ in _table(kind))


LIKES, ENDINGS, WHOLE, COMMON = map(_table, ("like", "ending", "whole", "adjective"))
NEGATIONS = _negations()
NEUTRAL_ENDINGS, FACTS, PLAIN = map(_list, ("average", "fact", "plain"))
GOODS, SERVICES, FILMS = map(_list, ("goods", "service", "film"))
ORGS, MODELS, PLACES, DATES, MONEY = map(_list, ("brand", "model", "place", "date", "price"))


PLURAL = {"headphones", "shoes", "tyres", "characters", "staff"}
DEGREES = (
    ("", 1.0), ("", 1.0), ("very ", 1.15), ("really ", 1.15), ("so ", 1.15), ("extremely ", 1.3),
    ("absolutely ", 1.3), ("incredibly ", 1.3), ("pretty ", 0.8), ("quite ", 0.85), ("a bit ", 0.5),
    ("somewhat ", 0.5), ("rather ", 0.7), ("truly ", 1.2), ("totally ", 1.2), ("just ", 1.0),
)  # fmt: skip
BUYS = ("bought", "ordered", "got", "returned", "sold", "picked up")


@dataclass(frozen=True, slots=True)
class Made:
    """A made sentence: polarity in [-1, 1], subjectivity in [0, 1], spans as character ranges.

    entities is None when the sentence says nothing about entities.
    """

    text: str
    polarity: float
    subjectivity: float
    aspects: tuple[Span, ...]
    entities: tuple[Span, ...] | None = None


def _label(value: float) -> str:
    return "positive" if value > 0.15 else "negative" if value < -0.15 else "neutral"


class Templates:
    """Makes sentences; the same random state gives the same sentences."""

    def __init__(self) -> None:
        self.words = _vader_words()
        signs = dict(self.words)
        self.adjectives = [
            (word, value)
            for word, value in _adjectives()
            if abs(value) >= 0.3 and (word not in signs or signs[word] * value > 0)
        ]
        self.kinds: tuple[tuple[Callable[[random.Random], Made], float], ...] = (
            (self._short, 2.0),
            (self._state, 3.0),
            (self._negated, 2.5),
            (self._opinion, 2.5),
            (self._ending, 2.5),
            (self._film, 2.5),
            (self._superlative, 1.0),
            (self._average, 1.2),
            (self._fact, 1.5),
            (self._plain, 0.7),
            (self._whole, 2.5),
            (self._word, 2.5),
            (self._named, 2.5),
        )

    def make(self, rng: random.Random) -> Made:
        """One sentence, sometimes two or three joined or contrasted."""
        roll = rng.random()
        one = self._one(rng)
        if roll < 0.6 or not one.text[0].isalnum():
            return _noisy(one, rng)
        other = self._one(rng)
        if roll < 0.8:
            return _noisy(_join(one, other, " ", 0.5), rng)
        link = rng.choice((", but ", ", but ", " but ", "; however, ", ", although ", ", yet "))
        turn = 0.65 if link != ", although " else 0.4
        lower = Made(
            other.text[:1].lower() + other.text[1:]
            if not other.text.startswith("I")
            else other.text,
            other.polarity,
            other.subjectivity,
            other.aspects,
            other.entities,
        )
        head = Made(
            one.text.rstrip(".!"), one.polarity, one.subjectivity, one.aspects, one.entities
        )
        return _noisy(_join(head, lower, link, turn), rng)

    def _one(self, rng: random.Random) -> Made:
        kinds, weights = zip(*self.kinds, strict=True)
        made: Made = rng.choices(kinds, weights)[0](rng)
        return made

    def _adjective(self, rng: random.Random) -> tuple[str, float]:
        return rng.choice(COMMON) if rng.random() < 0.45 else rng.choice(self.adjectives)

    def _noun(self, rng: random.Random) -> str:
        return rng.choice(rng.choice((GOODS, SERVICES, FILMS)))

    def _subject(self, rng: random.Random) -> tuple[str, str, str]:
        """(words before the noun, noun, verb)."""
        noun = self._noun(rng)
        before = (
            rng.choice(("The ", "The ", "This ", "My ", "Their ", "Our "))
            if noun not in PLURAL
            else "The "
        )
        past = rng.random() < 0.5
        plural = noun in PLURAL and noun != "staff"
        return before, noun, ("were" if plural else "was") if past else ("are" if plural else "is")

    def _short(self, rng: random.Random) -> Made:
        word, value = self._adjective(rng)
        degree, factor = rng.choice(DEGREES)
        noun = self._noun(rng)
        head = (degree + word).capitalize() + " "
        return _with_aspect(head, noun, rng.choice(("!", ".", "", "!!")), value * factor)

    def _state(self, rng: random.Random) -> Made:
        before, noun, verb = self._subject(rng)
        word, value = self._adjective(rng)
        degree, factor = rng.choice(DEGREES)
        return _with_aspect(
            before, noun, f" {verb} {degree}{word}{rng.choice('..!')}", value * factor
        )

    def _negated(self, rng: random.Random) -> Made:
        before, noun, verb = self._subject(rng)
        word, value = self._adjective(rng)
        form, positive, negative = rng.choice(NEGATIONS)
        change = positive if value > 0 else negative
        clause = form.format(v=verb, a=word)
        return _with_aspect(before, noun, f" {clause}.", value * change)

    def _opinion(self, rng: random.Random) -> Made:
        verb, value = rng.choice(LIKES)
        noun = self._noun(rng)
        who, turn = rng.choice((("I ", 1.0), ("I ", 1.0), ("I ", 1.0), ("Honestly, I ", 1.0)))
        before = f"{who}{verb} {rng.choice(('the', 'this', 'my', 'their'))} "
        return _with_aspect(before, noun, rng.choice((".", "!", "", " so much.")), value * turn)

    def _ending(self, rng: random.Random) -> Made:
        before, noun, _ = self._subject(rng)
        ending, value = rng.choice(ENDINGS)
        return _with_aspect(before, noun, f" {ending}{rng.choice('..!')}", value)

    def _film(self, rng: random.Random) -> Made:
        noun = rng.choice(FILMS)
        first, value = self._adjective(rng)
        article = rng.choice(("a ", "A ", "An " if first[0] in "aeiou" else "A ", "this "))
        roll = rng.random()
        if roll < 0.4:
            second, other = self._adjective(rng)
            while other * value < 0:
                second, other = self._adjective(rng)
            return _with_aspect(
                f"{article}{first}, {second} ",
                noun,
                rng.choice((".", "", " .")),
                (value + other) * 0.6,
            )
        if roll < 0.8:
            ending, other = rng.choice(ENDINGS)
            return _with_aspect(
                f"{article}{first} ", noun, f" that {ending}.", value * 0.4 + other * 0.6
            )
        joint = rng.choice(
            ("as {a} as it is {b}", "{a} and {b}", "both {a} and {b}", "{a}, {b} and short")
        )
        second, other = self._adjective(rng)
        return _with_aspect(
            "The ", noun, f" is {joint.format(a=first, b=second)}.", (value + other) / 2
        )

    def _superlative(self, rng: random.Random) -> Made:
        word, value = rng.choice(
            (
                ("best", 0.95),
                ("worst", -0.95),
                ("nicest", 0.8),
                ("dumbest", -0.85),
                ("greatest", 0.9),
            )
        )
        noun = self._noun(rng)
        before = rng.choice(
            (f"{word.capitalize()} ", f"The {word} ", f"This is the {word} ", f"Easily the {word} ")
        )
        return _with_aspect(
            before,
            noun,
            rng.choice((" ever.", " ever!", " I have ever had.", " in years.", " of all time")),
            value,
        )

    def _average(self, rng: random.Random) -> Made:
        before, noun, _ = self._subject(rng)
        return _with_aspect(
            before, noun, f" {rng.choice(NEUTRAL_ENDINGS)}.", rng.uniform(-0.08, 0.08), 0.55
        )

    def _fact(self, rng: random.Random) -> Made:
        before, noun, _ = self._subject(rng)
        return _with_aspect(before, noun, f" {rng.choice(FACTS)}.", 0.0, 0.08)

    def _plain(self, rng: random.Random) -> Made:
        return Made(rng.choice(PLAIN), 0.0, 0.08, ())

    def _whole(self, rng: random.Random) -> Made:
        text, value = rng.choice(WHOLE)
        return Made(text, value, 0.5 + 0.4 * abs(value), _aspects_in(text, value))

    def _word(self, rng: random.Random) -> Made:
        word, value = rng.choice(self.words)
        form = rng.choice(
            ("{}", "{}", "{}.", "{}!", "so {}", "it is {}", "feels {}", "how {}!", "pure {}")
        )
        return Made(form.format(word), value, 0.5 + 0.4 * abs(value), ())

    def _named(self, rng: random.Random) -> Made:
        """Shopping and travel talk in which every entity is known."""
        parts: list[tuple[str, str]] = []
        who = rng.choice(FIRST_NAMES)
        if rng.random() < 0.5:
            parts += [(who, "PERSON"), (f" {rng.choice(BUYS)} ", "")]
        else:
            parts += [(f"I {rng.choice(BUYS)} ", "")]
        article = rng.choice(("the ", "my ", "a new "))
        parts += [(article, ""), (rng.choice(MODELS), "PRODUCT")]
        for lead, kind, choices in (
            (" from ", "ORG", ORGS),
            (" in ", "GPE", PLACES),
            (" ", "DATE", DATES),
            (" for ", "MONEY", MONEY),
        ):
            if rng.random() < 0.45:
                value = rng.choice(choices)
                if kind == "DATE" and value.split()[0] in ("on", "in"):
                    preposition, value = value.split(" ", 1)
                    lead = f" {preposition} "
                parts += [(lead, ""), (value, kind)]
        word, polarity = self._adjective(rng)
        if rng.random() < 0.6:
            tail = f" and it is {rng.choice(DEGREES)[0]}{word}."
        else:
            tail, polarity = ".", 0.0
        parts.append((tail, ""))
        text, spans = "", []
        aspect: list[Span] = []
        for piece, kind in parts:
            if kind:
                spans.append(Span(len(text), len(text) + len(piece), kind))
                if kind == "PRODUCT":
                    aspect.append(Span(len(text), len(text) + len(piece), _label(polarity)))
            text += piece
        return Made(text, polarity, 0.1 if tail == "." else 0.7, tuple(aspect), tuple(spans))


def _aspects_in(text: str, value: float) -> tuple[Span, ...]:
    for noun in ("product", "service", "experience", "value"):
        at = text.find(noun)
        if at >= 0:
            return (Span(at, at + len(noun), _label(value)),)
    return ()


def _with_aspect(
    before: str, noun: str, after: str, value: float, subjectivity: float | None = None
) -> Made:
    value = max(-1.0, min(1.0, value))
    span = Span(len(before), len(before) + len(noun), _label(value))
    subjective = min(1.0, 0.55 + 0.4 * abs(value)) if subjectivity is None else subjectivity
    return Made(before + noun + after, value, subjective, (span,))


def _join(one: Made, other: Made, link: str, weight: float) -> Made:
    start = len(one.text) + len(link)

    def moved(spans: tuple[Span, ...]) -> tuple[Span, ...]:
        return tuple(Span(s.start + start, s.end + start, s.label) for s in spans)

    entities = None
    if one.entities is not None and other.entities is not None:
        entities = one.entities + moved(other.entities)
    return Made(
        one.text + link + other.text,
        (1 - weight) * one.polarity + weight * other.polarity,
        max(one.subjectivity, other.subjectivity),
        one.aspects + moved(other.aspects),
        entities,
    )


def _noisy(made: Made, rng: random.Random) -> Made:
    """Some sentences in lower or upper case, as people type."""
    roll = rng.random()
    if roll < 0.15 and made.entities is None:
        return Made(made.text.lower(), made.polarity, made.subjectivity, made.aspects)
    if roll < 0.18 and made.entities is None:
        strong = max(-1.0, min(1.0, made.polarity * 1.15))
        return Made(made.text.upper(), strong, made.subjectivity, made.aspects)
    return made


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{name} is needed for training: see requirements.txt")
    return Path(spec.origin).parent


def subjectivity_words() -> dict[str, float]:
    """Subjectivity in [0, 1] of each word of the lexicon, averaged over its senses."""
    values: dict[str, list[float]] = {}
    for word in ElementTree.parse(_package("textblob") / "en/en-sentiment.xml").iter("word"):
        values.setdefault(word.attrib["form"], []).append(float(word.attrib["subjectivity"]))
    return {word: sum(v) / len(v) for word, v in values.items()}


def _adjectives() -> list[tuple[str, float]]:
    path = _package("textblob") / "en/en-sentiment.xml"
    values: dict[str, list[float]] = {}
    for word in ElementTree.parse(path).iter("word"):
        if word.attrib.get("pos") == "JJ" and word.attrib["form"].isalpha():
            values.setdefault(word.attrib["form"], []).append(float(word.attrib["polarity"]))
    return [(word, sum(v) / len(v)) for word, v in sorted(values.items())]


def _vader_words() -> list[tuple[str, float]]:
    path = _package("vaderSentiment") / "vader_lexicon.txt"
    words: list[tuple[str, float]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        word, value = line.split("\t")[:2]
        if word.isalpha() and word.isascii() and len(word) > 2 and abs(float(value)) >= 0.7:
            words.append((word, max(-1.0, min(1.0, float(value) / 3.4))))
    return words
