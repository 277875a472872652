"""What every part of the configuration is made of."""

from collections.abc import Mapping
from typing import Any

Config = dict[str, Any]
"""A message of Envoy's configuration, in the names of its protobuf fields."""

_TYPES = "type.googleapis.com/"


def typed(kind: str, **fields: Any) -> Config:
    """A message behind an Any, by its full name."""
    return {"@type": _TYPES + kind, **fields}


def extension(name: str, kind: str, **fields: Any) -> Config:
    """An extension by its name, with its configuration."""
    return {"name": name, "typed_config": typed(kind, **fields)}


def seconds(value: float) -> str:
    """A duration."""
    return f"{value:g}s"


def socket_address(address: str) -> Config:
    """A socket address from "host:port", where the host may be an IPv6 address in brackets."""
    host, _, port = address.rpartition(":")
    return {"socket_address": {"address": host.strip("[]"), "port_value": int(port)}}


def patterns(*names: str) -> Config:
    """Matches any of these names."""
    return {"patterns": [{"exact": name} for name in names]}


def headers_to_add(headers: Mapping[str, str], action: str) -> list[Config]:
    """Headers that are put on a message."""
    return [
        {"header": {"key": key, "value": value}, "append_action": action}
        for key, value in headers.items()
    ]
