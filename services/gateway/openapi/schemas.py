"""JSON Schemas of the contract's messages, as `transcoding` reads and writes them."""

from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from services.common.transcoding import json_name, words
from services.gateway.openapi.comments import comments

Schema = dict[str, Any]

_INTEGER = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
_KNOWN: dict[str, Schema] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Struct": {"type": "object"},
}


class Schemas:
    """The schemas of every message that is referred to, by name."""

    def __init__(self) -> None:
        self.found: dict[str, Schema] = {}

    def reference(self, message: Descriptor) -> Schema:
        """A reference to a message's schema, which is made when first referred to."""
        if message.full_name in _KNOWN:
            return _KNOWN[message.full_name]
        if message.name not in self.found:
            schema = self.found[message.name] = {"type": "object"}
            if said := comments().get(message.full_name):
                schema["description"] = said
            schema["properties"] = {
                json_name(field): self._described(field) for field in message.fields
            }
        return {"$ref": f"#/components/schemas/{message.name}"}

    def _described(self, field: FieldDescriptor) -> Schema:
        schema = self._field(field)
        said = comments().get(field.full_name)
        return {**schema, "description": said} if said else schema

    def _field(self, field: FieldDescriptor) -> Schema:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            value = self._value(field.message_type.fields_by_name["value"])
            return {"type": "object", "additionalProperties": value}
        if field.is_repeated:
            return {"type": "array", "items": self._value(field)}
        schema = self._value(field)
        if field.has_presence and schema.get("type") in ("integer", "number"):
            schema["type"] = [schema["type"], "null"]
        return schema

    def _value(self, field: FieldDescriptor) -> Schema:
        if field.message_type is not None:
            return self.reference(field.message_type)
        if field.enum_type is not None:
            return {
                "type": "string",
                "enum": [word for n, word in words(field.enum_type).items() if n],
            }
        if field.cpp_type in _INTEGER:
            least, most = _INTEGER[field.cpp_type]
            return {"type": "integer", "minimum": least, "maximum": most}
        if field.type == FieldDescriptor.TYPE_BYTES:
            return {"type": "string", "contentEncoding": "base64"}
        if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
            return {"type": "string"}
        if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
            return {"type": "boolean"}
        return {"type": "number"}
