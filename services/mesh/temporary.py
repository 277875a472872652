"""A mesh that lives as long as a `with` block, for the demo, the bench and the tests."""

import collections
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from services.common.settings import Settings
from services.mesh import ports
from services.mesh.leash import leashed

MAX_FAILURES = 5
"""A service that failed this often before all were ready will not come."""

_HOST = "127.0.0.1"


class MeshNotReady(RuntimeError):
    """The mesh did not start; the message ends with the log of what failed."""


class TemporaryMesh:
    """Runs `python -m services.mesh` on free ports and a data folder of its own.

    Settings of the environment hold unless `overrides` (AFFECTMESH_… names) say otherwise; a
    setting overridden with "" is its default. `watch` gets each line of the supervisor. `ready_s`
    is the time from the start of the supervisor until every service served.
    """

    def __init__(
        self,
        overrides: Mapping[str, str] = MappingProxyType({}),
        watch: Callable[[str], None] = lambda _line: None,
        ready_within_s: float = 180,
    ) -> None:
        http_port, port_base = ports.free_ports(_HOST)
        self.key = "sk_test_" + secrets.token_hex(16)
        self.address = f"http://{_HOST}:{http_port}"
        self.lines: list[str] = []
        self.ready_s: float | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="affectmesh-")
        self.data_dir = Path(self._folder.name)
        chosen = {
            "AFFECTMESH_HOST": _HOST,
            "AFFECTMESH_HTTP_HOST": "",
            "AFFECTMESH_HTTP_PORT": str(http_port),
            "AFFECTMESH_PORT_BASE": str(port_base),
            "AFFECTMESH_DATA_DIR": str(self.data_dir),
            "AFFECTMESH_BOOTSTRAP_API_KEY": self.key,
            **overrides,
        }
        kept = {name: value for name, value in os.environ.items() if name not in chosen}
        self.environment = {**kept, **{name: value for name, value in chosen.items() if value}}
        self.watch = watch
        self._ready_within_s = ready_within_s
        self._ready = threading.Event()

    def __enter__(self) -> Self:
        """Returns once every service serves; raises MeshNotReady."""
        self._started = time.monotonic()
        self.supervisor = subprocess.Popen(  # noqa: S603 - the command is this package
            leashed(sys.executable, "-m", "services.mesh"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self.environment,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._ready.wait(self._ready_within_s)
        if self.ready_s is None:
            message = self._why_not_ready()
            self.close()
            raise MeshNotReady(message)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stops every process and removes the data folder."""
        with self.supervisor:
            if self.supervisor.poll() is None:
                self.supervisor.send_signal(signal.SIGTERM)
            self._reader.join()
        self._folder.cleanup()

    @property
    def settings(self) -> Settings:
        """The settings the mesh runs with."""
        prefix = "AFFECTMESH_"
        return Settings.model_validate(
            {
                name.removeprefix(prefix).lower(): value
                for name, value in self.environment.items()
                if name.startswith(prefix)
            }
        )

    def pid(self, service: str) -> int:
        """The process that serves a service now, as the supervisor last said."""
        for line in reversed(self.lines):
            cells = line.split()
            if len(cells) > 3 and cells[1] == service and cells[2] in ("starting", "serving"):
                return int(cells[3])
        raise KeyError(service)

    def state(self, service: str) -> str:
        """The state of a service, as the supervisor last said."""
        states = [cells[2] for cells in map(str.split, self.lines) if cells[1:2] == [service]]
        return states[-1] if states else "waiting"

    def log(self, service: str) -> str:
        """What a service has logged."""
        return (self.data_dir / "logs" / f"{service}.log").read_text()

    def _read(self) -> None:
        failures: collections.Counter[str] = collections.Counter()
        for line in map(str.rstrip, self.supervisor.stdout or ()):
            self.lines.append(line)
            self.watch(line)
            if line.startswith("ready in "):
                self.ready_s = time.monotonic() - self._started
                self._ready.set()
            cells = line.split()
            if "failing" in cells[2:3]:
                failures[cells[1]] += 1
                if failures[cells[1]] >= MAX_FAILURES:
                    self._ready.set()
        self._ready.set()

    def _why_not_ready(self) -> str:
        failing = [
            path
            for path in sorted(self.data_dir.glob("logs/*.log"))
            if self.state(path.stem) in ("failing", "starting", "refused")
        ]
        tails = [f"--- {path.stem}\n{path.read_text()[-1500:]}" for path in failing]
        return "\n".join(["The mesh did not become ready.", *self.lines[-20:], *tails])
