"""The Prefer header (RFC 7240): does the client wait for the result, and for how long?"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

_PREFERENCE = re.compile(r"\s*([!#$%&'*+.^_`|~\w-]+)\s*(?:=\s*\"?([^\";,]*)\"?)?\s*(?:;[^,]*)?\s*")
_LONGEST = 1024


@dataclass(frozen=True)
class Preference:
    """What the client prefers of `respond-async` and `wait`."""

    respond_async: bool = False
    wait_s: int | None = None

    @property
    def applied(self) -> str:
        """Preference-Applied; empty where the client prefers nothing."""
        named = ["respond-async"] if self.respond_async else []
        if self.wait_s is not None:
            named.append(f"wait={self.wait_s}")
        return ", ".join(named)


def read(headers: Iterable[tuple[bytes, bytes]], longest_s: float) -> Preference:
    """The preferences among the headers of a request; no wait is longer than `longest_s`.

    Of one given twice the first counts; what is not understood is ignored, as the RFC has it.
    """
    text = ",".join(value.decode("latin-1") for name, value in headers if name == b"prefer")
    found: dict[str, str] = {}
    for part in text[:_LONGEST].split(","):
        if match := _PREFERENCE.fullmatch(part):
            found.setdefault(match[1].lower(), (match[2] or "").strip())
    wait = found.get("wait", "")
    known = wait.isascii() and wait.isdecimal() and len(wait) <= 9
    wait_s = min(int(wait), int(longest_s)) if known else None
    return Preference("respond-async" in found, wait_s)
