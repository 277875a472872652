"""A whole service whose models are on Triton."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from affectmesh.v1 import text_pb2, text_pb2_grpc
from services.common import errors
from services.common.channels import call
from services.common.inference.repository import Repository
from services.mesh import ports
from services.text.model import ENGLISH
from tests.envoy.servers import HOST, Replica
from tests.mesh.waiting import wait_until
from tests.triton.server import TritonServer

pytestmark = pytest.mark.slow

CONTRACT = "affectmesh.v1.TextService"
MODELS = (ENGLISH.affect, ENGLISH.dimensions)


@contextmanager
def text_service(folder: Path, triton: str) -> Iterator[Replica]:
    """A text service with its models there."""
    http_port, port_base = ports.free_ports(HOST)
    environment = {
        **os.environ,
        "AFFECTMESH_DATA_DIR": str(folder),
        "AFFECTMESH_INFERENCE": "triton",
        "AFFECTMESH_TRITON_URL": triton,
        "AFFECTMESH_TRITON_TIMEOUT_S": "5",
    }
    service = Replica("text", environment, port_base, http_port)
    service.start()
    try:
        yield service
    finally:
        service.end(signal.SIGKILL)


def health(address: str, name: str) -> str:
    """What a service says of itself."""
    with grpc.insecure_channel(address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=5)
        except grpc.RpcError:
            return "GONE"
    return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


async def test_health_follows_the_models(tmp_path: Path, repository: Repository) -> None:
    with (
        TritonServer(tmp_path / "triton", repository, MODELS) as server,
        text_service(tmp_path, server.url) as service,
    ):
        address = service.settings.address("text")
        wait_until(lambda: health(address, CONTRACT) == "SERVING", "it serves")
        async with grpc.aio.insecure_channel(address) as channel:
            analyze = text_pb2_grpc.TextServiceStub(channel).AnalyzeText
            request = text_pb2.AnalyzeTextRequest(text="What a wonderful day!")
            answer = await call("text", analyze, request, 30)
            assert answer.emotions.primary.label == "happiness"
            told = {one.model: one.digest for one in answer.provenance if one.model in MODELS}
            assert told == {name: repository[name].info.digest for name in MODELS}
            server.kill()
            wait_until(lambda: health(address, CONTRACT) == "NOT_SERVING", "it says so")
            assert health(address, "") == "SERVING"
            with pytest.raises(errors.Unavailable) as caught:
                await call("text", analyze, request, 30)
            assert int(caught.value.details["retry_after"]) >= 1
            server.start()
            wait_until(lambda: health(address, CONTRACT) == "SERVING", "it serves again")


def test_missing_model_stops_the_start_and_is_named(tmp_path: Path, repository: Repository) -> None:
    with (
        TritonServer(tmp_path / "triton", repository, [ENGLISH.dimensions]) as server,
        text_service(tmp_path, server.url) as service,
    ):
        assert service.process is not None
        assert service.process.wait(120) == 1
        (log,) = tmp_path.glob("text-*.log")
        assert f"Triton does not serve the model {ENGLISH.affect}" in log.read_text()
