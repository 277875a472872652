"""What is rendered is what Envoy accepts, and says what is wrong before Envoy starts."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from services.cli import main
from services.common.settings import Settings
from services.gateway.dialects.wia import BASE_PATHS
from services.gateway.envoy.render import LISTENERS, render
from services.gateway.methods import METHODS
from tests.envoy.certificates import self_signed
from tests.envoy.servers import BINARY


def accepts(folder: Path, text: str) -> None:
    """Fails with what Envoy finds wrong or old in a configuration."""
    file = folder / "envoy.yaml"
    file.write_text(text)
    ended = subprocess.run(
        [BINARY, "--mode", "validate", "-c", str(file)], capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert "deprecated" not in ended.stderr.lower()


@pytest.mark.parametrize("wanted", ["edge", "internal", "all"])
def test_every_rendering_is_valid(tmp_path: Path, wanted: str) -> None:
    ended = CliRunner().invoke(main, ["envoy", "render", f"--{wanted}", "--out", str(tmp_path)])
    assert ended.exit_code == 0, ended.output
    accepts(tmp_path, (tmp_path / "envoy.yaml").read_text())


@pytest.mark.slow
def test_every_setting_gives_a_valid_rendering(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = self_signed(tmp_path)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector.example.org:4317")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.01")
    settings = Settings(
        envoy_host="::1",
        envoy_backends={
            "text": ["text-0.text:50052", "text-1.text:50052"],
            "gateway": ["[::1]:8080"],
            "authorization": ["gateway.mesh.svc:50107"],
        },
        envoy_tls_certificate=certificate,
        envoy_tls_key=key,
        envoy_cors_origins=("*", "https://app.example.org"),
        tls_cert=certificate,
        tls_key=key,
        tls_ca=certificate,
    )
    accepts(tmp_path, render(settings, LISTENERS))


def routes(listener: str) -> list[dict[str, Any]]:
    config = yaml.safe_load(render(Settings(), (listener,)))
    (chain,) = config["static_resources"]["listeners"][0]["filter_chains"]
    manager = chain["filters"][0]["typed_config"]
    found: list[dict[str, Any]] = manager["route_config"]["virtual_hosts"][0]["routes"]
    return found


def test_every_path_of_the_contract_has_its_route() -> None:
    edge = {
        route["match"].get("path"): route["route"]["cluster"]
        for route in routes("edge")
        if "route" in route
    }
    inside = {route["match"].get("path") for route in routes("internal")}
    for method in METHODS.values():
        assert method.path in inside
        assert edge.get(method.path) == (method.service if method.public else None)
        for base in BASE_PATHS if method.http_path else ():
            assert edge[base + method.http_path] == "gateway"


def test_edge_does_not_know_where_billing_is() -> None:
    config = yaml.safe_load(render(Settings(), ("edge",)))
    names = {cluster["name"] for cluster in config["static_resources"]["clusters"]}
    assert "text" in names
    assert "billing" not in names


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"AFFECTMESH_ENVOY_TLS_KEY": "/nowhere"}, "AFFECTMESH_ENVOY_TLS_CERTIFICATE"),
        ({"AFFECTMESH_ENVOY_TLS_CERTIFICATE": "/nowhere"}, "AFFECTMESH_ENVOY_TLS_KEY"),
        (
            {
                "AFFECTMESH_ENVOY_TLS_CERTIFICATE": "/nowhere",
                "AFFECTMESH_ENVOY_TLS_KEY": __file__,
            },
            "AFFECTMESH_ENVOY_TLS_CERTIFICATE: there is no file /nowhere",
        ),
        (
            {"AFFECTMESH_ENVOY_TLS_CERTIFICATE": __file__, "AFFECTMESH_ENVOY_TLS_KEY": __file__},
            "AFFECTMESH_ENVOY_TLS_CERTIFICATE: it cannot be used",
        ),
        ({"AFFECTMESH_ENVOY_BACKENDS": '{"txt": ["a:1"]}'}, "AFFECTMESH_ENVOY_BACKENDS"),
        ({"AFFECTMESH_ENVOY_BACKENDS": '{"text": ["http://a"]}'}, "AFFECTMESH_ENVOY_BACKENDS"),
        ({"AFFECTMESH_ENVOY_BACKENDS": '{"text": []}'}, "AFFECTMESH_ENVOY_BACKENDS"),
        ({"AFFECTMESH_ENVOY_BACKENDS": "text:1"}, "AFFECTMESH_ENVOY_BACKENDS"),
        ({"AFFECTMESH_ENVOY_CORS_ORIGINS": '["example.org"]'}, "AFFECTMESH_ENVOY_CORS_ORIGINS"),
        ({"AFFECTMESH_ENVOY_EDGE_PORT": "70000"}, "AFFECTMESH_ENVOY_EDGE_PORT"),
        ({"AFFECTMESH_TRITON_URL": "http://triton"}, "AFFECTMESH_TRITON_URL"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
    ],
)
def test_wrong_setting_is_named(environment: dict[str, str], named: str) -> None:
    ended = CliRunner().invoke(main, ["envoy", "render"], env=environment)
    assert ended.exit_code == 2
    assert named in ended.output
