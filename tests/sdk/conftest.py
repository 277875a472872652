"""What the clients are tried with."""

from pathlib import Path

import pytest

from tests.fusion.recordings import film, portrait


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second of a face, without sound."""
    file = tmp_path_factory.mktemp("sdk") / "interview.mp4"
    file.write_bytes(film(1, portrait(320), frame_rate=5))
    return file
