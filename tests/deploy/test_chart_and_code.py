"""What the chart says of the services is what their code does."""

import ast
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.generate import CHART
from services.common.settings import SERVICES, Settings
from services.gateway.envoy.render import bootstrap
from tests.deploy.charts import (
    NAMES,
    Manifest,
    component,
    matches,
    of_kind,
    values,
    workloads,
)
from tests.envoy.servers import BINARY

ROOT = Path(__file__).parents[2]
WORKER = "worker"
GIVEN = {
    "secret-key": "s" * 32,
    "media-key": "m" * 32,
    "bootstrap-api-key": "sk_live_0123456789",
    "database-url": "postgresql://user:secret@host:5432/affectmesh",
    "redis-url": "rediss://:secret@host:6379/0",
}


def environment(name: str, workload: Manifest) -> dict[str, str]:
    """What a workload's first container finds in its environment, secrets made up."""
    maps = {one["metadata"]["name"]: one["data"] for one in of_kind(name, "ConfigMap")}
    spec = workload["spec"]["template"]["spec"]
    container = spec["containers"][0]
    if component(workload) == "envoy":
        container = spec["initContainers"][0]
    found: dict[str, str] = {}
    for source in container.get("envFrom", ()):
        found |= maps[source["configMapRef"]["name"]]
    for variable in container.get("env", ()):
        source = variable.get("valueFrom", {})
        if "value" in variable:
            found[variable["name"]] = variable["value"]
        elif "secretKeyRef" in source:
            found[variable["name"]] = GIVEN.get(source["secretKeyRef"]["key"], "secret1234")
        elif "resourceFieldRef" in source:
            found[variable["name"]] = "1"
        else:
            found[variable["name"]] = "a-pod"
    for key, value in found.items():
        for other, given in found.items():
            value = value.replace(f"$({other})", given)
        found[key] = value
    return found


def ours(name: str) -> Iterator[Manifest]:
    """The workloads that run this project's code."""
    for workload in workloads(name):
        if component(workload) in (*SERVICES, WORKER, "envoy", "migrate"):
            yield workload


@pytest.mark.parametrize("name", NAMES)
def test_every_variable_is_a_setting_that_the_code_knows(name: str) -> None:
    known = {f"AFFECTMESH_{field.upper()}" for field in Settings.model_fields}
    for workload in ours(name):
        given = {key for key in environment(name, workload) if key.startswith("AFFECTMESH_")}
        assert given
        assert given <= known


@pytest.mark.parametrize("name", NAMES)
def test_the_services_accept_their_settings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for workload in ours(name):
        settings = accepted(name, workload, monkeypatch)
        assert settings.host in ("0.0.0.0", "127.0.0.1")
        if component(workload) == "migrate":
            assert settings.database.startswith("postgresql://")


def accepted(name: str, workload: Manifest, monkeypatch: pytest.MonkeyPatch) -> Settings:
    with monkeypatch.context() as patch:
        for key, value in environment(name, workload).items():
            if "_TLS_" not in key and key.startswith("AFFECTMESH_"):
                patch.setenv(key, value)
        return Settings()


@pytest.mark.parametrize("name", NAMES)
def test_ports_are_those_of_the_settings(name: str) -> None:
    settings = Settings()
    encrypted = values(name).get("certManager", {}).get("mutualTls", False)
    for workload in of_kind(name, "Deployment", "StatefulSet"):
        one = component(workload)
        if one not in (*SERVICES, WORKER):
            continue
        process = "worker-1" if one == WORKER else one
        container = workload["spec"]["template"]["spec"]["containers"][0]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert ports["grpc"] == settings.port(process)
        assert ports["metrics"] == settings.metrics_port(process)
        probed = container["livenessProbe"]["grpc"]["port"]
        assert probed == (settings.health_port(process) if encrypted else settings.port(process))
        if one == "gateway":
            assert ports["http"] == settings.http_port
            assert ports["authorization"] == settings.authorization_port


@pytest.mark.parametrize("name", NAMES)
def test_every_module_that_is_started_exists(name: str) -> None:
    for workload in ours(name):
        spec = workload["spec"]["template"]["spec"]
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            module = container["args"][0]
            if module.startswith("services."):
                assert find_spec(module) is not None


def test_every_service_of_the_mesh_is_in_the_chart() -> None:
    found = {component(one) for one in of_kind("trial", "Deployment", "StatefulSet")}
    assert {*SERVICES, WORKER} <= found


def test_addresses_lead_to_services_of_the_release() -> None:
    (settings,) = of_kind("trial", "ConfigMap")
    addresses = yaml.safe_load(settings["data"]["AFFECTMESH_ADDRESSES"])
    listed = {
        f"{one['metadata']['name']}:{port['port']}"
        for one in of_kind("trial", "Service")
        for port in one["spec"]["ports"]
    }
    assert addresses.keys() == set(SERVICES)
    assert set(addresses.values()) <= listed


