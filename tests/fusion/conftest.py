"""Time enough to answer."""

import pytest

from services.fusion import servicer


@pytest.fixture
def half_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what a client leaves, half is for the answer: a busy machine needs more than it takes."""
    monkeypatch.setattr(servicer, "_MARGIN", 0.5)
    monkeypatch.setattr(servicer, "_MARGIN_S", 60)
