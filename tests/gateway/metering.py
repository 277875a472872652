"""Writes usage until it is killed: `python -m tests.gateway.metering COUNT KEY`.

Prints a line for every entry that is recorded, so that whoever kills it knows what must be billed.
"""

import asyncio
import os
import signal
import sys

from starlette.requests import HTTPConnection

from services.common.channels import Channels
from services.common.server import read_settings
from services.gateway.policy import Policy


async def main(count: int, key: str) -> None:
    """Records `count` requests, then dies without a word."""
    settings = read_settings()
    policy = await Policy.open(settings, Channels(settings))
    scope = {"type": "http", "headers": [(b"x-api-key", key.encode())]}
    for number in range(count):
        admission = await policy.admit(HTTPConnection(scope), "emotion:analyze")
        await policy.record(admission, f"req_{number}", "analyze.text")
        print(number, flush=True)
        if number % 50 == 0:
            await asyncio.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
