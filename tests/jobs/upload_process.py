"""Takes an upload until it is killed: `python -m tests.jobs.upload_process FOLDER`."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from affectmesh.v1 import jobs_pb2 as pb
from tests.jobs import files
from tests.jobs.media_service import ALICE, media_service


async def _chunks() -> AsyncIterator[bytes]:
    yield files.padded(files.film(), 3 * 1024 * 1024)
    print("begun", flush=True)
    await asyncio.Event().wait()


async def take(folder: Path) -> None:
    """Takes the upload."""
    async with media_service(folder) as service:
        await service.media.receive(ALICE, pb.MediaDescription(), _chunks())


if __name__ == "__main__":
    asyncio.run(take(Path(sys.argv[1])))
