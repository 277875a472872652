"""What stops a mesh from starting, and what it says."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from services.common.settings import SERVICES
from services.mesh import ports
from services.mesh.temporary import TemporaryMesh

HOST = "127.0.0.1"


def start(
    tmp_path: Path, module: str = "services.mesh", *arguments: str, **settings: str
) -> "subprocess.CompletedProcess[str]":
    http_port, port_base = ports.free_ports(HOST)
    environment = {
        **os.environ,
        "AFFECTMESH_HTTP_PORT": str(http_port),
        "AFFECTMESH_PORT_BASE": str(port_base),
        "AFFECTMESH_DATA_DIR": str(tmp_path),
        **settings,
    }
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("AFFECTMESH_HTTP_PORT", "eighty"),
        ("AFFECTMESH_PORT_BASE", "80"),
        ("AFFECTMESH_INFERENCE", "magic"),
        ("AFFECTMESH_BOOTSTRAP_API_KEY", "short"),
        ("AFFECTMESH_DATA_DIR", "/proc/nowhere"),
        ("AFFECTMESH_DATA_DIR", "/tmp/" + "long" * 30),
    ],
)
def test_wrong_setting_stops_the_start_and_is_named(
    tmp_path: Path, setting: str, value: str
) -> None:
    ended = start(tmp_path, **{setting: value})
    assert ended.returncode == 2
    assert setting in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("process", "setting", "value"),
    [
        *((name, "AFFECTMESH_STOP_GRACE_S", "soon") for name in (*SERVICES, "jobs.worker")),
        ("jobs", "AFFECTMESH_REDIS_URL", "redis"),
        ("jobs", "AFFECTMESH_OBJECT_STORE_URL", "ftp://x/y"),
        ("billing", "AFFECTMESH_DATABASE_URL", "records.db"),
        ("text", "AFFECTMESH_MODEL_REPOSITORY", "/nowhere"),
        ("voice", "AFFECTMESH_RESEARCH_REPOSITORY", "/nowhere"),
        ("face", "AFFECTMESH_TLS_CERT", "/nowhere"),
    ],
)
def test_wrong_setting_stops_each_process_and_is_named(
    tmp_path: Path, redis_url: str, process: str, setting: str, value: str
) -> None:
    ended = start(
        tmp_path,
        f"services.{process}",
        "1",
        **{
            "AFFECTMESH_REDIS_URL": redis_url,
            "AFFECTMESH_VOICE_PACK": "research",
            setting: value,
        },
    )
    assert ended.returncode == 2
    assert setting in ended.stderr
    assert "Traceback" not in ended.stderr


def test_port_in_use_is_named_with_the_setting_that_moves_it(tmp_path: Path) -> None:
    http_port, port_base = ports.free_ports(HOST)
    with socket.create_server((HOST, http_port)), socket.create_server((HOST, port_base + 2)):
        ended = start(
            tmp_path,
            AFFECTMESH_HTTP_PORT=str(http_port),
            AFFECTMESH_PORT_BASE=str(port_base),
        )
    assert ended.returncode == 2
    assert f"Port {http_port} of the REST API is in use" in ended.stderr
    assert "AFFECTMESH_HTTP_PORT" in ended.stderr
    assert f"Port {port_base + 2} (gRPC of text) is in use" in ended.stderr
    assert "AFFECTMESH_PORT_BASE" in ended.stderr


def test_second_mesh_on_the_same_data_folder_is_refused() -> None:
    elsewhere = {service: f"{HOST}:1" for service in SERVICES if service != "jobs"}
    with TemporaryMesh({"AFFECTMESH_ADDRESSES": json.dumps(elsewhere)}) as mesh:
        ended = start(mesh.data_dir)
    assert ended.returncode == 2
    assert "another mesh runs on" in ended.stderr
