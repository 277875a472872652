"""A billing service on a real database, served over real gRPC in the test's process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from affectmesh.v1 import billing_pb2 as pb
from affectmesh.v1 import billing_pb2_grpc
from services.billing.servicer import BillingServicer
from services.common.channels import Channels, call
from services.common.settings import Settings
from tests.common.serving import serving

PASSWORD = "correct horse battery staple"
BOOTSTRAP = "bootstrap-key-0123456789"


@dataclass
class Installation:
    """The running service and what reaches it."""

    settings: Settings
    channels: Channels
    servicer: BillingServicer
    _emails: int = 0

    async def call(self, method: str, request: Any) -> Any:
        """Calls a method over gRPC; raises the service's own error."""
        stub = self.channels.stub("billing", billing_pb2_grpc.BillingServiceStub)
        return await call("billing", getattr(stub, method), request, 30)

    async def organization(self, **fields: str) -> pb.Organization:
        """A new organisation, yet without users: a password costs more than all the rest."""
        given = {"name": "Test", "plan": "pro", "jurisdiction": "", "use_context": "", **fields}
        async with self.servicer._database.write() as connection:
            row = await self.servicer._organizations.create(connection, **given)
        return pb.Organization(org_id=row["org_id"], name=row["name"], plan=row["plan"])

    async def owner_of(self, organization: pb.Organization) -> pb.User:
        """A new owner of an organisation."""
        self._emails += 1
        user = pb.User(
            org_id=organization.org_id,
            email=f"owner{self._emails}@example.org",
            role=pb.ROLE_OWNER,
        )
        request = pb.CreateUserRequest(user=user, password=PASSWORD)
        owner: pb.User = await self.call("CreateUser", request)
        return owner

    async def key(self, org_id: int, **fields: Any) -> pb.ApiKey:
        """A new API key with its secret."""
        key = pb.ApiKey(**{"org_id": org_id, "name": "test", **fields})
        made: pb.ApiKey = await self.call("CreateApiKey", pb.CreateApiKeyRequest(key=key))
        return made

    async def authenticate(
        self, secret: str, kind: pb.CredentialKind.ValueType = pb.CREDENTIAL_KIND_API_KEY
    ) -> pb.Principal:
        """The principal of a credential."""
        request = pb.AuthenticateRequest(kind=kind, secret=secret)
        principal: pb.Principal = await self.call("Authenticate", request)
        return principal

    async def record(self, *entries: pb.UsageEntry) -> int:
        """Enters usage; gives how many entries were new."""
        answer = await self.call("RecordUsage", pb.RecordUsageRequest(entries=entries))
        return int(answer.recorded_count)

    async def audit_actions(self, org_id: int) -> list[str]:
        """Actions in the audit log, oldest first."""
        found = await self.call("ListAudit", pb.ListAuditRequest(org_id=org_id, page_size=100))
        return [entry.action for entry in reversed(found.entries)]


@asynccontextmanager
async def installation(
    data_dir: Path, database_url: str, **fields: Any
) -> AsyncIterator[Installation]:
    """A billing service until the block ends."""
    settings = Settings(data_dir=data_dir, database_url=database_url, **fields)
    servicer = await BillingServicer.open(settings)

    async def add(server: grpc.aio.Server) -> None:
        billing_pb2_grpc.add_BillingServiceServicer_to_server(servicer, server)

    try:
        async with serving(add) as address:
            reachable = settings.model_copy(update={"addresses": {"billing": address}})
            channels = Channels(reachable)
            try:
                yield Installation(reachable, channels, servicer)
            finally:
                await channels.close()
    finally:
        await servicer.close()


def entry(request_id: str, org_id: int, **fields: Any) -> pb.UsageEntry:
    """A usage entry."""
    return pb.UsageEntry(
        **{
            "request_id": request_id,
            "org_id": org_id,
            "principal_id": "key_test",
            "item": "video.basic",
            "quantity": "1",
            **fields,
        }
    )
