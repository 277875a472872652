"""JSON to protobuf and back, compiled once per message type from its descriptor.

The JSON is the one the contract describes: a field's `json_name` where the contract gives one, its
own name otherwise; enums as lower-case words without their prefix; bytes as base64 (bare or a data
URI on the way in); 64-bit integers as numbers. On the way in an unknown field is an error and null
is the same as absent. On the way out scalars without presence and lists are always there, an absent
number is null, and other absent fields are left out.
"""

import base64
import binascii
import difflib
import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.struct_pb2 import Struct

from services.common.errors import InvalidRequest

Parser = Callable[[Any, str], Any]
Renderer = Callable[[Any], Any]

_NUMBERS = {
    FieldDescriptor.CPPTYPE_INT32,
    FieldDescriptor.CPPTYPE_INT64,
    FieldDescriptor.CPPTYPE_UINT32,
    FieldDescriptor.CPPTYPE_UINT64,
    FieldDescriptor.CPPTYPE_DOUBLE,
    FieldDescriptor.CPPTYPE_FLOAT,
}


@cache
def parser(descriptor: Descriptor) -> Callable[[Any], Any]:
    """A function from a decoded JSON object to a message.

    It raises InvalidRequest with the path of the offending field in `details["field"]`.
    """
    parse = _message_parser(descriptor)
    return lambda value: parse(value, "")


@cache
def renderer(descriptor: Descriptor) -> Callable[[Any], dict[str, Any]]:
    """A function from a message to a JSON-ready dict, fields in the order of the contract."""
    fields = [_field_renderer(field) for field in descriptor.fields]

    def render(message: Any) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for add in fields:
            add(message, out)
        return out

    return render


def json_name(field: FieldDescriptor) -> str:
    """The field's name in JSON."""
    head, *rest = field.name.split("_")
    camel = head + "".join(word.capitalize() for word in rest)
    named: str = field.json_name  # type: ignore[attr-defined]
    return field.name if named == camel else named


def invalid(path: str, message: str, suggestion: str) -> InvalidRequest:
    """The error of one field."""
    field = path or "body"
    return InvalidRequest(f"{field} {message}", field=field, suggestion=suggestion)


def _message_parser(descriptor: Descriptor) -> Parser:
    if descriptor.full_name == "google.protobuf.Struct":
        return _parse_struct
    message_class = GetMessageClass(descriptor)
    parsers: dict[str, tuple[str, Parser]] = {}

    def parse(value: Any, path: str) -> Message:
        if type(value) is not dict:
            raise invalid(path, "must be a JSON object.", f"Send {_example(descriptor)}.")
        if not parsers:  # filled late: messages may contain themselves
            for field in descriptor.fields:
                parsers[json_name(field)] = (field.name, _field_parser(field))
        fields = {}
        for key, item in value.items():
            found = parsers.get(key)
            if found is None:
                raise _unknown(key, path, list(parsers))
            if item is not None:
                fields[found[0]] = found[1](item, f"{path}.{key}" if path else key)
        return message_class(**fields)

    return parse


def _example(descriptor: Descriptor) -> str:
    names = ", ".join(json_name(field) for field in descriptor.fields[:4])
    return f"an object with fields such as {names}"


def _unknown(key: str, path: str, known: list[str]) -> InvalidRequest:
    near = difflib.get_close_matches(key, known, 1)
    suggestion = f"Did you mean {near[0]}?" if near else f"Known fields: {', '.join(known)}."
    return invalid(f"{path}.{key}" if path else key, "is not a known field.", suggestion)


def _field_parser(field: FieldDescriptor) -> Parser:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return _map_parser(_value_parser(field.message_type.fields_by_name["value"]))
    if not field.is_repeated:
        return _value_parser(field)
    if field.cpp_type == FieldDescriptor.CPPTYPE_DOUBLE:
        return _parse_doubles
    return _list_parser(_value_parser(field))


def _value_parser(field: FieldDescriptor) -> Parser:
    if field.message_type is not None:
        return _message_parser(field.message_type)
    if field.enum_type is not None:
        return _enum_parser(field.enum_type)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return parse_bytes
    return _SCALARS[field.cpp_type]


def _list_parser(parse: Parser) -> Parser:
    def parse_list(value: Any, path: str) -> list[Any]:
        if type(value) is not list:
            raise invalid(path, "must be a list.", "Send a JSON array.")
        return [parse(item, f"{path}[{index}]") for index, item in enumerate(value)]

    return parse_list


def _map_parser(parse: Parser) -> Parser:
    def parse_map(value: Any, path: str) -> dict[str, Any]:
        if type(value) is not dict:
            raise invalid(path, "must be a JSON object.", "Send an object of names to values.")
        return {key: parse(item, f"{path}.{key}") for key, item in value.items()}

    return parse_map


def _parse_struct(value: Any, path: str) -> Struct:
    if type(value) is not dict:
        raise invalid(path, "must be a JSON object.", "Send any object.")
    try:
        return ParseDict(value, Struct())
    except ParseError:
        raise invalid(path, "is nested too deeply.", "Send a flatter object.") from None