def test_envoy_finds_its_backends_among_the_services(monkeypatch: pytest.MonkeyPatch) -> None:
    (envoy,) = [one for one in workloads("trial") if component(one) == "envoy"]
    made = bootstrap(accepted("trial", envoy, monkeypatch), ("edge",))
    listed = {
        (one["metadata"]["name"], port["port"])
        for one in of_kind("trial", "Service")
        for port in one["spec"]["ports"]
    }
    for cluster in made["static_resources"]["clusters"]:
        for group in cluster["load_assignment"]["endpoints"]:
            for one in group["lb_endpoints"]:
                address = one["endpoint"]["address"]["socket_address"]
                assert (address["address"], address["port_value"]) in listed
    listener = made["static_resources"]["listeners"][0]["address"]["socket_address"]
    container = envoy["spec"]["template"]["spec"]["containers"][0]
    assert listener["port_value"] == container["ports"][0]["containerPort"]


@pytest.mark.slow
def test_the_real_envoy_takes_the_configuration_of_the_chart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (envoy,) = [one for one in workloads("trial") if component(one) == "envoy"]
    file = tmp_path / "envoy.yaml"
    file.write_text(yaml.safe_dump(bootstrap(accepted("trial", envoy, monkeypatch), ("edge",))))
    command = [BINARY, "--mode", "validate", "-c", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def called_in_code() -> set[tuple[str, str]]:
    """(caller, callee) of every stub that the code makes."""
    folders = {name: [ROOT / "services" / name] for name in SERVICES}
    everyone = ROOT / "services" / "common"
    found = set()
    for caller, places in folders.items():
        for place in places:
            found |= {(caller, callee) for callee in _stubs(place)}
    fetching = {"jobs", "face", "voice", "fusion", "biosignal"}
    found |= {(caller, callee) for callee in _stubs(everyone) for caller in fetching}
    return {(caller, callee) for caller, callee in found if caller != callee}


def _stubs(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "stub"
                and isinstance(node.args[0], ast.Constant)
            ):
                yield str(node.args[0].value)


def processes(service: str) -> tuple[str, ...]:
    """Who runs the code of a service's folder."""
    return ("jobs", WORKER) if service == "jobs" else (service,)


def allowed(caller: str, callee: str, port: int) -> bool:
    """Whether the policies of the chart let one service reach a port of another."""
    labels = {
        component(one): one["spec"]["template"]["metadata"]["labels"] for one in workloads("trial")
    }
    for policy in of_kind("trial", "NetworkPolicy"):
        if not matches(policy["spec"]["podSelector"], labels[callee]):
            continue
        for rule in policy["spec"].get("ingress", ()):
            ports = [one["port"] for one in rule["ports"]]
            sources = [one["podSelector"] for one in rule.get("from", ()) if "podSelector" in one]
            if port in ports and any(matches(source, labels[caller]) for source in sources):
                return True
    return False


def test_every_call_that_the_code_makes_is_let_through() -> None:
    settings = Settings()
    calls = called_in_code()
    assert ("fusion", "voice") in calls
    refused = [
        (caller, callee)
        for caller, callee in calls
        if not any(allowed(one, callee, settings.port(callee)) for one in processes(caller))
    ]
    assert refused == []


@pytest.mark.parametrize(
    ("caller", "callee"),
    [("text", "voice"), ("envoy", "billing"), ("text", "jobs"), ("billing", "gateway")],
)
def test_a_call_that_nobody_makes_is_not_let_through(caller: str, callee: str) -> None:
    assert not allowed(caller, callee, Settings().port(callee))


@pytest.mark.parametrize(
    ("caller", "callee", "port", "through"),
    [
        ("billing", "postgresql", 5432, True),
        ("text", "postgresql", 5432, False),
        ("gateway", "redis", 6379, True),
        ("envoy", "redis", 6379, False),
        ("worker", "s3", 8333, True),
        ("gateway", "s3", 8333, False),
    ],
)
def test_stores_are_reached_by_those_who_use_them(
    caller: str, callee: str, port: int, through: bool
) -> None:
    assert allowed(caller, callee, port) is through


def test_only_the_edge_is_reachable_from_anywhere() -> None:
    anywhere = [
        policy["metadata"]["name"]
        for policy in of_kind("trial", "NetworkPolicy")
        for rule in policy["spec"].get("ingress", ())
        if "from" not in rule
    ]
    assert anywhere == ["affectmesh-envoy"]
    (nothing,) = [
        policy
        for policy in of_kind("trial", "NetworkPolicy")
        if policy["metadata"]["name"] == "affectmesh-default"
    ]
    assert "Ingress" in nothing["spec"]["policyTypes"]
    assert "ingress" not in nothing["spec"]
    everyone: Any = nothing["spec"]["podSelector"]
    for workload in workloads("trial"):
        assert matches(everyone, workload["spec"]["template"]["metadata"]["labels"])


def test_values_and_templates_name_the_same_services() -> None:
    given = yaml.safe_load((CHART / "values.yaml").read_text())
    assert given["services"].keys() == {*SERVICES, WORKER}
