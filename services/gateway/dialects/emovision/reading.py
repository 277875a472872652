"""What EmoVision's clients send, checked."""

from collections.abc import Mapping
from typing import Any

import orjson
from google.protobuf.struct_pb2 import Struct

from services.common import errors
from services.common.resources import DEFAULT_PAGE, MAX_PAGE, MAX_SKIP
from services.gateway.dialects.emovision.views import DEPTHS, STATUSES
from services.gateway.reading import whole
from services.jobs.representations.emovision import EXPORTS
from services.voice import languages

LONGEST_METADATA = 16 * 1024
DEEPEST_METADATA = 16


def page(parameters: Mapping[str, str]) -> tuple[int, int]:
    """`page` from 1 and `per_page` from 1 to 100."""
    size = whole(parameters, "per_page", DEFAULT_PAGE, 1, MAX_PAGE)
    return whole(parameters, "page", 1, 1, MAX_SKIP // size), size


def status(parameters: Mapping[str, str]) -> str:
    """`status`: all, or a word of the document."""
    return _one_of(parameters, "status", "all", ("all", *STATUSES))


def export_format(parameters: Mapping[str, str]) -> str:
    """`format` of an export."""
    return _one_of(parameters, "format", "json", tuple(EXPORTS))


def depth(fields: Mapping[str, str]) -> str:
    """`depth` of an analysis."""
    return _one_of(fields, "depth", "basic", tuple(DEPTHS))


def language(fields: Mapping[str, str]) -> str:
    """`language`: a BCP 47 tag; empty where it is to be detected."""
    return languages.normalise(fields.get("language", "").strip(), "language")


def _one_of(given: Mapping[str, str], name: str, default: str, known: tuple[str, ...]) -> str:
    word = given.get(name) or default
    if word not in known:
        raise errors.InvalidRequest(
            f"{name} is {word[:32]!r}.",
            field=name,
            suggestion=f"Send {', '.join(known[:-1])} or {known[-1]}.",
        )
    return word


def metadata(text: str) -> Struct:
    """The client's own notes: a JSON object of at most 16 KiB and 16 levels."""
    try:
        found = orjson.loads(text) if text.strip() else {}
    except orjson.JSONDecodeError as error:
        raise _bad_metadata("metadata is not valid JSON.", str(error)) from None
    if not isinstance(found, dict):
        raise _bad_metadata("metadata is not a JSON object.")
    if len(text.encode()) > LONGEST_METADATA:
        raise _bad_metadata(f"metadata is longer than {LONGEST_METADATA} bytes.")
    if _depth(found) > DEEPEST_METADATA:
        raise _bad_metadata(f"metadata has more than {DEEPEST_METADATA} levels.")
    struct = Struct()
    struct.update(found)
    return struct


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0


def _bad_metadata(message: str, reason: str = "") -> errors.InvalidRequest:
    details = {"reason": reason} if reason else {}
    return errors.InvalidRequest(
        message, field="metadata", suggestion="Send one JSON object, as text.", **details
    )
