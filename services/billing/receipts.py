"""Receipts of deletions, each bound to an entry of the audit log."""

import hashlib
import re
from collections.abc import Sequence

from sqlalchemy import RowMapping, insert, select

from services.billing import fields, vault
from services.billing.audit import Audit
from services.billing.tables import deletion_receipts
from services.common import errors
from services.common.database import Database, fetch_first, fetch_one

MAX_FILES = 10_000

_SHA256 = re.compile(r"[0-9a-f]{64}")


class Receipts:
    """The receipts of one installation."""

    def __init__(self, database: Database, audit: Audit) -> None:
        self._database = database
        self._audit = audit

    async def create(
        self, org_id: int, actor: str, resource: str, sha256: Sequence[str]
    ) -> RowMapping:
        """Enters a deletion in the audit log and gives its receipt.

        The audit entry holds one digest of all files: the sha256 of their digests, each followed
        by a line feed. Raises InvalidRequest for a digest that is none.
        """
        resource = fields.text("resource", resource, 254)
        if len(sha256) > MAX_FILES or not all(map(_SHA256.fullmatch, sha256)):
            raise fields.invalid(
                "sha256",
                "These are not SHA-256 digests.",
                f"Send at most {MAX_FILES}, each 64 hexadecimal digits.",
            )
        receipt_id = vault.new_id("del")
        files = "".join(digest + "\n" for digest in sha256)
        details = {
            "receipt": receipt_id,
            "files": str(len(sha256)),
            "sha256": hashlib.sha256(files.encode()).hexdigest(),
        }
        async with self._database.write() as connection:
            entry = await self._audit.append(
                connection, org_id, actor, "resource.deleted", resource, details
            )
            row = {
                "receipt_id": receipt_id,
                "org_id": org_id,
                "resource": resource,
                "sha256": files,
                "deleted_ms": entry["time_ms"],
                "sequence": entry["sequence"],
                "hash": entry["hash"],
            }
            query = insert(deletion_receipts).values(row).returning(deletion_receipts)
            return await fetch_one(connection, query)

    async def get(self, org_id: int, receipt_id: str) -> RowMapping:
        """A receipt of the organisation. Raises NotFound."""
        columns = deletion_receipts.c
        query = select(deletion_receipts).where(
            columns.receipt_id == receipt_id, columns.org_id == org_id
        )
        async with self._database.read() as connection:
            row = await fetch_first(connection, query)
        if row is None:
            raise errors.NotFound("There is no such receipt.", suggestion="Check its id.")
        return row
