"""What cannot be analysed is refused, saying what to do."""

import pytest

from services.common.errors import AffectMeshError, InvalidRequest, InvalidText, PayloadTooLarge
from services.text.analyze import TextAnalyzer
from services.text.findings import Item


@pytest.mark.parametrize("text", ["", " \n\t ", "\x00\x01", "\u200b\u200d", "\ud800"])
async def test_a_text_without_anything_visible(analyzer: TextAnalyzer, text: str) -> None:
    with pytest.raises(InvalidText) as caught:
        await analyzer.analyze(text)
    assert caught.value.details["field"] == "text"
    assert caught.value.details["suggestion"]


async def test_a_text_over_the_limit_names_the_limit(analyzer: TextAnalyzer) -> None:
    with pytest.raises(PayloadTooLarge, match="100,000"):
        await analyzer.analyze("a" * 1_000_000)


async def test_a_wrong_language_code(analyzer: TextAnalyzer) -> None:
    with pytest.raises(InvalidRequest, match="language tag"):
        await analyzer.analyze("Hello", "klingon!")


async def test_a_lone_surrogate_among_words_is_answered(analyzer: TextAnalyzer) -> None:
    assert (await analyzer.analyze("I love it \ud800")).sentiment.polarity > 0


GOOD = Item("a", "Good.")


@pytest.mark.parametrize(
    ("items", "error", "field"),
    [
        ([], InvalidRequest, "texts"),
        ([GOOD, Item("", "Bad.")], InvalidRequest, "texts[1].id"),
        ([GOOD, Item("  ", "Bad.")], InvalidRequest, "texts[1].id"),
        ([GOOD, Item("a", "Bad.")], InvalidRequest, "texts[1].id"),
        ([GOOD, Item("b", " ")], InvalidText, "texts[1].text"),
        ([GOOD, Item("b", "x" * 100_001)], PayloadTooLarge, "texts[1].text"),
        ([GOOD, Item("b", "Hi.", "??")], InvalidRequest, "language"),
        ([Item(str(i), "Good.") for i in range(1001)], PayloadTooLarge, "texts"),
        ([Item(str(i), "x" * 99_999) for i in range(11)], PayloadTooLarge, "texts"),
    ],
)
async def test_a_bad_batch(
    analyzer: TextAnalyzer, items: list[Item], error: type[AffectMeshError], field: str
) -> None:
    with pytest.raises(error) as caught:
        await analyzer.analyze_batch(items)
    assert caught.value.details["field"] == field
    assert caught.value.details["suggestion"]


async def test_the_largest_batch_is_answered(analyzer: TextAnalyzer) -> None:
    found, summary = await analyzer.analyze_batch([Item(str(i), "Good.") for i in range(1000)])
    assert len(found) == summary.positive == 1000
