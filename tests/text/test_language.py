"""Which language a text is taken for."""

import pytest
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from services.common.errors import InvalidRequest
from services.text.language import LanguageDetector, given


@pytest.fixture(scope="module")
def detector() -> LanguageDetector:
    return LanguageDetector()


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("Das ist wirklich ein sehr schlechtes Produkt.", "de"),
        ("C'est un produit fantastique !", "fr"),
        ("El servicio fue terrible y la comida fría.", "es"),
        ("O atendimento foi ótimo, recomendo muito.", "pt"),
        ("هذا المنتج رائع جدا", "ar"),
        ("यह उत्पाद बहुत अच्छा है", "hi"),
        ("この製品はとても良いです", "ja"),
        ("Это ужасно.", "ru"),
        ("I absolutely love this product! Best purchase ever.", "en"),
        ("Great product!", "en"),
        ("Terrible experience.", "en"),
    ],
)
def test_detects(detector: LanguageDetector, text: str, tag: str) -> None:
    assert detector.detect(text).tag == tag


def test_the_automaton_read_from_a_file_walks_as_the_one_in_memory(
    detector: LanguageDetector,
) -> None:
    whole = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    walked = detector._identifier.tk_nextmove
    assert isinstance(walked, memoryview)
    assert walked == memoryview(whole.tk_nextmove)


@pytest.mark.parametrize("text", ["meh", "ok", "lol", "omg wtf"])
def test_too_short_a_text_is_taken_for_english_and_said_to_be_uncertain(
    detector: LanguageDetector, text: str
) -> None:
    found = detector.detect(text)
    assert found.tag == "en"
    assert found.uncertain


@pytest.mark.parametrize(
    ("sent", "kept"), [("en", "en"), ("EN-us", "en-us"), ("pt_BR", "pt-BR"), ("zh-Hans", "zh-Hans")]
)
def test_a_given_tag_is_kept(sent: str, kept: str) -> None:
    assert given(sent).tag == kept


def test_regions_of_a_language_are_that_language() -> None:
    assert given("en-GB").english
    assert given("pt-BR").multilingual
    assert not given("de").english
    assert not given("nl").multilingual


@pytest.mark.parametrize("tag", ["english", "e", "12", "en-", "en us", "<script>", "é", "en\n"])
def test_what_is_no_tag_is_refused(tag: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        given(tag)
    assert caught.value.details["field"] == "language"
