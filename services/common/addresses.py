"""Which network addresses are public: the only ones that a URL given by a client may lead to."""

import ipaddress
import socket
from collections.abc import Callable
from typing import Any

_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class PrivateAddress(OSError):
    """The URL leads inside."""


def opener(allow_private: bool) -> Callable[[tuple[Any, ...]], socket.socket]:
    """Opens the socket of each connection of aiohttp, checking where it leads, whatever its name
    resolves to by then. Opening raises PrivateAddress."""

    def open_socket(address: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, peer = address
        if not allow_private and not is_public(peer[0]):
            raise PrivateAddress
        opened = socket.socket(family, kind, protocol)
        opened.setblocking(False)
        return opened

    return open_socket


def is_public(host: str) -> bool:
    """Whether an IP address is one of the public internet."""
    address = ipaddress.ip_address(host.split("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is None:
            return address.is_global and address in _GLOBAL_UNICAST
        address = inner
    return address.is_global and not address.is_multicast


def leads_inside(error: BaseException | None) -> bool:
    """Whether an error of a connection comes from PrivateAddress."""
    while error is not None:
        if isinstance(error, PrivateAddress):
            return True
        if isinstance(error, BaseExceptionGroup):
            return any(leads_inside(inner) for inner in error.exceptions)
        error = error.__cause__ or error.__context__
    return False
