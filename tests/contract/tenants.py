"""Organisations of the running mesh, each with a key of its own."""

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import grpc
import httpx

from affectmesh.v1 import billing_pb2 as pb
from affectmesh.v1 import billing_pb2_grpc
from services.mesh.temporary import TemporaryMesh

PASSWORD = "correct horse battery"


@dataclass(frozen=True)
class Tenant:
    """An organisation on a plan; its key is billed."""

    mesh: TemporaryMesh
    org_id: int
    email: str
    """Of the owner, whose password is PASSWORD."""

    async def key(self, *scopes: str) -> str:
        """A new key with these scopes, or with all."""
        key = pb.ApiKey(org_id=self.org_id, name="contract", scopes=scopes)
        made = await billing(self.mesh, "CreateApiKey", pb.CreateApiKeyRequest(key=key))
        return str(made.secret)

    async def client(self, *scopes: str) -> httpx.AsyncClient:
        """A client with a new key in the Authorization header."""
        return httpx.AsyncClient(
            base_url=self.mesh.address,
            headers={"authorization": f"Bearer {await self.key(*scopes)}"},
            timeout=120,
        )


async def tenant(
    mesh: TemporaryMesh, plan: str = "pro", use_context: str = "research", jurisdiction: str = "US"
) -> Tenant:
    """A new organisation."""
    organization = pb.Organization(
        name="Tenant", plan=plan, use_context=use_context, jurisdiction=jurisdiction
    )
    email = f"{uuid4().hex}@example.org"
    request = pb.CreateOrganizationRequest(
        organization=organization, owner_email=email, owner_password=PASSWORD
    )
    made = await billing(mesh, "CreateOrganization", request)
    return Tenant(mesh, made.org_id, email)


async def billing(mesh: TemporaryMesh, method: str, request: Any) -> Any:
    """Calls the billing service as the operator does."""
    async with grpc.aio.insecure_channel(mesh.settings.address("billing")) as channel:
        return await getattr(billing_pb2_grpc.BillingServiceStub(channel), method)(
            request, timeout=60
        )
