"""The absolute URLs that Affectiva's clients follow."""

import re
from dataclasses import dataclass
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.types import Scope

from services.common import errors

_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")


@dataclass(frozen=True)
class Links:
    """URLs under the address by which a client reached us."""

    base: str

    @property
    def index(self) -> str:
        """The index."""
        return f"{self.base}/index"

    @property
    def jobs(self) -> str:
        """Every job."""
        return f"{self.base}/jobs"

    @property
    def entries(self) -> str:
        """Every entry."""
        return f"{self.base}/entries"

    def job(self, job_id: str) -> str:
        """One job."""
        return f"{self.jobs}/{quote(job_id)}"

    def entry(self, entry_id: str) -> str:
        """One entry."""
        return f"{self.entries}/{quote(entry_id)}"

    def representation(self, entry_id: str, media_id: str) -> str:
        """One form of an entry."""
        return f"{self.entry(entry_id)}/representations/{quote(media_id)}"

    def media(self, entry_id: str, media_id: str) -> str:
        """The bytes of a form."""
        return f"{self.representation(entry_id, media_id)}/media"

    def annotations(self, entry_id: str) -> str:
        """The annotations of an entry."""
        return f"{self.entry(entry_id)}/annotations"

    def annotation(self, entry_id: str, annotation_id: str) -> str:
        """One annotation."""
        return f"{self.annotations(entry_id)}/{quote(annotation_id)}"


def links(scope: Scope) -> Links:
    """By the Host header, and by X-Forwarded-Proto where a proxy ends TLS before us.

    Raises InvalidRequest where the host is none.
    """
    headers = Headers(scope=scope)
    host = headers.get("host", "")
    if not _HOST.fullmatch(host):
        raise errors.InvalidRequest(
            "The Host header is no host.", suggestion="Send the host of the address asked."
        )
    forwarded = headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower()
    scheme = forwarded if forwarded in ("http", "https") else scope["scheme"]
    return Links(f"{scheme}://{host}")
