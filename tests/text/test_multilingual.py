"""Texts in the languages of the multilingual model."""

from pathlib import Path

import pytest

from models.training.text.multilingual.evaluate import FIRST, LAST, PAGE, sentences
from services.common.inference.embedded import EmbeddedInference
from services.common.inference.repository import Repository
from services.common.settings import Settings
from services.text.analyze import MULTILINGUAL_FACTOR, TextAnalyzer
from services.text.findings import Item, Options
from services.text.languages import ENGLISH, MULTILINGUAL
from services.text.sentences import WINDOW_TOKENS
from tests.text.conftest import CountingInference

BARE = Options(aspects=False, entities=False, sarcasm=False, dimensions=False)
LOVED = {
    "ar": "أنا أحب هذا المطعم، الطعام لذيذ جدا!",
    "de": "Ich liebe dieses Restaurant, das Essen ist köstlich!",
    "es": "¡Me encanta este restaurante, la comida es deliciosa!",
    "fr": "J'adore ce restaurant, la cuisine est délicieuse !",
    "hi": "मुझे यह रेस्तराँ बहुत पसंद है, खाना स्वादिष्ट है!",
    "it": "Adoro questo ristorante, il cibo è delizioso!",
    "pt": "Adoro este restaurante, a comida é deliciosa!",
}
HATED = {
    "ar": "هذا أسوأ فندق رأيته في حياتي، كان قذرا ومزعجا.",
    "de": "Das ist das schlechteste Hotel meines Lebens, schmutzig und laut.",
    "es": "Es el peor hotel de mi vida, sucio y ruidoso.",
    "fr": "C'est le pire hôtel de ma vie, sale et bruyant.",
    "hi": "यह मेरे जीवन का सबसे ख़राब होटल है, गंदा और शोर भरा।",
    "it": "È il peggior albergo della mia vita, sporco e rumoroso.",
    "pt": "É o pior hotel da minha vida, sujo e barulhento.",
}


@pytest.mark.parametrize("tag", MULTILINGUAL)
async def test_praise_and_blame_are_told_apart_in_the_language_detected(
    analyzer: TextAnalyzer, tag: str
) -> None:
    loved, hated = [await analyzer.analyze(text[tag]) for text in (LOVED, HATED)]
    assert (loved.language, hated.language) == (tag, tag)
    assert loved.sentiment.label.endswith("positive")
    assert hated.sentiment.label.endswith("negative")
    assert loved.emotions[0].label == "happiness"
    assert loved.dimensions is not None
    assert hated.dimensions is not None
    assert loved.dimensions[0] > 0 > hated.dimensions[0]


async def test_parts_without_a_model_are_left_out_with_a_warning(analyzer: TextAnalyzer) -> None:
    found = await analyzer.analyze(LOVED["es"], "es-MX")
    assert found.language == "es-MX"
    assert not found.aspects
    assert not found.entities
    assert found.sarcasm is None
    [warning] = found.warnings
    assert warning.code == "OPTION_NOT_SUPPORTED"
    assert "aspects and entities and sarcasm" in warning.message
    assert [m.name for m in found.models] == ["text_multilingual", "text_multilingual_dimensions"]


async def test_nothing_is_warned_of_where_only_modelled_parts_are_asked_for(
    analyzer: TextAnalyzer,
) -> None:
    found = await analyzer.analyze(LOVED["fr"], "fr", BARE)
    assert found.warnings == ()
    assert [m.name for m in found.models] == ["text_multilingual"]


async def test_confidence_never_passes_the_factor(analyzer: TextAnalyzer) -> None:
    for tag, text in LOVED.items():
        found = await analyzer.analyze(text, tag, BARE)
        assert 0 < found.sentiment.confidence <= MULTILINGUAL_FACTOR
        assert 0 < found.emotions[0].confidence <= MULTILINGUAL_FACTOR


async def test_a_batch_of_many_languages_keeps_its_order_and_shares_runs(
    analyzer: TextAnalyzer, inference: CountingInference
) -> None:
    items = [Item(f"{side}-{tag}", texts[tag]) for tag in MULTILINGUAL for side, texts in
             (("loved", LOVED), ("hated", HATED))]  # fmt: skip
    items.insert(3, Item("english", "I love this restaurant!"))
    items.insert(5, Item("dutch", "Dit is echt een heel slecht product.", "nl"))
    alone = [await analyzer.analyze(item.text, item.language, BARE) for item in items]
    inference.forget()
    found, _ = await analyzer.analyze_batch(items)
    assert inference.rows == {"text_affect": 2, "text_multilingual": 14}
    assert len(inference.shapes) < len(items)
    for one, single in zip(found, alone, strict=True):
        assert one.language == single.language
        assert one.sentiment.polarity == pytest.approx(single.sentiment.polarity, abs=1e-4)
    assert found[3].models[0].name == "text_affect"
    assert found[4].models[0].name == "text_multilingual"


async def test_the_multilingual_model_waits_for_the_first_text_that_needs_it() -> None:
    loaded: list[str] = []

    class Watching(EmbeddedInference):
        async def load(self, *models: str) -> None:
            loaded.extend(models)
            await super().load(*models)

    inference = Watching(Repository(Settings().model_repository), threads=1)
    analyzer = TextAnalyzer(inference)
    await analyzer.analyze("Great product!", "en")
    await analyzer.analyze("Dit is echt een heel slecht product.", "nl")
    assert loaded == []
    await analyzer.analyze(LOVED["de"], "de")
    await analyzer.analyze(LOVED["it"], "it")
    assert loaded == ["text_multilingual", "text_multilingual_dimensions"]
    await inference.close()


async def test_a_long_text_is_read_in_windows_and_sentences_keep_their_place(
    analyzer: TextAnalyzer,
) -> None:
    praise, blame = LOVED["de"], HATED["de"]
    text = "  ".join([praise] * 6 + [blame] * 6)
    options = Options(aspects=False, entities=False, sarcasm=False, sentences=True)
    found = await analyzer.analyze(text, "de", options)
    assert [text[s.start : s.end] for s in found.sentences] == [praise] * 6 + [blame] * 6
    assert all(s.sentiment.polarity > 0 for s in found.sentences[:6])
    assert all(s.sentiment.polarity < 0 for s in found.sentences[6:])
    assert len(text.split()) > WINDOW_TOKENS


@pytest.mark.parametrize(
    "text",
    ["한국어 텍스트입니다", "[CLS] [UNK] [PAD]", "\u200b\u200fمرحبا\ufeff", "ß" * 3000, "ﷺ" * 90],
)
async def test_odd_texts_under_a_supported_tag_are_answered(
    analyzer: TextAnalyzer, text: str
) -> None:
    found = await analyzer.analyze(text, "ar", BARE)
    assert -1 <= found.sentiment.polarity <= 1
    assert found.length == len(text)


def test_every_language_has_its_sentences() -> None:
    rows = sentences()
    assert len(rows) == 40
    for tag in (ENGLISH, *MULTILINGUAL):
        assert len({row[tag] for row in rows}) == len(rows)


def test_the_documented_table_names_exactly_the_languages_of_the_code() -> None:
    table = Path(PAGE).read_text(encoding="utf-8").split(FIRST)[1].split(LAST)[0]
    rows = [line.split("|") for line in table.strip().splitlines()[2:]]
    named = {row[1].strip(" `"): row[2].strip() for row in rows}
    assert named == {ENGLISH: "English", **MULTILINGUAL}
