"""A metering gateway as a process of its own: `python -m tests.gateway.serving`."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from services.common import telemetry
from services.common.channels import Channels
from services.common.server import read_settings
from services.gateway.policy import Policy
from tests.gateway.gateways import application


class _Server(uvicorn.Server):
    """Leaves the signals to `main`, which has more to end than the server."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def main() -> None:
    """Serves on the settings' port until SIGTERM."""
    settings = read_settings()
    telemetry.start("gateway", "warning")
    channels = Channels(settings)
    policy = await Policy.open(settings, channels)
    config = uvicorn.Config(
        application(settings, channels, policy),
        host=settings.host,
        port=settings.http_port,
        log_config=None,
        access_log=False,
    )
    server = _Server(config)

    def stop() -> None:
        server.should_exit = True

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)
    await server.serve()
    await policy.close()
    await channels.close()


if __name__ == "__main__":
    asyncio.run(main())
