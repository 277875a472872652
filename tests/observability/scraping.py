"""A real Prometheus that watches a mesh with the project's own rules."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from deploy.generate import CHART
from services.common.settings import SERVICES
from services.mesh.temporary import TemporaryMesh
from tests.observability.prometheus import binary
from tests.observability.sink import free_port


class Prometheus:
    """Asks a running server."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def query(self, expression: str) -> list[Any]:
        """What an expression gives now; an expression that is wrong fails."""
        answer = self._client.get("/api/v1/query", params={"query": expression})
        assert answer.is_success, f"{expression}: {answer.text}"
        found: list[Any] = answer.json()["data"]["result"]
        return found

    def wait_for(self, expression: str, seconds: float = 60) -> list[Any]:
        """What it gives once it gives anything, or nothing."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := self.query(expression):
                return found
            time.sleep(0.5)
        return []

    def problems_of_rules(self) -> list[str]:
        """Errors of rules, each once it was worked out."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            groups = self._client.get("/api/v1/rules").json()["data"]["groups"]
            rules = [rule for group in groups for rule in group["rules"]]
            if rules and all(rule["health"] != "unknown" for rule in rules):
                return [rule["name"] for rule in rules if rule["health"] != "ok"]
            time.sleep(0.5)
        return ["rules were not worked out"]


@contextmanager
def prometheus(mesh: TemporaryMesh, folder: Path) -> Iterator[Prometheus]:
    """Scrapes every process of a mesh once a second, and works out the rules as often."""
    settings = mesh.settings
    rules = yaml.safe_load((CHART / "rules" / "affectmesh.yaml").read_text())
    for group in rules["groups"]:
        group["interval"] = "1s"
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    targets = [
        {
            "targets": [f"{settings.host}:{settings.metrics_port(name)}"],
            "labels": {"component": name},
        }
        for name in (*SERVICES, *settings.workers)
    ]
    configuration = {
        "global": {"scrape_interval": "1s"},
        "rule_files": [str(folder / "rules.yaml")],
        "scrape_configs": [{"job_name": "affectmesh", "static_configs": targets}],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(configuration))
    port = free_port()
    command = [
        binary("prometheus"),
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, stdout=log, stderr=log) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
    ):
        try:
            wait_until_ready(client, folder / "log")
            yield Prometheus(client)
        finally:
            process.terminate()


def wait_until_ready(client: httpx.Client, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if client.get("/-/ready").is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise AssertionError(log.read_text()[-2000:])
