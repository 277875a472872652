"""Mutual TLS between services: only callers with a certificate of the authority are served."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from services.common import errors, metrics, tls
from services.common.channels import Channels, call
from services.common.server import read_settings
from services.common.settings import Settings
from tests.common.certificates import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def settings_of(authority: Authority, name: str, **more: Any) -> Settings:
    certificate, key = authority.issue(name)
    return Settings(tls_cert=certificate, tls_key=key, tls_ca=authority.path, **more)


@pytest.fixture
async def address(authority: Authority) -> AsyncIterator[str]:
    """A service with health checks behind mutual TLS."""
    server = grpc.aio.server()
    checker = health.aio.HealthServicer()
    await checker.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(checker, server)
    credentials = tls.server_credentials(settings_of(authority, "text"))
    assert credentials is not None
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)


async def status(settings: Settings) -> int:
    channels = Channels(settings)
    try:
        stub: Any = channels.stub("text", health_pb2_grpc.HealthStub)
        answer = await call("text", stub.Check, health_pb2.HealthCheckRequest(), 60)
        return int(answer.status)
    finally:
        await channels.close()


async def test_a_service_with_a_certificate_of_the_authority_is_served(
    authority: Authority, address: str
) -> None:
    settings = settings_of(authority, "gateway", addresses={"text": address})
    assert await status(settings) == health_pb2.HealthCheckResponse.SERVING
    assert metrics.TLS_ENDS._value.get() > 1_700_000_000


async def test_who_shows_no_certificate_is_not_served(address: str) -> None:
    with pytest.raises(errors.Unavailable):
        await status(Settings(addresses={"text": address}))


async def test_a_certificate_of_another_authority_is_not_served(
    authority: Authority, address: str, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path, "stranger")
    certificate, key = stranger.issue("gateway")
    settings = Settings(
        tls_cert=certificate, tls_key=key, tls_ca=authority.path, addresses={"text": address}
    )
    with pytest.raises(errors.Unavailable):
        await status(settings)


async def test_a_service_of_another_authority_is_not_called(
    authority: Authority, address: str, tmp_path: Path
) -> None:
    certificate, key = authority.issue("gateway")
    stranger = Authority(tmp_path, "stranger")
    settings = Settings(
        tls_cert=certificate, tls_key=key, tls_ca=stranger.path, addresses={"text": address}
    )
    with pytest.raises(errors.Unavailable):
        await status(settings)


async def test_a_renewed_certificate_is_shown_without_a_restart(
    authority: Authority, address: str, tmp_path: Path
) -> None:
    renewed = Authority(tmp_path, "renewed")
    renewed.issue("text")
    (tmp_path / "ca.pem").write_bytes(renewed.path.read_bytes())
    settings = settings_of(renewed, "gateway", addresses={"text": address})
    assert await status(settings) == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize(
    ("setting", "change"),
    [
        ("AFFECTMESH_TLS_CERT", "/nowhere.pem"),
        ("AFFECTMESH_TLS_CA", ""),
        ("AFFECTMESH_TLS_CA", "not a certificate"),
    ],
)
def test_wrong_files_stop_the_start_and_are_named(
    setting: str,
    change: str,
    authority: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    certificate, key = authority.issue("text")
    given = {"TLS_CERT": certificate, "TLS_KEY": key, "TLS_CA": authority.path}
    for name, path in given.items():
        monkeypatch.setenv(f"AFFECTMESH_{name}", str(path))
    if change.startswith("not"):
        authority.path.write_text(change)
    elif change:
        monkeypatch.setenv(setting, change)
    else:
        monkeypatch.delenv(setting)
    with pytest.raises(SystemExit) as stopped:
        read_settings()
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"{setting}: ")
    assert said.count("\n") == 1
