"""The audit log: append-only, chained, verifiable."""

import asyncio
import hashlib
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from affectmesh.v1 import billing_pb2 as pb
from services.billing.tables import MIGRATIONS
from services.common import errors
from services.common.database import Database
from tests.billing.installation import Installation, installation


async def add(billing: Installation, action: str, **details: str) -> pb.AuditEntry:
    """One more entry."""
    event = pb.AuditEntry(org_id=1, actor="usr_x", action=action, resource="rec_1", details=details)
    added: pb.AuditEntry = await billing.call("RecordAudit", pb.RecordAuditRequest(entry=event))
    return added


async def verify(billing: Installation) -> pb.VerifyAuditResponse:
    """What a check of the chain finds."""
    found: pb.VerifyAuditResponse = await billing.call("VerifyAudit", pb.VerifyAuditRequest())
    return found


async def test_the_chain_is_intact_and_its_head_is_the_last_hash(billing: Installation) -> None:
    last = None
    for number in range(20):
        last = await add(billing, "recording.deleted", number=str(number))
    found = await verify(billing)
    assert found.intact
    assert last is not None
    assert found.checked_count == last.sequence
    assert found.head_hash == last.hash


async def test_writers_at_once_make_one_chain(tmp_path: Path, database_url: str) -> None:
    async with (
        installation(tmp_path, database_url) as one,
        installation(tmp_path, database_url) as two,
    ):
        await asyncio.gather(*(add(s, f"event.{i}") for i in range(15) for s in (one, two)))
        found = await verify(one)
        assert (found.intact, found.checked_count) == (True, 30)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_entries SET actor = 'nobody' WHERE sequence = 3",
        "DELETE FROM audit_entries WHERE sequence = 3",
    ],
)
async def test_the_database_refuses_changes_to_the_log(
    billing: Installation, database_url: str, statement: str
) -> None:
    for number in range(4):
        await add(billing, f"event.{number}")
    database = await Database.open(database_url, MIGRATIONS)
    with pytest.raises((DBAPIError, errors.AffectMeshError)):
        async with database.write() as connection:
            await connection.execute(text(statement))
    await database.close()
    assert (await verify(billing)).intact


@pytest.mark.parametrize(
    ("statement", "broken"),
    [
        ("UPDATE audit_entries SET actor = 'nobody' WHERE sequence = 3", 3),
        ("UPDATE audit_entries SET details = '{}' WHERE sequence = 2", 2),
        ("UPDATE audit_entries SET time_ms = time_ms + 1 WHERE sequence = 4", 4),
        ("DELETE FROM audit_entries WHERE sequence = 3", 3),
        ("UPDATE audit_entries SET hash = '00' WHERE sequence = 5", 5),
    ],
)
async def test_a_change_behind_the_back_of_the_database_is_found(
    tmp_path: Path, database_url: str, statement: str, broken: int
) -> None:
    async with installation(tmp_path, database_url) as billing:
        for number in range(6):
            await add(billing, f"event.{number}", number=str(number))
        database = await Database.open(database_url, MIGRATIONS)
        drop = (
            ["DROP TRIGGER audit_entries_no_update", "DROP TRIGGER audit_entries_no_delete"]
            if database_url.startswith("sqlite")
            else ["DROP TRIGGER audit_entries_append_only ON audit_entries"]
        )
        async with database.write() as connection:
            for command in (*drop, statement):
                await connection.execute(text(command))
        await database.close()
        found = await verify(billing)
        assert not found.intact
        assert found.first_broken_sequence == broken


async def test_a_log_longer_than_one_reading_is_verified(billing: Installation) -> None:
    database = billing.servicer._database
    async with database.write() as connection:
        for number in range(4100):
            await billing.servicer._audit.append(connection, 1, "a", f"event.{number}", "r")
    found = await verify(billing)
    assert found.intact
    assert found.checked_count >= 4100


async def test_an_organisation_sees_its_own_entries_only(billing: Installation) -> None:
    org_id = (await billing.organization()).org_id
    await add(billing, "event.of.another")
    actions = await billing.audit_actions(org_id)
    assert actions == ["organization.created"]


async def test_a_deletion_has_a_receipt_bound_to_the_log(billing: Installation) -> None:
    org_id = (await billing.organization()).org_id
    digests = ["a" * 64, "b" * 64]
    receipt = await billing.call(
        "CreateDeletionReceipt",
        pb.CreateDeletionReceiptRequest(
            org_id=org_id, actor="usr_x", resource="rec_1", sha256=digests
        ),
    )
    request = pb.GetDeletionReceiptRequest(org_id=org_id, receipt_id=receipt.receipt_id)
    assert await billing.call("GetDeletionReceipt", request) == receipt
    listed = await billing.call("ListAudit", pb.ListAuditRequest(org_id=org_id))
    newest = listed.entries[0]
    assert (newest.action, newest.resource) == ("resource.deleted", "rec_1")
    assert (newest.sequence, newest.hash) == (receipt.audit_sequence, receipt.audit_hash)
    assert (
        newest.details["sha256"]
        == hashlib.sha256("".join(digest + "\n" for digest in digests).encode()).hexdigest()
    )
    request.org_id += 1
    with pytest.raises(errors.NotFound):
        await billing.call("GetDeletionReceipt", request)


@pytest.mark.parametrize("digest", ["", "x" * 64, "a" * 63, "A" * 64])
async def test_a_receipt_of_no_digest_is_refused(billing: Installation, digest: str) -> None:
    with pytest.raises(errors.InvalidRequest):
        await billing.call(
            "CreateDeletionReceipt",
            pb.CreateDeletionReceiptRequest(org_id=1, resource="rec_1", sha256=[digest]),
        )
