"""A real Triton server from its wheel, in an environment of its own, serving the models."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Collection
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
from google.protobuf import text_format
from tritonclient.grpc import InferenceServerClient, model_config_pb2
from tritonclient.utils import InferenceServerException

from services.common.inference.prepare import prepare
from services.common.inference.repository import Repository
from services.mesh.leash import leashed

STAND_IN = Path(__file__).with_name("model.py")
PACKAGES = (
    "nvidia-pytriton==0.7.0",
    "numpy==1.26.4",
    f"onnxruntime=={version('onnxruntime')}",
)
"""The same ONNX Runtime as in process: another rounds quantized models otherwise."""
ENVIRONMENT = Path(__file__).parents[2] / "build" / "triton"
READY_S = 180.0


class TritonServer:
    """Serves models of a repository, all of them where none is named, while the block lasts.

    Its wheel lacks the ONNX Runtime backend: model.py stands in for it, in the Python backend.
    """

    def __init__(self, folder: Path, repository: Repository, models: Collection[str] = ()) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._binary = _install(folder / "backends")
        prepare(repository, folder / "models")
        for path in (folder / "models").iterdir():
            if models and path.name not in models:
                shutil.rmtree(path)
            elif not _is_ensemble(path):
                _stand_in(path)
        self._ports = _free_ports(3)
        self.url = f"127.0.0.1:{self._ports[1]}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Starts it, and waits until every model is loaded."""
        site = _site_packages()
        names = ("http", "grpc", "metrics")
        command = [
            str(self._binary),
            f"--model-repository={self._folder / 'models'}",
            f"--backend-directory={self._folder / 'backends'}",
            "--model-control-mode=explicit",
            "--load-model=*",
            "--allow-gpu-metrics=false",
            "--pinned-memory-pool-byte-size=0",
            *(f"--{name}-address=127.0.0.1" for name in names),
            *(f"--{name}-port={port}" for name, port in zip(names, self._ports, strict=True)),
        ]
        environment = {
            "PATH": f"{ENVIRONMENT / 'bin'}:/usr/bin:/bin",
            "LD_LIBRARY_PATH": str(site / "nvidia_pytriton.libs"),
            "VIRTUAL_ENV": str(ENVIRONMENT),
            "PYTHONPATH": str(site),
        }
        with (self._folder / "log").open("w") as log:
            self._process = subprocess.Popen(
                leashed(*command), env=environment, stdout=log, stderr=log
            )
        self._wait()

    def kill(self) -> None:
        """Ends it and its stubs at once."""
        if self._process is not None:
            for child in psutil.Process(self._process.pid).children(recursive=True):
                child.kill()
            self._process.kill()
            self._process.wait()
            self._process = None

    def hang(self) -> None:
        """Stops it without ending it."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Lets it go on."""
        self._signal(signal.SIGCONT)

    def kill_stubs(self) -> None:
        """Ends the processes that run the models, not the server."""
        assert self._process is not None
        for child in psutil.Process(self._process.pid).children(recursive=True):
            child.kill()

    def says_ready(self, model: str) -> bool:
        """Whether the server itself calls a model ready."""
        return bool(InferenceServerClient(self.url).is_model_ready(model))

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def _wait(self) -> None:
        client = InferenceServerClient(self.url)
        deadline = time.monotonic() + READY_S
        while True:
            assert self._process is not None
            log = (self._folder / "log").read_text()[-4000:]
            assert self._process.poll() is None, log
            assert time.monotonic() < deadline, log
            try:
                if client.is_server_ready():
                    return
            except InferenceServerException:
                pass
            time.sleep(0.2)


def _install(backends: Path) -> Path:
    """Makes the environment where there is none; gives the server's binary."""
    ready = ENVIRONMENT / "ready"
    if not ready.exists() or ready.read_text() != "\n".join(PACKAGES):
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True)
        subprocess.run([ENVIRONMENT / "bin" / "pip", "install", "-q", *PACKAGES], check=True)
        ready.write_text("\n".join(PACKAGES))
    bundle = _site_packages() / "pytriton" / "tritonserver"
    shutil.copytree(bundle / "backends", backends)
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = "triton_python_backend_stub"
    copied = shutil.copy(bundle / "python_backend_stubs" / python / stub, backends / "python")
    Path(copied).chmod(0o755)
    server = bundle / "bin" / "tritonserver"
    server.chmod(0o755)
    return server


def _site_packages() -> Path:
    return next((ENVIRONMENT / "lib").glob("python3*")) / "site-packages"


def _config(folder: Path) -> model_config_pb2.ModelConfig:
    text = (folder / "config.pbtxt").read_text()
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def _is_ensemble(folder: Path) -> bool:
    return str(_config(folder).platform) == "ensemble"


def _stand_in(folder: Path) -> None:
    """Has a prepared model run by the stand-in."""
    path = folder / "config.pbtxt"
    config = _config(folder)
    config.ClearField("platform")
    config.backend = "python"
    path.write_text(text_format.MessageToString(config))
    shutil.copy(STAND_IN, folder / "1" / "model.py")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(opened.getsockname()[1]) for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports
