"""The store that the settings name."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from services.common.settings import Settings, refuse
from services.jobs.store.folder import FolderStore
from services.jobs.store.sealed import SealedStore
from services.jobs.store.store import Store


def open_store(settings: Settings) -> Store:
    """A folder for `file:///…` and without a setting, a bucket for `s3://bucket/prefix?…`."""
    store = _open_plain(settings)
    if settings.media_key is None:
        return store
    return SealedStore(store, settings.media_key.get_secret_value().encode())


def _open_plain(settings: Settings) -> Store:
    least_free = settings.store_min_free_mb * 1024 * 1024
    if not settings.object_store_url:
        return FolderStore(settings.data_dir / "media", least_free)
    parts = urlsplit(settings.object_store_url)
    match parts.scheme:
        case "file":
            return FolderStore(Path(unquote(parts.path)), least_free)
        case "s3":
            from services.jobs.store.s3 import S3Store

            return S3Store.of_url(parts)
    refuse("OBJECT_STORE_URL", "give file:///FOLDER or s3://BUCKET/PREFIX?endpoint=URL.")
