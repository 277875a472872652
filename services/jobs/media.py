"""Media: files that clients upload and that jobs make, kept until they expire."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import RowMapping, delete, insert, select, update

from affectmesh.v1 import jobs_pb2 as pb
from services.billing.plans import PLANS, Plan
from services.common import errors
from services.common.caller import Caller
from services.common.database import Database, fetch_all, fetch_first
from services.common.resources import new_id, now_ms, timestamp
from services.common.settings import Settings
from services.jobs import content, file_names, plan_limits, playing_time
from services.jobs.content import HEAD_BYTES, Content
from services.jobs.store import Store, open_store
from services.jobs.store.store import PIECE_BYTES
from services.jobs.tables import media
from services.jobs.threads import in_thread

log = structlog.get_logger()

DAY_MS = 24 * 60 * 60 * 1000
LONGEST_UPLOAD_S = 3600
"""An upload that takes longer is cut off; what one left that died is swept a little later."""

_SWEEP_GRACE_S = 300
_SWEPT_AT_ONCE = 100
_MEASURED_AT_ONCE = 2
_SHA256 = re.compile(r"[0-9a-f]{64}")


class MediaState(IntEnum):
    """Where a file stands. Only what is KEPT is shown."""

    RECEIVING = 0
    KEPT = 1
    DELETING = 2


class MediaStore:
    """The files of every organisation: rows in the database, bytes in the store."""

    def __init__(
        self,
        database: Database,
        store: Store,
        retention_days: int,
        clock_ms: Callable[[], int] = now_ms,
    ) -> None:
        self._database = database
        self._store = store
        self._retention_ms = retention_days * DAY_MS
        self._now_ms = clock_ms
        self._measuring = asyncio.Semaphore(_MEASURED_AT_ONCE)
        self._discards: set[asyncio.Task[None]] = set()

    @classmethod
    def open(cls, settings: Settings, database: Database) -> MediaStore:
        """Over the store of the settings."""
        return cls(database, open_store(settings), settings.retention_days)

    async def close(self) -> None:
        """Ends what is being cleared away, and the store."""
        await asyncio.gather(*self._discards, return_exceptions=True)
        await self._store.close()

    async def receive(
        self, caller: Caller, description: pb.MediaDescription, chunks: AsyncIterator[bytes]
    ) -> pb.Media:
        """Takes an upload; leaves nothing behind where it fails or breaks off.

        Raises InvalidRequest (no bytes, wrong checksum), InvalidAudio and InvalidVideo (cannot be
        read), UnsupportedMedia (of no kind read here, or not of that declared), PayloadTooLarge
        (size or playing time over the plan), StorageFull, DeadlineExceeded.
        """
        asked = description.sha256.lower()
        if asked and not _SHA256.fullmatch(asked):
            raise errors.InvalidRequest(
                "sha256 is not 64 hexadecimal digits.",
                field="sha256",
                suggestion="Send the digest in hexadecimal, or none.",
            )
        plan = PLANS.get(caller.plan, PLANS["free"])
        upload = _Upload(chunks, plan)
        async with _deadline(LONGEST_UPLOAD_S):
            head = await upload.head()
            kind = content.identify(head, description.content_type)
            await self._store.check_room()
            async with self._kept(caller.org_id, description.file_name) as row:
                await self._store.put(_key(row), upload.pieces())
                if asked and asked != upload.sha256:
                    raise errors.InvalidRequest(
                        "The file is not the one whose sha256 was sent.",
                        field="sha256",
                        found=upload.sha256,
                        suggestion="Send it again.",
                    )
                duration_ms, content_type = await self._measure(_key(row), kind, plan)
                row.update(
                    content_type=content_type,
                    size_bytes=upload.size,
                    sha256=upload.sha256,
                    duration_ms=duration_ms,
                    due_ms=self._now_ms() + self._retention_ms,
                )
        return message(row)

    async def keep(
        self,
        org_id: int,
        file_name: str,
        content_type: str,
        data: bytes | Path,
        expire_ms: int,
    ) -> pb.Media:
        """Keeps a file of our own making until `expire_ms`. Raises StorageFull."""
        upload = _Upload(_read(data))
        async with self._kept(org_id, file_name) as row:
            await self._store.put(_key(row), upload.pieces())
            row.update(
                content_type=content_type,
                size_bytes=upload.size,
                sha256=upload.sha256,
                due_ms=expire_ms,
            )
        return message(row)

    async def get(self, org_id: int, media_id: str) -> pb.Media:
        """The description of a file. Raises NotFound."""
        return message(await self._row(org_id, media_id))

    async def read(
        self, org_id: int, media_id: str, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """The bytes of a file from an offset on. Raises NotFound, InvalidRequest (offset)."""
        row = await self._row(org_id, media_id)
        rest = row["size_bytes"] - offset
        if offset < 0 or rest < 0:
            raise errors.InvalidRequest(
                f"The file has {row['size_bytes']} bytes.",
                field="offset",
                suggestion="Start within the file.",
            )
        wanted = rest if length is None else min(rest, length)
        async for piece in self._store.read(_key(row), offset, wanted):
            yield piece

    async def delete(self, org_id: int, media_ids: Iterable[str]) -> list[str]:
        """Deletes files; gives the sha256 of each. What is not there is not counted."""
        marked = (
            update(media)
            .where(
                media.c.org_id == org_id,
                media.c.media_id.in_(list(media_ids)),
                media.c.state == MediaState.KEPT,
            )
            .values(state=MediaState.DELETING, due_ms=self._now_ms() + _SWEEP_GRACE_S * 1000)
            .returning(media)
        )
        async with self._database.write() as connection:
            rows = await fetch_all(connection, marked)
        await self._clear(rows)
        return [row["sha256"] for row in rows]

    async def sweep(self) -> int:
        """Deletes what has expired, and what interrupted uploads and deletions left.

        Gives how many files that were.
        """
        swept = 0
        while rows := await self._take_due():
            await self._clear(rows)
            swept += len(rows)
        return swept

    async def _take_due(self) -> list[RowMapping]:
        now = self._now_ms()
        due = select(media.c.media_id).where(media.c.due_ms <= now).limit(_SWEPT_AT_ONCE)
        taken = (
            update(media)
            .where(media.c.media_id.in_(due), media.c.due_ms <= now)
            .values(state=MediaState.DELETING, due_ms=now + _SWEEP_GRACE_S * 1000)
            .returning(media)
        )
        async with self._database.write() as connection:
            return await fetch_all(connection, taken)

    async def _clear(self, rows: Sequence[RowMapping]) -> None:
        cleared = []
        for row in rows:
            try:
                await self._store.delete(_key(row))
                cleared.append(row["media_id"])
            except errors.AffectMeshError as error:
                log.warning("media not deleted yet", media=row["media_id"], problem=error.message)
        if cleared:
            async with self._database.write() as connection:
                await connection.execute(delete(media).where(media.c.media_id.in_(cleared)))

    async def _row(self, org_id: int, media_id: str) -> RowMapping:
        query = select(media).where(
            media.c.media_id == media_id,
            media.c.org_id == org_id,
            media.c.state == MediaState.KEPT,
            media.c.due_ms > self._now_ms(),
        )
        async with self._database.read() as connection:
            row = await fetch_first(connection, query)
        if row is None:
            raise errors.NotFound("There is no such file.", suggestion="Check its id.")
        return row

    @contextlib.asynccontextmanager
    async def _kept(self, org_id: int, file_name: str) -> AsyncIterator[dict[str, Any]]:
        """The row of a new file, to be completed: kept at the end, gone after an error."""
        started = self._now_ms()
        row: dict[str, Any] = {
            "media_id": new_id("med"),
            "org_id": org_id,
            "state": MediaState.RECEIVING,
            "file_name": file_names.clean(file_name),
            "content_type": "",
            "size_bytes": 0,
            "sha256": "",
            "duration_ms": None,
            "created_ms": started,
            "due_ms": started + (LONGEST_UPLOAD_S + _SWEEP_GRACE_S) * 1000,
        }
        async with self._database.write() as connection:
            await connection.execute(insert(media).values(row))
        try:
            yield row
            row["state"] = MediaState.KEPT
            whole = (
                update(media)
                .where(media.c.media_id == row["media_id"], media.c.state == MediaState.RECEIVING)
                .values(row)
            )
            async with self._database.write() as connection:
                await connection.execute(whole)
        except BaseException:
            discard = asyncio.create_task(self._discard(row))
            self._discards.add(discard)
            discard.add_done_callback(self._discards.discard)
            await asyncio.shield(discard)
            raise

    async def _discard(self, row: dict[str, Any]) -> None:
        try:
            await self._store.delete(_key(row))
            gone = delete(media).where(media.c.media_id == row["media_id"])
            async with self._database.write() as connection:
                await connection.execute(gone)
        except errors.AffectMeshError as error:
            log.warning("upload left for the sweep", problem=error.message)

    async def _measure(self, key: str, kind: Content, plan: Plan) -> tuple[int | None, str]:
        if not kind.format:
            return None, kind.content_type

        def measure() -> tuple[int, bool]:
            with self._store.open(key) as file:
                return playing_time.measure(file, kind, plan.max_duration_ms)

        async with self._measuring:
            duration_ms, video = await in_thread(measure)
        if duration_ms > plan.max_duration_ms:
            raise plan_limits.too_long(plan)
        return duration_ms, kind.content_type if video else kind.sound_type or kind.content_type


class _Upload:
    """Bytes on their way in: counted, hashed, in pieces of PIECE_BYTES."""

    def __init__(self, chunks: AsyncIterator[bytes], plan: Plan | None = None) -> None:
        self._chunks = chunks
        self._plan = plan
        self._head: list[bytes] = []
        self._digest = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        """Of all that came through so far, in hexadecimal."""
        return self._digest.hexdigest()

    async def head(self) -> bytes:
        """The first bytes, which `pieces` gives again. Raises InvalidRequest for no bytes."""
        async for chunk in self._chunks:
            self._head.append(chunk)
            if sum(map(len, self._head)) >= HEAD_BYTES:
                break
        head = b"".join(self._head)[:HEAD_BYTES]
        if not head:
            raise errors.InvalidRequest("The file is empty.", suggestion="Send its bytes.")
        return head

    async def pieces(self) -> AsyncIterator[bytes]:
        """All bytes. Raises PayloadTooLarge as soon as they are too many for the plan."""
        waiting, count = self._head, sum(map(len, self._head))
        async for chunk in self._chunks:
            waiting.append(chunk)
            count += len(chunk)
            if count >= PIECE_BYTES:
                yield await self._count(b"".join(waiting))
                waiting, count = [], 0
        if waiting:
            yield await self._count(b"".join(waiting))

    async def _count(self, piece: bytes) -> bytes:
        self.size += len(piece)
        if self._plan and self.size > self._plan.max_upload_bytes:
            raise plan_limits.too_large(self._plan)
        await in_thread(self._digest.update, piece)
        return piece


def message(row: RowMapping | dict[str, Any]) -> pb.Media:
    """A row as the contract has it."""
    return pb.Media(
        media_id=row["media_id"],
        file_name=row["file_name"],
        content_type=row["content_type"],
        size_bytes=row["size_bytes"],
        sha256=row["sha256"],
        duration_ms=row["duration_ms"],
        create_time=timestamp(row["created_ms"]),
        expire_time=timestamp(row["due_ms"]),
    )


def _key(row: RowMapping | dict[str, Any]) -> str:
    return f"{row['org_id']}/{row['media_id']}"


async def _read(data: bytes | Path) -> AsyncIterator[bytes]:
    if isinstance(data, bytes):
        yield data
        return
    file = await asyncio.to_thread(data.open, "rb")
    try:
        while piece := await in_thread(file.read, PIECE_BYTES):
            yield piece
    finally:
        file.close()


@contextlib.asynccontextmanager
async def _deadline(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise errors.DeadlineExceeded(
            "The upload took too long.", suggestion="Send it faster, or a smaller file."
        ) from None
