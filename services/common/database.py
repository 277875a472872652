"""The database: opened, brought to the newest schema, and read and written in transactions."""

import asyncio
import fcntl
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import structlog
from alembic import command
from alembic.config import Config
from sqlalchemy import (
    BigInteger,
    Connection,
    Executable,
    Integer,
    RowMapping,
    event,
    make_url,
    text,
)
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from services.common import errors, metrics

log = structlog.get_logger()

R = TypeVar("R")

Serial = BigInteger().with_variant(Integer, "sqlite")
"""Type of the column that numbers the rows: SQLite does so only in one of type INTEGER."""

BUSY_TIMEOUT_S = 5
"""How long a transaction waits for a locked database or a free connection."""

_MIGRATION_LOCK = 7_204_110_317
"""Number of PostgreSQL's advisory lock around migrations."""


class Database:
    """SQLite or PostgreSQL. A database that is locked or down raises Unavailable."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._sqlite = engine.dialect.name == "sqlite"
        self._writing = asyncio.Lock()

    @classmethod
    async def open(cls, url: str, migrations: Path) -> "Database":
        """Connects to a SQLAlchemy URL and applies the migrations of a folder that are missing.

        Services may share one database: each has migrations of its own, with a version table of
        their own.
        """
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            if parsed.database:
                await asyncio.to_thread(_make_private, Path(parsed.database))
            engine = create_async_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})
            _prepare_sqlite(engine)
        else:
            engine = create_async_engine(
                parsed.set(drivername="postgresql+asyncpg"),
                pool_pre_ping=True,
                pool_timeout=BUSY_TIMEOUT_S,
                connect_args={"timeout": BUSY_TIMEOUT_S, "command_timeout": 30},
            )
        database = cls(engine)
        await database._migrate(parsed.database, migrations)
        return database

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that changes nothing."""
        with metrics.DATABASE_SECONDS.labels("read").time(), _translated():
            async with self._transaction({}) as connection:
                yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that is written whole or not at all.

        SQLite has one writer at a time: it takes the lock at once, so that what the transaction
        reads first is still true when it writes.
        """
        timer = metrics.DATABASE_SECONDS.labels("write").time()
        if not self._sqlite:
            with timer, _translated():
                async with self._transaction({}) as connection:
                    yield connection
            return
        async with self._writing:
            with timer, _translated():
                async with self._transaction({"affectmesh_begin": "BEGIN IMMEDIATE"}) as connection:
                    yield connection

    @asynccontextmanager
    async def _transaction(self, options: Mapping[str, str]) -> AsyncIterator[AsyncConnection]:
        connection = _Connection(self._engine)
        try:
            await _to_the_end(connection.start())
            await _to_the_end(connection.execution_options(**options))
            await _to_the_end(connection.begin().start())
            try:
                yield connection
            except BaseException:
                await _to_the_end(connection.rollback())
                raise
            await _to_the_end(connection.commit())
        finally:
            if connection.sync_connection is not None:
                await _to_the_end(connection.close())

    async def lock(self, connection: AsyncConnection, number: int) -> None:
        """Makes writers of one thing wait for each other until the transaction ends."""
        if not self._sqlite:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": number})

    async def close(self) -> None:
        """Closes every connection."""
        await self._engine.dispose()

    async def _migrate(self, path: str | None, migrations: Path) -> None:
        if self._sqlite and path:
            with await asyncio.to_thread(Path(f"{path}.migration-lock").open, "w") as lock:
                await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
                await self._upgrade(migrations)
        else:
            await self._upgrade(migrations)

    async def _upgrade(self, migrations: Path) -> None:
        with _translated():
            async with self._engine.begin() as connection:
                await self.lock(connection, _MIGRATION_LOCK)
                await connection.run_sync(_run_migrations, migrations)


async def fetch_one(connection: AsyncConnection, query: Executable) -> RowMapping:
    """The one row that a query gives."""
    row: RowMapping = (await connection.execute(query)).mappings().one()
    return row


async def fetch_first(connection: AsyncConnection, query: Executable) -> RowMapping | None:
    """The one row that a query gives, or None."""
    row: RowMapping | None = (await connection.execute(query)).mappings().one_or_none()
    return row


async def fetch_all(
    connection: AsyncConnection,
    query: Executable,
    values: Sequence[Mapping[str, object]] | None = None,
) -> list[RowMapping]:
    """Every row that a query gives."""
    return list((await connection.execute(query, values)).mappings())


def _make_private(path: Path) -> None:
    """Creates the file, readable by its owner only; SQLite gives its side files the same mode."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(0o600, exist_ok=True)


def _run_migrations(connection: Connection, migrations: Path) -> None:
    config = Config()
    config.set_main_option("script_location", str(migrations))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _prepare_sqlite(engine: AsyncEngine) -> None:
    @event.listens_for(engine.sync_engine, "connect")
    def connect(connection: object, _record: object) -> None:
        connection.isolation_level = None  # type: ignore[attr-defined]
        cursor = connection.cursor()  # type: ignore[attr-defined]
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        statement = connection.get_execution_options().get("affectmesh_begin", "BEGIN")
        connection.exec_driver_sql(statement)


class _Connection(AsyncConnection):
    """Runs every statement to its end."""

    async def execute(self, *args: Any, **kwargs: Any) -> Any:
        return await _to_the_end(super().execute(*args, **kwargs))


async def _to_the_end(work: Coroutine[Any, Any, R]) -> R:
    """Awaits work with a connection. Who is cancelled meanwhile waits until it is done.

    A statement that is cut off leaves its connection, and SQLite's lock with it, to nobody.
    """
    running = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


class _translated:
    """Turns errors of the database's own into Unavailable."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        outage = isinstance(error, OSError | PoolTimeoutError | TimeoutError) or (
            isinstance(error, DBAPIError) and _is_outage(error)
        )
        if error is None:
            metrics.DATABASE_UP.set(1)
        if outage and isinstance(error, Exception):
            metrics.DATABASE_UP.set(0)
            log.error("database unavailable", problem=str(error).splitlines()[0])
            raise errors.Unavailable(
                "The records cannot be reached.",
                suggestion="Try again in a few seconds.",
                retry_after="2",
            ) from error


def _is_outage(error: SQLAlchemyError) -> bool:
    name = type(error).__name__
    return name in ("OperationalError", "InterfaceError") or bool(
        getattr(error, "connection_invalidated", False)
    )
