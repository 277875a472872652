"""The comments of the contract."""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorSet

import affectmesh

_MESSAGES, _SERVICES, _FIELDS, _METHODS, _NESTED = 4, 6, 2, 2, 3
"""Numbers of the fields that lead to a thing (descriptor.proto)."""

Path_ = tuple[int, ...]


@cache
def comments() -> Mapping[str, str]:
    """What the contract says of each message, field and method, by its full name."""
    folder = Path(next(iter(affectmesh.__path__)))
    files = FileDescriptorSet.FromString((folder / "contract.binpb").read_bytes())
    found: dict[str, str] = {}
    for file in files.file:
        said = {
            tuple(one.path): " ".join(one.leading_comments.split())
            for one in file.source_code_info.location
            if one.leading_comments
        }
        names: dict[Path_, str] = {}
        for number, message in enumerate(file.message_type):
            names.update(_message(message, file.package, (_MESSAGES, number)))
        for number, service in enumerate(file.service):
            for place, method in enumerate(service.method):
                path = (_SERVICES, number, _METHODS, place)
                names[path] = f"{file.package}.{service.name}.{method.name}"
        found.update({name: said[path] for path, name in names.items() if path in said})
    return found


def _message(message: DescriptorProto, scope: str, path: Path_) -> Iterator[tuple[Path_, str]]:
    name = f"{scope}.{message.name}"
    yield path, name
    for number, field in enumerate(message.field):
        yield (*path, _FIELDS, number), f"{name}.{field.name}"
    for number, nested in enumerate(message.nested_type):
        yield from _message(nested, name, (*path, _NESTED, number))
