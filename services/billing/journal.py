"""Metering: every billable request is written to a journal at once, and to the ledger soon after.

An entry is one line of a file in the data folder, so it outlives the process; a task sends whole
files to the billing service, which enters each request once however often it is sent, and deletes
them when they are in the ledger. A process holds a lock on its own file; files that nobody holds
are of processes that died, and any other of the same data folder sends them.
"""

from __future__ import annotations

import asyncio
import fcntl
import io
import os
import secrets
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Protocol

import orjson
import structlog
from google.protobuf.json_format import MessageToDict

from affectmesh.v1 import billing_pb2 as pb
from affectmesh.v1 import billing_pb2_grpc
from services.billing.prices import MAX_QUANTITY, plain, price_of
from services.common import errors, metrics
from services.common.channels import Channels, call

log = structlog.get_logger()

SEND_EVERY_S = 0.2
ADOPT_EVERY_S = 5.0
_BATCH = 500
_CALL_TIMEOUT_S = 30.0
_LONGEST_WAIT_S = 5.0
_SUFFIX = ".journal"


class Payer(Protocol):
    """Whose usage it is: a principal or a caller."""

    @property
    def org_id(self) -> int: ...

    @property
    def principal_id(self) -> str: ...

    @property
    def test_mode(self) -> bool: ...


class Journal:
    """The usage that one process has metered, on its way to the ledger."""

    def __init__(self, folder: Path, channels: Channels) -> None:
        stub = channels.stub("billing", billing_pb2_grpc.BillingServiceStub)
        self._record = stub.RecordUsage
        self._folder = folder
        self._own: _File | None = None
        self._full: deque[_File] = deque()
        self._unwritten: list[bytes] = []
        self._sending = asyncio.Lock()
        self._closing = asyncio.Event()
        self._wait_s = SEND_EVERY_S
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._task = asyncio.create_task(self._run())

    def write(
        self, payer: Payer, request_id: str, item: str, quantity: Decimal, consent: str
    ) -> None:
        """Writes one entry; it is safe from the death of this process when this returns.

        Raises InvalidRequest for an item that has no price, or a quantity that cannot be billed.
        """
        price_of(item)
        if not (quantity.is_finite() and 0 <= quantity <= MAX_QUANTITY):
            raise errors.InvalidRequest(
                f"{quantity} cannot be billed.",
                field="quantity",
                suggestion=f"Meter a number from 0 to {MAX_QUANTITY}.",
            )
        line = orjson.dumps(
            [
                request_id,
                payer.org_id,
                payer.principal_id,
                item,
                plain(quantity),
                payer.test_mode,
                time.time_ns() // 1_000_000,
                consent,
            ],
            option=orjson.OPT_APPEND_NEWLINE,
        )
        metrics.USAGE_WAITING.inc()
        self._append(line)

    async def flush(self) -> None:
        """Sends what there is. Raises Unavailable while the billing service is gone."""
        async with self._sending:
            if self._unwritten:
                lines, self._unwritten = self._unwritten, []
                for line in lines:
                    self._append(line)
            self._seal()
            while self._full:
                await self._send(self._full[0])
                self._full.popleft().delete()

    async def close(self) -> None:
        """Sends what there is, and leaves it to the next process where that fails.

        What is written later is left to it as well.
        """
        self._closing.set()
        try:
            await self._task
        finally:
            self._leave()

    def _leave(self) -> None:
        self._seal()
        while self._full:
            self._full.popleft().leave()

    def _seal(self) -> None:
        if self._own is not None:
            self._full.append(self._own)
            self._own = None

    def _append(self, line: bytes) -> None:
        try:
            self._own = self._own or _File.create(self._folder)
            self._own.append(line)
        except OSError as error:
            log.error("the usage journal cannot be written", problem=str(error))
            self._unwritten.append(line)
        if self._task.done():
            self._leave()

    async def _run(self) -> None:
        adopted = 0.0
        closing = False
        while not closing:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._wait_s):
                    closing = await self._closing.wait()
            try:
                if not closing and time.monotonic() - adopted > ADOPT_EVERY_S:
                    adopted = time.monotonic()
                    self._full.extend(await asyncio.to_thread(self._adopt))
                await self.flush()
                self._wait_s = SEND_EVERY_S
            except errors.AffectMeshError as error:
                self._wait_s = min(_LONGEST_WAIT_S, self._wait_s * 2)
                log.warning("usage waits in the journal", problem=error.message)
            except Exception:
                self._wait_s = _LONGEST_WAIT_S
                log.exception("usage waits in the journal")

    async def _send(self, file: _File) -> None:
        lines = await asyncio.to_thread(file.read)
        for start in range(0, len(lines), _BATCH):
            entries = [entry for line in lines[start : start + _BATCH] for entry in _entry(line)]
            await self._enter(entries)
        metrics.USAGE_WAITING.dec(len(lines))

    async def _enter(self, entries: Sequence[pb.UsageEntry]) -> None:
        """Sends entries; those that the ledger refuses are put aside, one by one."""
        request = pb.RecordUsageRequest(entries=entries)
        try:
            await call("billing", self._record, request, _CALL_TIMEOUT_S)
        except (errors.InvalidRequest, errors.NotFound) as error:
            if len(entries) == 1:
                await asyncio.to_thread(self._put_aside, entries[0], error)
                return
            middle = len(entries) // 2
            await self._enter(entries[:middle])
            await self._enter(entries[middle:])

    def _put_aside(self, entry: pb.UsageEntry, error: errors.AffectMeshError) -> None:
        metrics.USAGE_REJECTED.inc()
        log.error("usage entry rejected", request_id=entry.request_id, problem=error.message)
        line = orjson.dumps([error.message, MessageToDict(entry)], option=orjson.OPT_APPEND_NEWLINE)
        with (self._folder / "rejected.jsonl").open("ab") as file:
            file.write(line)

    def _adopt(self) -> list[_File]:
        """Takes over the files of processes that died."""
        paths = sorted(self._folder.glob(f"*{_SUFFIX}"))
        found = [file for path in paths if (file := _File.adopt(path)) is not None]
        for file in found:
            metrics.USAGE_WAITING.inc(len(file.read()))
            log.info("adopted a usage journal", path=file.path.name)
        return found


