"""Secrets: made, hashed with the installation's own key, sealed, compared."""

import base64
import hashlib
import hmac
import os
import secrets
import string
from pathlib import Path

from joserfc import jwe
from joserfc.jwk import OctKey

from services.common.resources import new_id
from services.common.settings import Settings

_LETTERS = string.ascii_letters + string.digits

__all__ = ["FAMILIES", "Vault", "new_api_key", "new_id", "new_token"]

FAMILIES = ("ek", "sk")
"""Families of API keys: EmoVision's and WIA's."""


def new_api_key(family: str, test_mode: bool) -> str:
    """Such as "ek_live_" and 40 characters: 238 bits."""
    mode = "test" if test_mode else "live"
    return f"{family}_{mode}_" + "".join(secrets.choice(_LETTERS) for _ in range(40))


def new_token() -> str:
    """A session token or client secret: 256 bits, URL-safe."""
    return secrets.token_urlsafe(32)


class Vault:
    """Hashes and seals with keys derived from the installation's secret key."""

    def __init__(self, root: bytes) -> None:
        self._hash_key = _derive(root, b"credential hashes")
        self._seal_key = OctKey.import_key(_derive(root, b"signing keys at rest"))

    @classmethod
    def open(cls, settings: Settings) -> "Vault":
        """With the key of the settings, or that of the data folder, made at the first start."""
        if settings.secret_key is not None:
            return cls(settings.secret_key.get_secret_value().encode())
        return cls(_key_file(settings.data_dir / "secret.key"))

    def hash(self, secret: str) -> str:
        """HMAC-SHA256 in hexadecimal; useless to who has the database alone."""
        return hmac.digest(self._hash_key, secret.encode(), hashlib.sha256).hex()

    def matches(self, secret: str, stored_hash: str) -> bool:
        """Whether a secret has this hash, in constant time."""
        return hmac.compare_digest(self.hash(secret), stored_hash)

    def seal(self, plain: str) -> str:
        """Encrypts for the database (JWE, A256GCM)."""
        header = {"alg": "dir", "enc": "A256GCM"}
        return jwe.encrypt_compact(header, plain.encode(), self._seal_key)

    def unseal(self, sealed: str) -> str:
        """Decrypts what `seal` made. Raises JoseError when the key is another."""
        plain = jwe.decrypt_compact(sealed, self._seal_key).plaintext
        return (plain or b"").decode()


def _derive(root: bytes, purpose: bytes) -> bytes:
    return hmac.digest(root, b"affectmesh " + purpose, hashlib.sha256)


def _key_file(path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    if not path.exists():
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(base64.b64encode(secrets.token_bytes(32)))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_bytes()
