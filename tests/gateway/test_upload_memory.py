"""What a file of one gigabyte costs in memory, on its way in and out."""

import json

import pytest

from bench import upload
from services.mesh.temporary import TemporaryMesh

MOST_MB = 100


@pytest.mark.slow
@pytest.mark.parametrize("media_key", ["", "k" * 32])
def test_a_gigabyte_passes_through_bounded_memory(media_key: str) -> None:
    overrides = {
        "AFFECTMESH_ADDRESSES": json.dumps(dict.fromkeys(upload.ABSENT, "127.0.0.1:9")),
        "AFFECTMESH_MEDIA_KEY": media_key,
    }
    with TemporaryMesh(overrides) as mesh:
        for transfer in upload.transfers(mesh, 1000):
            assert set(transfer.grown_mb) == {"gateway", "jobs"}
            assert max(transfer.grown_mb.values()) < MOST_MB, upload.line(transfer)
