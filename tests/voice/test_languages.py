"""Language tags."""

import pytest

from services.common.errors import InvalidRequest
from services.voice.languages import normalise, tag_of, whisper_code


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("", ""),
        ("en", "en"),
        ("EN-us", "en-US"),
        ("zh-hant-tw", "zh-Hant-TW"),
        ("es-419", "es-419"),
        ("de-CH-1996", "de-CH-1996"),
        ("en-US-x-twain", "en-US-x-twain"),
    ],
)
def test_tags_get_their_letter_case(tag: str, expected: str) -> None:
    assert normalise(tag) == expected


@pytest.mark.parametrize("tag", ["e", "english", "en_US", "en-", "-en", "en US", "123", "ünn"])
def test_what_is_no_tag_is_refused(tag: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        normalise(tag)
    assert caught.value.details["field"] == "options.language"


def test_tags_become_codes_and_back() -> None:
    assert whisper_code("") is None
    assert whisper_code("nb-NO") == "no"
    assert tag_of("no", "nb-NO") == "nb-NO"
    assert tag_of("de", "en-US") == "de"
    assert tag_of("jw", "") == "jv"


def test_a_language_that_is_not_recognised_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="tlh"):
        whisper_code("tlh")
