"""Names of files as clients send them, made harmless."""

import re
import unicodedata

LONGEST_BYTES = 255
"""As most file systems have it."""

_PATH = re.compile(r"[\\/]")
_INVISIBLE = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
_FORBIDDEN = '<>:"|?*'


def clean(name: str, otherwise: str = "file") -> str:
    """The last part of a name, without control characters and what file systems refuse.

    At most LONGEST_BYTES in UTF-8, the ending kept; `otherwise` where nothing is left.
    """
    last = unicodedata.normalize("NFC", _PATH.split(name)[-1])
    kept = "".join(
        "_" if character in _FORBIDDEN else character
        for character in last
        if unicodedata.category(character) not in _INVISIBLE
    )
    kept = kept.strip().lstrip(".").rstrip(". ")
    return _shorten(kept) or otherwise


def _shorten(name: str) -> str:
    if len(name.encode()) <= LONGEST_BYTES:
        return name
    stem, dot, ending = name.rpartition(".")
    if not dot or not 1 <= len(ending) <= 16:
        stem, dot, ending = name, "", ""
    room = LONGEST_BYTES - len((dot + ending).encode())
    return stem.encode()[:room].decode(errors="ignore") + dot + ending
