"""The key of a machine that nobody has given one."""

import os
import secrets
from pathlib import Path

from services.common.settings import Settings


def key(data_dir: Path) -> str:
    """The development key of a data folder, made when first asked for; only its owner reads it."""
    path = data_dir / "development.key"
    if not path.exists():
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w") as file:
            file.write("sk_dev_" + secrets.token_hex(16) + "\n")
    return path.read_text().strip()


def greeting(settings: Settings, key: str) -> str:
    """What to try first."""
    address = f"http://{settings.http_host or settings.host}:{settings.http_port}"
    return f"""
address          {address}
development key  {key}

try:
curl -s {address}/v1/analyze/text -H 'X-WIA-API-Key: {key}' \\
  -H 'Content-Type: application/json' -d '{{"text": "What a wonderful surprise, thank you!"}}'

Ctrl-C stops the mesh."""
