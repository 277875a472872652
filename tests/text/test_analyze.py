"""What the analysis finds, with the real models."""

import asyncio

import pytest

from services.common.labels import LABELS
from services.text.analyze import TextAnalyzer
from services.text.emotions import DERIVED, FINE, GROUPS, NAMES
from services.text.findings import Item, Options, Sarcasm
from services.text.sentiment import label_of, turned
from tests.text.conftest import CountingInference

LOVED = "I absolutely love this product! Best purchase ever."
BARE = Options(aspects=False, entities=False, sarcasm=False, dimensions=False)


async def test_the_documents_text_sample(analyzer: TextAnalyzer) -> None:
    found = await analyzer.analyze(LOVED, "en")
    assert found.length == 51
    assert found.sentiment.label == "very_positive"
    assert found.sentiment.polarity > 0.8
    assert found.sentiment.subjectivity > 0.6
    assert found.sentiment.confidence > 0.9
    assert found.emotions[0].label == "happiness"
    assert found.emotions[0].confidence > 0.85
    assert "satisfaction" in {e.label for e in found.emotions if e.derived}
    [aspect] = found.aspects
    assert aspect.name == "product"
    assert [m.text for m in aspect.mentions] == ["product", "purchase"]
    assert aspect.sentiment > 0.8
    [product] = found.entities
    assert (product.entity.text, product.entity.type) == ("product", "PRODUCT")
    assert product.emotion == "happiness"
    assert product.entity.sentiment > 0.8
    assert found.sarcasm is not None
    assert not found.sarcasm.detected
    assert found.sarcasm.confidence < 0.2
    assert found.dimensions is not None
    assert found.dimensions[0] > 0.3
    assert found.warnings == ()


async def test_the_documents_batch_sample(analyzer: TextAnalyzer) -> None:
    texts = ("Great product!", "Terrible experience.", "It was okay, nothing special.")
    found, summary = await analyzer.analyze_batch([Item(t, t) for t in texts], "en")
    assert [one.sentiment.label for one in found] == ["positive", "negative", "neutral"]
    assert found[0].emotions[0].label == "happiness"
    assert found[2].emotions[0].label == "neutral"
    assert (summary.positive, summary.negative, summary.neutral) == (1, 1, 1)
    mean = sum(one.sentiment.polarity for one in found) / 3
    assert summary.average_sentiment == pytest.approx(mean)


@pytest.mark.parametrize(
    ("text", "sign"),
    [
        ("Great product!", 1),
        ("Works perfectly, no complaints.", 1),
        ("This is not bad at all.", 1),
        ("I could not be happier with it.", 1),
        ("A moving, beautifully acted film.", 1),
        ("Thank you so much, you saved me!", 1),
        ("Terrible experience.", -1),
        ("not good at all", -1),
        ("I would not recommend this hotel to anyone.", -1),
        ("The battery died after two days.", -1),
        ("A dull, lifeless mess of a movie.", -1),
        ("I am so sad, my dog died.", -1),
        ("It was okay, nothing special.", 0),
        ("The train leaves at nine from platform two.", 0),
        ("The package contains four parts.", 0),
    ],
)
async def test_polarity_follows_the_words(analyzer: TextAnalyzer, text: str, sign: int) -> None:
    found = await analyzer.analyze(text, "en", BARE)
    label = found.sentiment.label
    assert label.removeprefix("very_") == {1: "positive", -1: "negative", 0: "neutral"}[sign]


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("I'm so happy for you, congratulations!", "happiness"),
        ("I feel so lonely and I can't stop crying.", "sadness"),
        ("This makes me furious, how dare they!", "anger"),
        ("I'm terrified of the dark.", "fear"),
        ("Ew, that is disgusting.", "disgust"),
        ("Wow, I did not expect that at all!", "surprise"),
        ("I don't understand what is going on.", "confusion"),
        ("The office is on the third floor.", "neutral"),
    ],
)
async def test_primary_emotion(analyzer: TextAnalyzer, text: str, label: str) -> None:
    assert (await analyzer.analyze(text, "en", BARE)).emotions[0].label == label


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Thanks a lot for your help!", "gratitude"),
        ("I love you with all my heart.", "love"),
        ("I'm sorry, I regret what I did.", "remorse"),
        ("I'm so nervous about tomorrow.", "anxiety"),
        ("Haha that's hilarious!", "amusement"),
        ("I'm so excited, I can't wait!", "excitement"),
    ],
)
async def test_finer_emotions_stand_beside_the_primary(
    analyzer: TextAnalyzer, text: str, label: str
) -> None:
    found = (await analyzer.analyze(text, "en", BARE)).emotions
    assert label in {e.label for e in found if not e.derived}
    confidences = [e.confidence for e in found]
    assert confidences == sorted(confidences, reverse=True)


