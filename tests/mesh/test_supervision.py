"""The supervisor keeps real processes running, and leaves none behind."""

import asyncio
import json
import os
import signal
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from services.common.settings import SERVICES
from services.mesh.plans import service_probe
from services.mesh.temporary import TemporaryMesh
from tests.mesh.waiting import ENOUGH_S, is_gone, logged, wait_until

ROOT = Path(__file__).parents[2]


def small_mesh(*here: str, **settings: str) -> TemporaryMesh:
    """A mesh of some services, the others being said to run elsewhere."""
    elsewhere = {service: "127.0.0.1:1" for service in SERVICES if service not in here}
    return TemporaryMesh({"AFFECTMESH_ADDRESSES": json.dumps(elsewhere), **settings})


def serves(mesh: TemporaryMesh, service: str) -> bool:
    return asyncio.run(service_probe(mesh.settings, service)(ENOUGH_S))


def processes(mesh: TemporaryMesh) -> list[int]:
    supervisor = psutil.Process(mesh.supervisor.pid)
    return [supervisor.pid, *(child.pid for child in supervisor.children(recursive=True))]


def test_every_service_becomes_ready(mesh: TemporaryMesh) -> None:
    assert mesh.ready_s is not None
    assert [service for service in SERVICES if not serves(mesh, service)] == []
    with urllib.request.urlopen(f"{mesh.address}/readyz") as answer:
        assert answer.status == 200


def test_logs_are_json_lines_that_name_their_service(mesh: TemporaryMesh) -> None:
    for service in SERVICES:
        assert {line["service"] for line in logged(mesh, service)} == {service}


@pytest.mark.parametrize(
    "service",
    [
        "redis",
        "jobs",
        *(pytest.param(name, marks=pytest.mark.slow) for name in SERVICES if name != "jobs"),
    ],
)
def test_killed_process_comes_back_while_the_others_serve(
    mesh: TemporaryMesh, service: str
) -> None:
    killed = mesh.pid(service)
    others = {name: mesh.pid(name) for name in SERVICES if name != service}
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: is_gone(killed), f"{service} dies")
    assert [name for name in others if not serves(mesh, name)] == []
    wait_until(
        lambda: mesh.pid(service) != killed and mesh.state(service) == "serving",
        f"{service} serves again",
    )
    assert {name: mesh.pid(name) for name in others} == others


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_it_leaves_no_process(number: signal.Signals) -> None:
    with small_mesh("jobs") as mesh:
        running = processes(mesh)
        assert len(running) == 4
        mesh.supervisor.send_signal(number)
        assert mesh.supervisor.wait(ENOUGH_S) == 0
        assert [pid for pid in running if not is_gone(pid)] == []


def test_killed_supervisor_leaves_no_process() -> None:
    with small_mesh("jobs") as mesh:
        running = processes(mesh)
        mesh.supervisor.kill()
        wait_until(lambda: all(map(is_gone, running)), "every process ends")


def test_process_that_ignores_sigterm_is_ended_after_the_grace() -> None:
    with small_mesh("jobs", AFFECTMESH_STOP_GRACE_S="0") as mesh:
        stopped = mesh.pid("jobs")
        os.kill(stopped, signal.SIGSTOP)
        mesh.supervisor.terminate()
        assert mesh.supervisor.wait(ENOUGH_S) == 0
        assert is_gone(stopped)


@pytest.mark.slow
def test_hung_process_is_replaced() -> None:
    with small_mesh("jobs") as mesh:
        hung = mesh.pid("jobs")
        os.kill(hung, signal.SIGSTOP)
        wait_until(
            lambda: mesh.pid("jobs") != hung and mesh.state("jobs") == "serving", "jobs serves"
        )
        assert is_gone(hung)


class _SlowImage(BaseHTTPRequestHandler):
    """Serves a photograph once it may."""

    asked = threading.Event()
    may_answer = threading.Event()
    photograph = b""

    def do_GET(self) -> None:
        self.asked.set()
        self.may_answer.wait(60)
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.photograph)))
        self.end_headers()
        self.wfile.write(self.photograph)

    def log_message(self, format: str, *args: object) -> None:
        """Tests print nothing."""


@pytest.mark.slow
def test_stop_finishes_the_request_in_flight() -> None:
    _SlowImage.photograph = next(ROOT.glob("samples/face/*.jpg")).read_bytes()
    statuses: list[int] = []

    with (
        ThreadingHTTPServer(("127.0.0.1", 0), _SlowImage) as images,
        small_mesh("billing", "face", "gateway", AFFECTMESH_FETCH_ALLOW_PRIVATE="true") as mesh,
    ):
        threading.Thread(target=images.serve_forever, daemon=True).start()
        request = urllib.request.Request(
            f"{mesh.address}/v1/analyze/face",
            json.dumps({"image_url": f"http://127.0.0.1:{images.server_port}/face.jpg"}).encode(),
            {"X-WIA-API-Key": mesh.key, "Content-Type": "application/json"},
        )

        def ask() -> None:
            with urllib.request.urlopen(request) as answer:
                statuses.append(answer.status)

        asking = threading.Thread(target=ask)
        asking.start()
        assert _SlowImage.asked.wait(ENOUGH_S)
        mesh.supervisor.terminate()
        wait_until(lambda: mesh.state("gateway") == "stopping", "the gateway stops")
        _SlowImage.may_answer.set()
        asking.join(60)
        assert mesh.supervisor.wait(60) == 0
        images.shutdown()
    assert statuses == [200]
