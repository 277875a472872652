"""Deletes jobs with their files, each with a receipt in the audit log."""

from __future__ import annotations

from sqlalchemy import RowMapping

from affectmesh.v1 import billing_pb2, billing_pb2_grpc
from services.common.channels import Channels, call
from services.common.database import Database
from services.jobs.endings import Ending, Endings
from services.jobs.media import MediaStore
from services.jobs.records import Records
from services.jobs.states import ENDED, State

RETENTION = "retention"
"""Who deletes what has expired, in the audit log."""

_TIMEOUT_S = 10.0
_AT_ONCE = 100


class Deletion:
    """Deletes for their owners, and when their time is over."""

    def __init__(
        self,
        database: Database,
        records: Records,
        endings: Endings,
        media: MediaStore,
        channels: Channels,
    ) -> None:
        self._database = database
        self._records = records
        self._endings = endings
        self._media = media
        billing = channels.stub("billing", billing_pb2_grpc.BillingServiceStub)
        self._receipt = billing.CreateDeletionReceipt

    async def delete(self, row: RowMapping, actor: str) -> billing_pb2.ErasureReceipt:
        """Cancels a job that has not ended, deletes its files, then the job itself.

        What breaks off is completed by the sweep, or by asking again. Raises NotFound where another
        was quicker, Unavailable without billing or the store.
        """
        job_id, org_id = row["job_id"], row["org_id"]
        async with self._database.write() as connection:
            if row["state"] not in ENDED:
                await self._endings.end(connection, job_id, Ending(State.CANCELLED))
            files = await self._records.files(connection, row)
            sha256 = await self._records.begin_erasure(connection, job_id, files)
        await self._media.delete(org_id, files)
        request = billing_pb2.CreateDeletionReceiptRequest(
            org_id=org_id, actor=actor, resource=job_id, sha256=sha256
        )
        receipt: billing_pb2.ErasureReceipt = await call(
            "billing", self._receipt, request, _TIMEOUT_S
        )
        async with self._database.write() as connection:
            await self._records.remove(connection, job_id)
        return receipt

    async def sweep(self) -> int:
        """Deletes the jobs whose time is over; gives how many."""
        swept = 0
        while rows := await self._records.expired(_AT_ONCE):
            for row in rows:
                await self.delete(row, RETENTION)
            swept += len(rows)
        return swept