async def test_aspects_have_their_own_sentiment(analyzer: TextAnalyzer) -> None:
    text = "The food was great but the waiter was rude and the prices are insane."
    found = {a.name: a.sentiment for a in (await analyzer.analyze(text)).aspects}
    assert found["food"] > 0.5
    assert found["waiter"] < -0.5
    assert found["prices"] < 0


async def test_entities_have_types_places_and_the_emotion_of_their_sentence(
    analyzer: TextAnalyzer,
) -> None:
    text = "I love Anna so much! I hate the traffic in London on Monday."
    found = {e.entity.text: e for e in (await analyzer.analyze(text)).entities}
    assert {name: e.entity.type for name, e in found.items()} == {
        "Anna": "PERSON",
        "London": "GPE",
        "Monday": "DATE",
    }
    assert all(text[e.entity.start : e.entity.end] == name for name, e in found.items())
    assert found["Anna"].emotion == "happiness"
    assert found["London"].emotion == "anger"


async def test_sentences_on_request(analyzer: TextAnalyzer) -> None:
    text = "I love it!  The lid is blue. What a terrible smell."
    found = await analyzer.analyze(text, "en", Options(sentences=True))
    assert [text[s.start : s.end] for s in found.sentences] == [
        "I love it!",
        "The lid is blue.",
        "What a terrible smell.",
    ]
    first, second, third = (s.sentiment.polarity for s in found.sentences)
    assert first > 0.5
    assert abs(second) < 0.3
    assert third < -0.4


async def test_what_is_off_is_not_computed(
    analyzer: TextAnalyzer, inference: CountingInference
) -> None:
    inference.forget()
    found = await analyzer.analyze(LOVED, "en", BARE)
    assert inference.rows == {"text_affect": 1}
    assert found.sarcasm is None
    assert found.dimensions is None
    assert (found.aspects, found.entities, found.sentences) == ((), (), ())


async def test_a_batch_runs_padded_lengths_together(
    analyzer: TextAnalyzer, inference: CountingInference
) -> None:
    inference.forget()
    texts = ["Nice.", "What a wonderful day this has been for all of us, thank you."] * 8
    items = [Item(str(i), text) for i, text in enumerate(texts)]
    found, _ = await analyzer.analyze_batch(items, "en")
    assert len(found) == 16
    assert inference.rows["text_affect"] == 16
    assert len(inference.shapes) == 2


async def test_a_batch_gives_what_single_texts_give(analyzer: TextAnalyzer) -> None:
    texts = ["I love it.", "What a mess, never again.", "It is on the table.", LOVED]
    found, _ = await analyzer.analyze_batch([Item(t, t) for t in texts])
    for text, one in zip(texts, found, strict=True):
        alone = await analyzer.analyze(text)
        assert one.sentiment.polarity == pytest.approx(alone.sentiment.polarity, abs=0.05)
        assert one.emotions[0].label == alone.emotions[0].label


async def test_concurrent_texts_do_not_mix(analyzer: TextAnalyzer) -> None:
    texts = ["I love this!", "I hate this!"] * 10
    found = await asyncio.gather(*(analyzer.analyze(t, "en", BARE) for t in texts))
    for text, one in zip(texts, found, strict=True):
        assert (one.sentiment.polarity > 0) == ("love" in text)


async def test_a_long_text_is_read_to_its_end(analyzer: TextAnalyzer) -> None:
    filler = "The report has twelve pages and lies on the table. " * 40
    ending = "I hated it here, what an awful evening. The waiter was rude to us."
    found = await analyzer.analyze(filler + ending, "en")
    [waiter] = [a for a in found.aspects if a.name == "waiter"]
    assert waiter.mentions[0].start > len(filler)
    before = (await analyzer.analyze(filler, "en", BARE)).sentiment.polarity
    assert found.sentiment.polarity < before