class _File:
    """One locked file of entries."""

    def __init__(self, path: Path, file: io.FileIO) -> None:
        self.path = path
        self._file = file
        self._size = 0

    @classmethod
    def create(cls, folder: Path) -> _File:
        """A new file; it has its name only once it is locked, so that nobody adopts it before."""
        path = folder / f"{time.time_ns():020d}-{secrets.token_hex(4)}{_SUFFIX}"
        draft = path.with_suffix(".draft")
        file = io.FileIO(draft, "a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            draft.rename(path)
        except OSError:
            file.close()
            raise
        return cls(path, file)

    @classmethod
    def adopt(cls, path: Path) -> _File | None:
        """A file that nobody holds; None where somebody does, this process too, or has sent it."""
        try:
            file = io.FileIO(path, "r+")
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        return cls(path, file)

    def append(self, line: bytes) -> None:
        """Writes a whole line or, raising OSError, nothing."""
        written = self._file.write(line)
        if written != len(line):
            self._file.truncate(self._size)
            raise OSError("the file system is full")
        self._size += written

    def read(self) -> list[bytes]:
        """The lines."""
        number = self._file.fileno()
        return os.pread(number, os.fstat(number).st_size, 0).splitlines()

    def leave(self) -> None:
        """Lets another process have the file."""
        os.fsync(self._file)
        self._file.close()

    def delete(self) -> None:
        """Ends the file."""
        self.path.unlink(missing_ok=True)
        self._file.close()


def _entry(line: bytes) -> Iterator[pb.UsageEntry]:
    try:
        request_id, org_id, principal_id, item, quantity, test_mode, time_ms, consent = (
            orjson.loads(line)
        )
    except ValueError:
        metrics.USAGE_REJECTED.inc()
        log.error("usage journal has a broken line", line=line[:200].decode(errors="replace"))
        return
    entry = pb.UsageEntry(
        request_id=request_id,
        org_id=org_id,
        principal_id=principal_id,
        item=item,
        quantity=quantity,
        test_mode=test_mode,
        consent_reference=consent,
    )
    entry.time.FromMilliseconds(time_ms)
    yield entry
