"""Where the bytes of media are kept: a folder, or a bucket of S3."""

from services.jobs.store.open import open_store
from services.jobs.store.store import Store

__all__ = ["Store", "open_store"]
