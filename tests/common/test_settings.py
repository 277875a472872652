"""Settings come from the environment; a wrong one stops the start and is named."""

import pytest

from services.common.server import read_settings
from services.common.settings import SERVICES, Settings


def test_every_setting_says_what_it_is_for() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_settings_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AFFECTMESH_HTTP_PORT", "9000")
    monkeypatch.setenv("AFFECTMESH_ADDRESSES", '{"face": "faces.example:443"}')
    settings = read_settings()
    assert settings.http_port == 9000
    assert settings.address("face") == "faces.example:443"
    assert settings.address("text") == f"127.0.0.1:{settings.port('text')}"


def test_no_two_ports_are_the_same() -> None:
    settings = Settings()
    ports = [
        port for name in SERVICES for port in (settings.port(name), settings.metrics_port(name))
    ]
    assert len({*ports, settings.http_port}) == 2 * len(SERVICES) + 1


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("AFFECTMESH_HTTP_PORT", "99999"),
        ("AFFECTMESH_HTTP_PORT", "eighty"),
        ("AFFECTMESH_INFERENCE", "gpu"),
        ("AFFECTMESH_THREADS", "0"),
        ("AFFECTMESH_FETCH_TIMEOUT_S", "nan"),
        ("AFFECTMESH_REQUEST_TIMEOUT_S", "-1"),
        ("AFFECTMESH_FETCH_ALLOW_PRIVATE", "perhaps"),
        ("AFFECTMESH_LOG_LEVEL", "loud"),
        ("AFFECTMESH_REDIS_URL", "localhost:6379"),
        ("AFFECTMESH_DATABASE_URL", "mysql://user@host/records"),
        ("AFFECTMESH_BOOTSTRAP_API_KEY", "short"),
        ("AFFECTMESH_ADDRESSES", "face=somewhere"),
        ("AFFECTMESH_ADDRESSES", '["face"]'),
        ("AFFECTMESH_ADDRESSES", '{"face": 5}'),
        ("AFFECTMESH_ADDRESSES", '{"faze": "somewhere:1"}'),
    ],
)
def test_a_wrong_setting_stops_the_start_and_is_named(
    setting: str,
    value: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(setting, value)
    with pytest.raises(SystemExit) as stopped:
        read_settings()
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"{setting}: ")
    assert said.count("\n") == 1


def test_every_wrong_setting_is_named_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AFFECTMESH_HTTP_PORT", "x")
    monkeypatch.setenv("AFFECTMESH_INFERENCE", "x")
    with pytest.raises(SystemExit):
        read_settings()
    said = capsys.readouterr().err
    assert "AFFECTMESH_HTTP_PORT" in said
    assert "AFFECTMESH_INFERENCE" in said


def test_secrets_are_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AFFECTMESH_BOOTSTRAP_API_KEY", "a-key-nobody-may-read")
    assert "a-key-nobody-may-read" not in repr(Settings())
