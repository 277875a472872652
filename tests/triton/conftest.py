"""A Triton with every model, and one of few models for faults."""

from collections.abc import Iterator

import pytest

from services.common.inference.repository import Repository
from services.common.settings import Settings
from tests.triton.server import TritonServer


@pytest.fixture(scope="session")
def repository() -> Repository:
    """Every model of the project."""
    settings = Settings()
    return Repository(settings.model_repository, settings.research_repository)


@pytest.fixture(scope="session")
def triton(
    tmp_path_factory: pytest.TempPathFactory, repository: Repository
) -> Iterator[TritonServer]:
    """A server with every model."""
    with TritonServer(tmp_path_factory.mktemp("triton"), repository) as server:
        yield server
