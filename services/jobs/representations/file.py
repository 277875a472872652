"""One form of a result, ready to be kept."""

from dataclasses import dataclass


@dataclass(frozen=True)
class File:
    """A result in one form."""

    content_type: str
    file_name: str
    data: bytes
