"""What EmoVision's clients may say, and how they are answered."""

import pytest

from services.common import errors
from services.gateway.dialects.emovision import prefer, reading, views
from services.gateway.dialects.emovision.prefer import Preference
from services.gateway.dialects.emovision.words import EmoVision, VideoWords


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        ([], Preference()),
        (["respond-async"], Preference(True)),
        (["Respond-Async , WAIT = 10"], Preference(True, 10)),
        (["respond-async", "wait=10"], Preference(True, 10)),
        (['wait="5"'], Preference(False, 5)),
        (["wait=5, wait=9"], Preference(False, 5)),
        (["wait=5; foo=1, handling=lenient"], Preference(False, 5)),
        (["wait=86400"], Preference(False, 120)),
        (["wait=-1"], Preference()),
        (["wait=1.5"], Preference()),
        (["wait=" + "9" * 20], Preference()),
        (["wait"], Preference()),
        (["respond-asynchronously"], Preference()),
        (["(),;=\xff"], Preference()),
        (["," * 5000 + "respond-async"], Preference()),
    ],
)
def test_preferences_are_read_as_rfc_7240_has_them(sent: list[str], found: Preference) -> None:
    headers = [(b"accept", b"*/*"), *((b"prefer", one.encode("latin-1")) for one in sent)]
    assert prefer.read(headers, 120.0) == found


@pytest.mark.parametrize(
    ("preference", "applied"),
    [
        (Preference(), ""),
        (Preference(True), "respond-async"),
        (Preference(False, 0), "wait=0"),
        (Preference(True, 7), "respond-async, wait=7"),
    ],
)
def test_what_is_applied_is_said(preference: Preference, applied: str) -> None:
    assert preference.applied == applied


def test_metadata_comes_back_as_it_was_sent() -> None:
    sent = '{"name": "Zoë", "age": 41, "score": 0.5, "tags": ["a", null, true], "deep": {"x": {}}}'
    assert views.plain(reading.metadata(sent)) == {
        "name": "Zoë",
        "age": 41,
        "score": 0.5,
        "tags": ["a", None, True],
        "deep": {"x": {}},
    }
    assert views.plain(reading.metadata(" ")) == {}


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.UnsupportedMedia("x"), 422, "INVALID_VIDEO_FORMAT"),
        (errors.InvalidVideo("x"), 422, "INVALID_VIDEO"),
        (errors.InvalidRequest("x"), 400, "INVALID_REQUEST"),
        (errors.PayloadTooLarge("x"), 413, "PAYLOAD_TOO_LARGE"),
        (errors.StorageFull("x"), 503, "STORAGE_FULL"),
        (errors.DeadlineExceeded("x"), 503, "DEADLINE_EXCEEDED"),
        (errors.Unavailable("x"), 503, "SERVICE_UNAVAILABLE"),
        (errors.Internal(), 500, "INTERNAL_ERROR"),
    ],
)
def test_errors_of_a_video_have_the_documents_codes(
    error: errors.AffectMeshError, status: int, code: str
) -> None:
    words = VideoWords()
    body = words.error(error, "req_1")
    assert (words.status(error), body["code"]) == (status, code)
    assert set(body) == {"error", "code", "details"}


def test_a_body_that_is_no_json_is_a_bad_request() -> None:
    assert EmoVision().status(errors.UnsupportedMedia("x")) == 400
