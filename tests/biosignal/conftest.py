"""The biosignal service on a real server."""

from collections.abc import AsyncIterator

import grpc
import pytest

from affectmesh.v1 import biosignal_pb2_grpc
from services.biosignal.servicer import register
from services.common.channels import OPTIONS
from services.common.server import Service
from services.common.settings import Settings
from tests.common.serving import serving

Stub = biosignal_pb2_grpc.BiosignalServiceStub


@pytest.fixture
async def stub() -> AsyncIterator[Stub]:
    service = Service("biosignal", Settings(fetch_allow_private=True))

    async def add(server: grpc.aio.Server) -> None:
        await register(server, service)

    async with (
        serving(add) as address,
        grpc.aio.insecure_channel(address, options=OPTIONS) as channel,
    ):
        yield Stub(channel)
    for close in service.closers:
        await close()
