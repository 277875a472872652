"""Files of the usage journal are closed when their time has come, whatever happens around them."""

import asyncio
import fcntl
import gc
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import pytest

from affectmesh.v1 import billing_pb2 as pb
from affectmesh.v1 import billing_pb2_grpc
from services.billing.journal import Journal
from services.common import errors
from services.common.channels import Channels
from services.common.settings import Settings
from tests.common.serving import serving
from tests.gateway.streams import until

PRINCIPAL = pb.Principal(org_id=1, principal_id="key_x")


class Ledger(billing_pb2_grpc.BillingServiceServicer):
    """A ledger that remembers ids."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.busy: list[asyncio.Future[Any]] = []
        self.done = threading.Event()
        self.done.set()

    async def RecordUsage(self, request: pb.RecordUsageRequest, context: Any) -> Any:
        self.ids += [entry.request_id for entry in request.entries]
        loop = asyncio.get_running_loop()
        if not self.done.is_set():
            self.busy = [loop.run_in_executor(None, self.done.wait) for _ in range(64)]
        return pb.RecordUsageResponse()


@asynccontextmanager
async def opened(folder: Path, address: str) -> AsyncIterator[Journal]:
    """A journal with its ledger at an address."""
    channels = Channels(Settings(addresses={"billing": address}))
    journal = Journal(folder, channels)
    try:
        yield journal
    finally:
        await journal.close()
        await channels.close()


@pytest.fixture
async def ledger() -> AsyncIterator[tuple[Ledger, str]]:
    """A ledger and its address."""
    ledger = Ledger()  # type: ignore[abstract]

    async def add(server: grpc.aio.Server) -> None:
        billing_pb2_grpc.add_BillingServiceServicer_to_server(ledger, server)

    async with serving(add) as address:
        yield ledger, address


def write(journal: Journal, request_id: str) -> None:
    journal.write(PRINCIPAL, request_id, "analyze.text", Decimal(1), "")


def files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.suffix in (".journal", ".draft")]


def is_held(path: Path) -> bool:
    """Whether somebody keeps a file of the journal open."""
    with path.open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


async def test_a_flush_that_is_cancelled_forgets_no_file(
    tmp_path: Path, ledger: tuple[Ledger, str]
) -> None:
    """All threads are busy then, and whatever the journal would do on one does not happen."""
    taken, address = ledger
    async with opened(tmp_path, address) as journal:
        write(journal, "r1")
        taken.done.clear()
        flushing = asyncio.create_task(journal.flush())
        await until(lambda: taken.busy)
        await asyncio.sleep(0.1)
        flushing.cancel()
        await asyncio.gather(flushing, return_exceptions=True)
        taken.done.set()
        await asyncio.gather(*taken.busy)
    gc.collect()
    assert set(taken.ids) == {"r1"}
    assert files(tmp_path) == []


async def test_what_is_written_after_the_end_is_left_to_the_next(
    tmp_path: Path, ledger: tuple[Ledger, str]
) -> None:
    taken, address = ledger
    async with opened(tmp_path, address) as journal:
        write(journal, "r1")
    write(journal, "r2")
    (left,) = files(tmp_path)
    assert not is_held(left)
    del journal
    gc.collect()
    assert taken.ids == ["r1"]
    async with opened(tmp_path, address):
        await until(lambda: not left.exists())
    assert taken.ids == ["r1", "r2"]


async def test_what_cannot_be_sent_at_the_end_is_left_to_the_next(
    tmp_path: Path, ledger: tuple[Ledger, str]
) -> None:
    taken, address = ledger
    async with opened(tmp_path, "127.0.0.1:9") as journal:
        write(journal, "r1")
        with pytest.raises(errors.Unavailable):
            await journal.flush()
        write(journal, "r2")
        assert all(is_held(path) for path in files(tmp_path))
    assert len(files(tmp_path)) == 2
    assert not any(is_held(path) for path in files(tmp_path))
    async with opened(tmp_path, address):
        await until(lambda: not files(tmp_path))
    assert taken.ids == ["r1", "r2"]


async def test_a_file_that_cannot_be_made_is_not_kept_open(
    tmp_path: Path, ledger: tuple[Ledger, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, address = ledger
    async with opened(tmp_path, address) as journal:

        def refuse(*_: object) -> None:
            raise OSError("no locks here")

        with monkeypatch.context() as patch:
            patch.setattr(fcntl, "flock", refuse)
            write(journal, "r1")
        gc.collect()
        await journal.flush()
    assert taken.ids == ["r1"]