async def test_the_largest_text_is_answered(analyzer: TextAnalyzer) -> None:
    text = ("I love it. " * 10_000)[:100_000]
    found = await analyzer.analyze(text, "en", BARE)
    assert found.length == 100_000
    assert found.sentiment.polarity > 0.5


async def test_another_language_is_answered_with_a_warning_and_half_the_confidence(
    analyzer: TextAnalyzer,
) -> None:
    text = "Dit is echt een heel slecht product, ik ben er niet blij mee."
    found = await analyzer.analyze(text)
    english = await analyzer.analyze(text, "en")
    assert found.language == "nl"
    assert "LANGUAGE_NOT_SUPPORTED" in {w.code for w in found.warnings}
    assert found.emotions[0].confidence == pytest.approx(english.emotions[0].confidence / 2)
    assert found.sentiment.confidence == pytest.approx(english.sentiment.confidence / 2)


@pytest.mark.parametrize("text", ["😀", "😡😡😡", "5/10", "!!!"])
async def test_a_text_without_words_is_answered_with_low_confidence(
    analyzer: TextAnalyzer, text: str
) -> None:
    found = await analyzer.analyze(text)
    assert "NO_WORDS" in {w.code for w in found.warnings}
    assert found.emotions[0].confidence <= 0.5
    assert found.sentiment.confidence <= 0.5


async def test_emoji_are_read(analyzer: TextAnalyzer) -> None:
    smile = await analyzer.analyze("😍", "en", BARE)
    rage = await analyzer.analyze("😡", "en", BARE)
    assert smile.sentiment.polarity > 0.2 > 0 > rage.sentiment.polarity


async def test_an_unknown_script_is_said_to_be_unreadable(analyzer: TextAnalyzer) -> None:
    found = await analyzer.analyze("ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ ᏣᎳᎩ")
    assert "UNREADABLE" in {w.code for w in found.warnings}
    assert found.emotions[0].confidence < 0.3


@pytest.mark.parametrize(
    "text",
    ["I love\x00 it\x07!", "\u202eI love it!\u202c", "I\tlove\r\nit!", "I love it! \ufffd\ufeff"],
)
async def test_control_characters_do_no_harm(analyzer: TextAnalyzer, text: str) -> None:
    found = await analyzer.analyze(text, "en")
    assert found.length == len(text)
    assert found.sentiment.label.endswith("positive")


@pytest.mark.parametrize(
    ("polarity", "label"),
    [
        (1.0, "very_positive"),
        (0.88, "very_positive"),
        (0.87, "positive"),
        (0.2, "positive"),
        (0.19, "neutral"),
        (-0.19, "neutral"),
        (-0.2, "negative"),
        (-0.88, "very_negative"),
    ],
)
def test_labels_of_polarities(polarity: float, label: str) -> None:
    assert label_of(polarity) == label


@pytest.mark.parametrize(
    ("polarity", "sarcasm", "expected"),
    [
        (0.8, None, 0.8),
        (0.8, Sarcasm(False, 0.2), 0.8),
        (0.8, Sarcasm(True, 0.4), 0.16),
        (0.8, Sarcasm(True, 0.75), -0.4),
        (-0.8, Sarcasm(True, 0.9), -0.8),
    ],
)
def test_sarcasm_damps_and_flips_praise(
    polarity: float, sarcasm: Sarcasm | None, expected: float
) -> None:
    assert turned(polarity, sarcasm) == pytest.approx(expected)


def test_every_label_is_in_the_platforms_vocabulary() -> None:
    fine = {NAMES.get(name, name) for name in FINE}
    assert set(GROUPS) | fine | set(DERIVED) <= set(LABELS)


@pytest.mark.parametrize("model", ["text_affect", "text_multilingual"])
def test_every_label_of_a_model_is_reported_somewhere(
    inference: CountingInference, model: str
) -> None:
    grouped = {member for members in GROUPS.values() for member in members}
    assert grouped == set(inference.info(model).labels)
