"""Delivers what is due until it is killed: `python -m tests.jobs.courier_process FOLDER`."""

import asyncio
import sys
from pathlib import Path

from tests.jobs.webhook_service import webhook_service


async def deliver(folder: Path) -> None:
    """Delivers until it is killed."""
    async with webhook_service(folder):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(deliver(Path(sys.argv[1])))