def _enum_parser(enum: EnumDescriptor) -> Parser:
    known = {word: number for number, word in words(enum).items() if number}

    def parse(value: Any, path: str) -> int:
        number = known.get(value.lower()) if type(value) is str else None
        if number is None:
            raise invalid(path, "is not a known value.", f"Use one of {', '.join(known)}.")
        return number

    return parse


@cache
def words(enum: EnumDescriptor) -> Mapping[int, str]:
    """The word of each number of an enum, lower-case and without the prefix of all."""
    prefix = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return {value.number: value.name.removeprefix(prefix).lower() for value in enum.values}


def _parse_string(value: Any, path: str) -> str:
    if type(value) is not str:
        raise invalid(path, "must be a string.", "Send a JSON string.")
    return value


def _parse_bool(value: Any, path: str) -> bool:
    if type(value) is not bool:
        raise invalid(path, "must be true or false.", "Send a JSON boolean, without quotes.")
    return value


def _parse_double(value: Any, path: str) -> float:
    if type(value) is float or type(value) is int:
        number = float(value)
        if math.isfinite(number):
            return number
    raise invalid(path, "must be a finite number.", "Send a JSON number, without quotes.")


def _parse_doubles(value: Any, path: str) -> list[float]:
    if type(value) is not list:
        raise invalid(path, "must be a list of numbers.", "Send a JSON array.")
    if set(map(type, value)) <= {int, float}:
        return value
    for index, item in enumerate(value):
        _parse_double(item, f"{path}[{index}]")
    return value


def _integer_parser(least: int, most: int) -> Parser:
    def parse(value: Any, path: str) -> int:
        whole = type(value) is int or (type(value) is float and value.is_integer())
        if not whole or not least <= value <= most:
            raise invalid(path, "must be a whole number.", f"Send one from {least} to {most}.")
        return int(value)

    return parse


def parse_bytes(value: Any, path: str) -> bytes:
    """The bytes of base64, bare or a data URI. Raises InvalidRequest."""
    if type(value) is not str:
        raise invalid(path, "must be a string.", "Send base64, bare or as a data URI.")
    if value.startswith("data:"):
        head, comma, value = value.partition(",")
        if not comma or not head.endswith(";base64"):
            raise invalid(path, "is not a base64 data URI.", "Send data:<type>;base64,<data>.")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        pass
    try:
        return base64.b64decode("".join(value.split()), validate=True)
    except (binascii.Error, ValueError):
        raise invalid(
            path, "is not valid base64.", "Encode the file's bytes as standard base64 with padding."
        ) from None


_SCALARS: Mapping[int, Parser] = {
    FieldDescriptor.CPPTYPE_STRING: _parse_string,
    FieldDescriptor.CPPTYPE_BOOL: _parse_bool,
    FieldDescriptor.CPPTYPE_DOUBLE: _parse_double,
    FieldDescriptor.CPPTYPE_FLOAT: _parse_double,
    FieldDescriptor.CPPTYPE_INT32: _integer_parser(-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: _integer_parser(0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: _integer_parser(-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: _integer_parser(0, 2**64 - 1),
}


def _field_renderer(field: FieldDescriptor) -> Callable[[Any, dict[str, Any]], None]:
    name, key = field.name, json_name(field)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        one = _value_renderer(field.message_type.fields_by_name["value"])

        def add(message: Any, out: dict[str, Any]) -> None:
            out[key] = {word: one(value) for word, value in sorted(getattr(message, name).items())}
    elif field.is_repeated:
        one = _value_renderer(field)

        def add(message: Any, out: dict[str, Any]) -> None:
            out[key] = [one(value) for value in getattr(message, name)]
    elif field.has_presence:
        one = _value_renderer(field)
        null = field.cpp_type in _NUMBERS and field.enum_type is None

        def add(message: Any, out: dict[str, Any]) -> None:
            if message.HasField(name):
                out[key] = one(getattr(message, name))
            elif null:
                out[key] = None
    else:
        one = _value_renderer(field)

        def add(message: Any, out: dict[str, Any]) -> None:
            out[key] = one(getattr(message, name))

    return add


def _value_renderer(field: FieldDescriptor) -> Renderer:
    if field.message_type is not None:
        return _message_renderer(field.message_type)
    if field.enum_type is not None:
        return words(field.enum_type).__getitem__
    if field.type == FieldDescriptor.TYPE_BYTES:
        return lambda value: base64.b64encode(value).decode()
    return _as_is


def _as_is(value: Any) -> Any:
    return value


def _message_renderer(descriptor: Descriptor) -> Renderer:
    if descriptor.full_name == "google.protobuf.Timestamp":
        return lambda value: value.ToJsonString()
    if descriptor.full_name == "google.protobuf.Struct":
        return _render_struct
    return lambda message: renderer(descriptor)(message)


def _render_struct(struct: Struct) -> dict[str, Any]:
    return {key: _whole(value) for key, value in MessageToDict(struct).items()}


def _whole(value: Any) -> Any:
    """A Struct holds every number as a float: whole ones are written as they came."""
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
