"""What Affectiva's clients send, checked."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.datastructures import Headers

from affectmesh.v1 import jobs_pb2 as pb
from services.common import errors
from services.common.channels import Channels
from services.gateway import uploads
from services.gateway.endpoint import JSON, Exchange

INPUT, NAME = "entry_job[input]", "entry_job[name]"
DEFAULT_NAME = "multiface"

KINDS: Mapping[str, "pb.JobKind.ValueType"] = {
    "multiface": pb.JOB_KIND_FACE_MULTI,
    "current-pack": pb.JOB_KIND_FACE_SINGLE,
    "ct-pack-linear": pb.JOB_KIND_FACE_SINGLE,
    "ct-pack-hybrid": pb.JOB_KIND_FACE_SINGLE,
    "no-op": pb.JOB_KIND_NO_OP,
}
"""What each job of the document is here."""

LONGEST = 255
"""Characters of an annotation's key, value and source."""

_FIELDS = ("source", "key", "value")
_URL_ENCODED = "application/x-www-form-urlencoded"
_LARGEST_BODY = 64 * 1024


def job_name(fields: Mapping[str, str]) -> str:
    """The name of a job. Raises InvalidRequest for one that is not known."""
    name = fields.get(NAME) or DEFAULT_NAME
    if name not in KINDS:
        raise errors.InvalidRequest(
            f"There is no job {name[:64]!r}.",
            field=NAME,
            suggestion=f"Send one of {', '.join(KINDS)}.",
        )
    return name


def check_media(name: str, media: pb.Media) -> None:
    """Raises InvalidRequest for media that a job cannot process."""
    form = media.content_type.partition("/")[0]
    if KINDS[name] == pb.JOB_KIND_NO_OP or form == "video":
        return
    if form != "image":
        raise errors.InvalidRequest(
            f"The file is {media.content_type}; it shows nothing.",
            field=INPUT,
            suggestion="Send a video or an image.",
        )
    if KINDS[name] == pb.JOB_KIND_FACE_SINGLE:
        raise errors.InvalidRequest(
            f"{name} processes videos only.",
            field=INPUT,
            suggestion="Send still images to multiface.",
        )


async def annotation(exchange: Exchange, channels: Channels) -> pb.Annotation:
    """Key, value and source of a note, from JSON or a form. Raises InvalidRequest."""
    given = await _annotation_fields(exchange, channels)
    texts = {name: _text(name, given.get(name)) for name in _FIELDS}
    for name in ("key", "value"):
        if given.get(name) is None or (name == "key" and not texts[name]):
            raise _wrong(name, "is missing.")
    return pb.Annotation(key=texts["key"], value=texts["value"], source=texts["source"])


async def _annotation_fields(exchange: Exchange, channels: Channels) -> Mapping[str, Any]:
    content_type = Headers(scope=exchange.scope).get("content-type", JSON)
    kind = content_type.partition(";")[0].strip().lower()
    if kind == uploads.FORM:
        form = await uploads.receive(exchange, channels, files=())
        return _in_brackets(form.fields)
    if kind == _URL_ENCODED:
        return _in_brackets(_decoded(await exchange.body(_LARGEST_BODY)))
    if kind != JSON:
        raise errors.UnsupportedMedia(
            f"The body is {content_type[:100]}.", suggestion="Send JSON or a form."
        )
    try:
        body = orjson.loads(await exchange.body(_LARGEST_BODY))
    except orjson.JSONDecodeError as error:
        raise errors.InvalidRequest(
            "The body is not valid JSON.", reason=str(error), suggestion="Send one JSON object."
        ) from None
    found = body.get("annotation") if isinstance(body, dict) else None
    if not isinstance(found, dict):
        raise errors.InvalidRequest(
            "There is no annotation in the body.",
            field="annotation",
            suggestion='Send {"annotation": {"key": …, "value": …}}.',
        )
    return found


def _decoded(body: bytes) -> dict[str, str]:
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=20))
    except ValueError:
        raise errors.InvalidRequest(
            "The form cannot be read.", suggestion="Send a form in UTF-8."
        ) from None


def _in_brackets(fields: Mapping[str, str]) -> dict[str, str]:
    found = {name: fields.get(f"annotation[{name}]") for name in _FIELDS}
    return {name: value for name, value in found.items() if value is not None}


def _text(name: str, value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _wrong(name, "is no text.")
    if len(value) > LONGEST:
        raise _wrong(name, f"is longer than {LONGEST} characters.")
    return value


def _wrong(name: str, problem: str) -> errors.InvalidRequest:
    field = f"annotation[{name}]"
    return errors.InvalidRequest(
        f"{field} {problem}",
        field=field,
        suggestion=f"Send a key and a value of at most {LONGEST} characters each.",
    )
