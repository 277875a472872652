"""A real Triton server from its wheel, in an environment of its own, serving every model."""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import InferenceServerClient

from services.common.inference.repository import ModelFolder
from services.common.settings import Settings

STAND_IN = Path(__file__).with_name("model.py")
PACKAGES = ("nvidia-pytriton==0.7.0", "numpy==1.26.4", "onnxruntime==1.23.2")
ENVIRONMENT = Path(__file__).parents[2] / "build" / "triton"


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """gRPC address of the server."""
    root = tmp_path_factory.mktemp("triton")
    server = prepare(root / "backends")
    copy_repository(Settings().model_repository, root / "models")
    http, grpc, metrics = free_ports(3)
    command = [
        str(server),
        f"--model-repository={root / 'models'}",
        f"--backend-directory={root / 'backends'}",
        "--model-control-mode=explicit",
        "--load-model=*",
        "--allow-gpu-metrics=false",
        "--pinned-memory-pool-byte-size=0",
        *(f"--{kind}-address=127.0.0.1" for kind in ("http", "grpc", "metrics")),
        f"--http-port={http}",
        f"--grpc-port={grpc}",
        f"--metrics-port={metrics}",
    ]
    environment = {
        "PATH": f"{ENVIRONMENT / 'bin'}:/usr/bin:/bin",
        "LD_LIBRARY_PATH": str(site_packages() / "nvidia_pytriton.libs"),
        "VIRTUAL_ENV": str(ENVIRONMENT),
        "PYTHONPATH": str(site_packages()),
    }
    with (root / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            wait_until_ready(f"127.0.0.1:{grpc}", process, root / "log")
            yield f"127.0.0.1:{grpc}"
        finally:
            process.terminate()
            process.wait(30)


def prepare(backends: Path) -> Path:
    """Makes the environment where there is none; gives the server's binary."""
    if not (ENVIRONMENT / "ready").exists():
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True)
        subprocess.run([ENVIRONMENT / "bin" / "pip", "install", "-q", *PACKAGES], check=True)
        (ENVIRONMENT / "ready").touch()
    bundle = site_packages() / "pytriton" / "tritonserver"
    shutil.copytree(bundle / "backends", backends)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = "triton_python_backend_stub"
    copied = shutil.copy(bundle / "python_backend_stubs" / version / stub, backends / "python")
    Path(copied).chmod(0o755)
    server = bundle / "bin" / "tritonserver"
    server.chmod(0o755)
    return server


def site_packages() -> Path:
    return next((ENVIRONMENT / "lib").glob("python3*")) / "site-packages"


def copy_repository(source: Path, target: Path) -> None:
    """The repository as it is, but for the backend."""
    for config in source.glob("*/config.pbtxt"):
        folder = ModelFolder(config.parent)
        changed = type(folder.config)()
        changed.CopyFrom(folder.config)
        changed.ClearField("platform")
        changed.backend = "python"
        version = target / config.parent.name / "1"
        version.mkdir(parents=True)
        (version.parent / "config.pbtxt").write_text(text_format.MessageToString(changed))
        (version / "model.onnx").symlink_to(folder.weights)
        shutil.copy(STAND_IN, version / "model.py")


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


def wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    client = InferenceServerClient(url)
    for _ in range(120):
        assert process.poll() is None, log.read_text()[-4000:]
        try:
            if client.is_server_ready():
                return
        except Exception:
            pass
        time.sleep(0.5)
    raise AssertionError(log.read_text()[-4000:])
