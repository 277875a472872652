"""A running Envoy, and services beside those of a mesh."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from services.common.settings import Settings
from services.gateway.envoy.render import render
from services.mesh.leash import leashed

HOST = "127.0.0.1"
BINARY = str(Path(sys.executable).with_name("envoy"))
READY_S = 120.0


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server((HOST, 0)) as opened:
        return int(opened.getsockname()[1])


class Envoy:
    """Envoy with the configuration made of these settings, as long as the `with` block."""

    def __init__(
        self,
        settings: Settings,
        listeners: Collection[str] = ("edge", "internal"),
        **changes: Any,
    ) -> None:
        ports = {
            name: free_port()
            for name in ("envoy_edge_port", "envoy_internal_port", "envoy_admin_port")
        }
        self.settings = settings.model_copy(update={**ports, **changes})
        scheme = "https" if self.settings.envoy_tls_certificate else "http"
        self.edge = f"{HOST}:{self.settings.envoy_edge_port}"
        self.internal = f"{HOST}:{self.settings.envoy_internal_port}"
        self.url = f"{scheme}://{self.edge}"
        self.internal_url = f"http://{self.internal}"
        self._listeners = listeners
        self._folder = tempfile.TemporaryDirectory(prefix="envoy-")

    def __enter__(self) -> Self:
        """Returns once it is ready."""
        folder = Path(self._folder.name)
        file = folder / "envoy.yaml"
        file.write_text(self.configuration())
        self._log, self._access = folder / "log", folder / "access"
        with self._log.open("w") as log, self._access.open("w") as access:
            options = "--concurrency 1 --disable-hot-restart --log-level warning"
            options += " --file-flush-interval-msec 50"
            command = leashed(BINARY, "-c", str(file), *options.split())
            self.process = subprocess.Popen(command, stdout=access, stderr=log)
        deadline = time.monotonic() + READY_S
        while not self._is_ready():
            assert self.process.poll() is None, self._log.read_text()[-3000:]
            assert time.monotonic() < deadline, self._log.read_text()[-3000:]
            time.sleep(0.05)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait()
        self._folder.cleanup()

    def configuration(self) -> str:
        """What it is started with."""
        return render(self.settings, self._listeners)

    def admin(self, path: str) -> str:
        """What the administration says."""
        url = f"http://{HOST}:{self.settings.envoy_admin_port}{path}"
        with urllib.request.urlopen(url) as answer:
            return str(answer.read().decode())

    def stat(self, name: str) -> int:
        """A counter or gauge."""
        found = self.admin(f"/stats?format=json&filter=^{name}$")
        return sum(stat.get("value", 0) for stat in json.loads(found)["stats"])

    def healthy(self, cluster: str) -> int:
        """Replicas of a service that get requests."""
        return self.stat(f"cluster.{cluster}.membership_healthy")

    def access_log(self) -> list[dict[str, Any]]:
        """The lines so far, without one that is still being written."""
        lines = self._access.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def log(self) -> str:
        """What it says of itself."""
        return self._log.read_text()

    def _is_ready(self) -> bool:
        try:
            return "LIVE" in self.admin("/ready")
        except OSError:
            return False


class Replica:
    """One more process of a service, on ports of its own, with the data of the mesh."""

    def __init__(
        self, service: str, environment: Mapping[str, str], port_base: int, http_port: int
    ) -> None:
        self.service = service
        self._environment = {
            **environment,
            "AFFECTMESH_PORT_BASE": str(port_base),
            "AFFECTMESH_HTTP_PORT": str(http_port),
        }
        self.settings = Settings(port_base=port_base, http_port=http_port)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it."""
        command = (sys.executable, "-m", f"services.{self.service}")
        folder = Path(self._environment["AFFECTMESH_DATA_DIR"])
        with (folder / f"{self.service}-{self.settings.port_base}.log").open("ab") as log:
            self.process = subprocess.Popen(leashed(*command), env=self._environment, stderr=log)

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ends it, and waits for that."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(300)
            self.process = None

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal."""
        assert self.process is not None
        os.kill(self.process.pid, number)
