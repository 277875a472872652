"""Envoy before the shared mesh, and accounts of its own for each test."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import httpx
import pytest

from affectmesh.v1 import billing_pb2 as pb
from affectmesh.v1 import billing_pb2_grpc
from services.common.channels import Channels, call
from services.common.settings import AUTHORIZATION, SERVICES
from services.mesh.temporary import TemporaryMesh
from tests.envoy.servers import Envoy
from tests.mesh.waiting import wait_until

ORIGIN = "https://app.example.org"


@pytest.fixture(scope="session")
def envoy(mesh: TemporaryMesh) -> Iterator[Envoy]:
    """Edge and internal listener of the shared mesh, once they know every service."""
    with Envoy(mesh.settings, envoy_cors_origins=(ORIGIN,)) as running:
        for name in (*SERVICES, AUTHORIZATION):
            wait_until(lambda name=name: running.healthy(name) == 1, f"{name} serves")  # type: ignore[misc]
        yield running


@pytest.fixture(scope="session")
async def client(mesh: TemporaryMesh, envoy: Envoy) -> AsyncIterator[httpx.AsyncClient]:
    """REST at the edge."""
    headers = {"x-wia-api-key": mesh.key}
    async with httpx.AsyncClient(base_url=envoy.url, headers=headers, timeout=60) as client:
        yield client


@pytest.fixture(scope="session")
async def channel(envoy: Envoy) -> AsyncIterator[grpc.aio.Channel]:
    """gRPC at the edge."""
    async with grpc.aio.insecure_channel(envoy.edge) as channel:
        yield channel


@dataclass
class Accounts:
    """Makes organisations and keys, and reads the ledger."""

    channels: Channels
    _count: int = 0

    async def call(self, method: str, request: Any) -> Any:
        """A method of the billing service."""
        stub = self.channels.stub("billing", billing_pb2_grpc.BillingServiceStub)
        return await call("billing", getattr(stub, method), request, 30)

    async def organization(
        self, limits: pb.Limits | None = None, jurisdiction: str = "", use_context: str = ""
    ) -> int:
        """A new organisation."""
        self._count += 1
        request = pb.CreateOrganizationRequest(
            organization=pb.Organization(
                name="Envoy",
                plan="enterprise",
                jurisdiction=jurisdiction,
                use_context=use_context,
            ),
            owner_email=f"envoy{self._count}@example.org",
            owner_password="correct horse battery staple",
        )
        org_id: int = (await self.call("CreateOrganization", request)).org_id
        if limits is not None:
            change = pb.UpdateOrganizationRequest(org_id=org_id, custom_limits=limits)
            await self.call("UpdateOrganization", change)
        return org_id

    async def key(self, org_id: int, *scopes: str) -> str:
        """A new key; with all scopes where none is named."""
        key = pb.ApiKey(org_id=org_id, name="test", scopes=scopes)
        made = await self.call("CreateApiKey", pb.CreateApiKeyRequest(key=key))
        return str(made.secret)

    async def billed(self, org_id: int) -> dict[str, tuple[int, str]]:
        """Entries and quantity of this month, by item."""
        usage = await self.call("GetUsage", pb.GetUsageRequest(org_id=org_id))
        return {line.item: (line.count, line.quantity) for line in usage.lines}


@pytest.fixture(scope="session")
async def accounts(mesh: TemporaryMesh) -> AsyncIterator[Accounts]:
    """The billing service of the shared mesh."""
    channels = Channels(mesh.settings)
    yield Accounts(channels)
    await channels.close()
