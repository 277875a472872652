"""What clients send to the account routes, checked."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, unquote_plus

import orjson
from google.protobuf.timestamp_pb2 import Timestamp

from affectmesh.v1 import billing_pb2 as pb
from services.common import errors
from services.common.resources import DEFAULT_PAGE, MAX_PAGE
from services.gateway.endpoint import Exchange
from services.gateway.views import ROLES

LARGEST_BODY = 64 * 1024
_LONGEST_NUMBER = 9

Kind = type | tuple[type, ...]


async def json_object(
    exchange: Exchange, required: Mapping[str, Kind], optional: Mapping[str, Kind] | None = None
) -> dict[str, Any]:
    """The fields of a JSON object. Raises InvalidRequest naming the one that is wrong."""
    raw = await exchange.body(LARGEST_BODY)
    content_type = dict(exchange.scope["headers"]).get(b"content-type", b"application/json")
    if not content_type.startswith(b"application/json"):
        raise errors.UnsupportedMedia(
            "The body must be JSON.", suggestion="Send Content-Type: application/json."
        )
    try:
        body = orjson.loads(raw or b"{}")
    except orjson.JSONDecodeError as error:
        raise errors.InvalidRequest(
            "The body is not valid JSON.", reason=str(error), suggestion="Send one JSON object."
        ) from None
    if not isinstance(body, dict):
        raise errors.InvalidRequest("The body is not an object.", suggestion="Send a JSON object.")
    kinds = {**required, **(optional or {})}
    for name in required:
        if body.get(name) is None:
            raise wrong(name, f"{name} is missing.")
    for name, value in body.items():
        if name not in kinds:
            raise wrong(name, f"There is no field {name[:64]!r}.")
        boolean = isinstance(value, bool) and kinds[name] is not bool
        if value is not None and (boolean or not isinstance(value, kinds[name])):
            raise wrong(name, f"{name} has the wrong type.")
        if isinstance(value, int) and not -(2**31) <= value < 2**31:
            raise wrong(name, f"{name} is out of range.")
    return {name: value for name, value in body.items() if value is not None}


def wrong(field: str, message: str) -> errors.InvalidRequest:
    """A refusal that names the field."""
    return errors.InvalidRequest(
        message, field=field[:64], suggestion=f"See the reference of {field[:64]}."
    )


def texts(field: str, values: list[Any]) -> list[str]:
    """A list of texts; numbers count as their notation."""
    if len(values) > 100 or not all(isinstance(value, str | int | float) for value in values):
        raise wrong(field, f"{field} has the wrong type.")
    return [str(value) for value in values]


def moment(field: str, value: str | None) -> Timestamp | None:
    """A time of RFC 3339; None from None."""
    if value is None:
        return None
    moment = Timestamp()
    try:
        moment.FromJsonString(value)
    except ValueError:
        raise wrong(field, f"{field} is not a time of RFC 3339.") from None
    return moment


def role(name: str) -> pb.Role.ValueType:
    """A role by its name."""
    for role, known in ROLES.items():
        if known == name:
            return role
    raise wrong("role", f"{name[:32]!r} is not a role.")


def check_organization(principal: pb.Principal, body: Mapping[str, Any]) -> None:
    """Raises Forbidden where `org_id` is not the principal's own."""
    if body.get("org_id", principal.org_id) != principal.org_id:
        raise errors.Forbidden(
            "You do not belong to this organisation.",
            field="org_id",
            suggestion=f"Send your own organisation's id, {principal.org_id}.",
        )


def parameter(exchange: Exchange, name: str) -> str:
    """A parameter of the query; empty where it is absent."""
    return exchange.connection.query_params.get(name, "")


def whole(parameters: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    """A whole number of the query, from `least` to `most`. Raises InvalidRequest."""
    text = parameters.get(name, str(default))
    known = text.isascii() and text.isdecimal() and len(text) <= _LONGEST_NUMBER
    if not known or not least <= int(text) <= most:
        raise errors.InvalidRequest(
            f"{name} must be a whole number from {least} to {most}.",
            field=name,
            suggestion=f"Send one, or leave {name} out for {default}.",
        )
    return int(text)


def page(exchange: Exchange, default: int = DEFAULT_PAGE) -> tuple[int, str]:
    """Size and token of the page that is asked for."""
    size = whole(exchange.connection.query_params, "page_size", default, 1, MAX_PAGE)
    return size, parameter(exchange, "page_token")


async def form(exchange: Exchange) -> dict[str, str]:
    """The fields of a form, each given once."""
    raw = await exchange.body(LARGEST_BODY)
    content_type = dict(exchange.scope["headers"]).get(b"content-type", b"")
    if not content_type.startswith(b"application/x-www-form-urlencoded"):
        raise errors.InvalidRequest("The body must be application/x-www-form-urlencoded.")
    try:
        pairs = parse_qs(raw.decode(), keep_blank_values=True, max_num_fields=20)
    except ValueError:
        raise errors.InvalidRequest("The form cannot be read.") from None
    if any(len(values) > 1 for values in pairs.values()):
        raise errors.InvalidRequest("A parameter is given twice.")
    return {name: values[0] for name, values in pairs.items()}


def client_credentials(scope: Mapping[str, Any], form: Mapping[str, str]) -> tuple[str, str]:
    """Of HTTP Basic (RFC 6749, 2.3.1) or of the form."""
    header = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
    scheme, _, rest = header.partition(" ")
    if scheme.lower() != "basic":
        return form.get("client_id", ""), form.get("client_secret", "")
    try:
        user, _, password = base64.b64decode(rest.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise errors.Unauthorized("The client's credentials cannot be read.") from None
    return unquote_plus(user), unquote_plus(password)
