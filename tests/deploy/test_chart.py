"""The chart renders, its objects are valid, and they keep the house rules."""

from collections.abc import Iterator
from typing import Any

import helm_python
import kubernetes_validate
import pytest

from deploy.generate import CHART
from services.common.settings import SERVICES
from services.gateway.methods import METHODS
from tests.deploy.charts import (
    NAMES,
    Manifest,
    component,
    containers,
    matches,
    of_kind,
    pods,
    render,
    rendered,
    values,
    workloads,
)

OPERATORS = ("cert-manager.io/", "keda.sh/", "monitoring.coreos.com/")
"""APIs whose schemas Kubernetes does not have."""

BILLING = {"gateway", *(method.service for method in METHODS.values() if method.item)}
"""Services that keep a journal of usage."""

OLDEST, NEWEST = "1.30", "1.33"


def everywhere() -> Iterator[Any]:
    """Every file of values and version; reading the schemas takes a while."""
    for name in NAMES:
        for version in (OLDEST, NEWEST):
            quick = (name, version) == ("production", NEWEST)
            yield pytest.param(name, version, marks=() if quick else pytest.mark.slow)


@pytest.mark.parametrize(("name", "version"), [*everywhere()])
def test_every_object_is_valid(name: str, version: str) -> None:
    for manifest in rendered(name):
        if not manifest["apiVersion"].startswith(OPERATORS):
            kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("name", NAMES)
def test_helm_finds_nothing_to_complain_about(name: str) -> None:
    report = helm_python.lint(str(CHART), values(name), strict=True, kube_version="v1.33.0")
    assert [one for one in report["messages"] if one["severity"] > 1] == []
    assert report["errors"] == []


@pytest.mark.parametrize("name", NAMES)
def test_no_two_objects_have_the_same_name(name: str) -> None:
    names = [(one["kind"], one["metadata"]["name"]) for one in rendered(name)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", NAMES)
def test_no_container_has_rights_that_it_does_not_need(name: str) -> None:
    for place, container in containers(name):
        context = container["securityContext"]
        assert context["privileged"] is False, place
        assert context["allowPrivilegeEscalation"] is False, place
        assert context["readOnlyRootFilesystem"] is True, place
        assert context["runAsNonRoot"] is True, place
        assert context["capabilities"] == {"drop": ["ALL"]}, place
    for place, pod in pods(name):
        spec = pod["spec"]
        assert spec["securityContext"]["runAsUser"] > 0, place
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, place
        assert spec["automountServiceAccountToken"] is False, place
        for forbidden in ("hostNetwork", "hostPID", "hostIPC"):
            assert not spec.get(forbidden), place
        assert not [volume for volume in spec.get("volumes", ()) if "hostPath" in volume], place


@pytest.mark.parametrize("name", NAMES)
def test_every_container_says_what_it_needs_and_may_use(name: str) -> None:
    for place, container in containers(name):
        resources = container["resources"]
        assert {"cpu", "memory"} <= resources["requests"].keys(), place
        assert "memory" in resources["limits"], place


@pytest.mark.parametrize("name", NAMES)
def test_every_image_is_of_one_version(name: str) -> None:
    for place, container in containers(name):
        image, _, tag = container["image"].rpartition(":")
        assert image, place
        assert any(character.isdigit() for character in tag), place


def test_an_image_is_pinned_by_its_digest_where_it_is_given() -> None:
    pinned = {
        container["image"].partition("@")[2]
        for _, container in containers("production")
        if container["image"].startswith("registry.example.org/affectmesh/control:0.1.0@")
    }
    assert pinned == {values("production")["image"]["digests"]["control"]}


@pytest.mark.parametrize("name", NAMES)
def test_every_service_is_probed(name: str) -> None:
    for workload in of_kind(name, "Deployment", "StatefulSet"):
        container = workload["spec"]["template"]["spec"]["containers"][0]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert probe in container, workload["metadata"]["name"]


@pytest.mark.parametrize("name", NAMES)
def test_a_stopping_pod_has_the_time_it_was_promised(name: str) -> None:
    given = {"drainSeconds": 5, "stopGraceSeconds": 20} | values(name)
    for workload, pod in pods(name):
        if workload.endswith(("-gateway", "-text", "-worker", "-envoy")):
            least = given["drainSeconds"] + given["stopGraceSeconds"]
            assert pod["spec"]["terminationGracePeriodSeconds"] > least


@pytest.mark.parametrize("name", NAMES)
def test_every_selector_finds_its_pods(name: str) -> None:
    labels = [pod["metadata"]["labels"] for _, pod in pods(name)]
    for workload in of_kind(name, "Deployment", "StatefulSet"):
        own = workload["spec"]["template"]["metadata"]["labels"]
        assert matches(workload["spec"]["selector"], own)
    for one in of_kind(name, "Service"):
        assert any(matches({"matchLabels": one["spec"]["selector"]}, found) for found in labels)
    for one in of_kind(name, "PodDisruptionBudget"):
        assert any(matches(one["spec"]["selector"], found) for found in labels)
    for one in of_kind(name, "NetworkPolicy"):
        assert any(matches(one["spec"]["podSelector"], found) for found in labels)
    for one in of_kind(name, "HorizontalPodAutoscaler", "ScaledObject"):
        target = one["spec"]["scaleTargetRef"]
        (scaled,) = [
            workload
            for workload in workloads(name)
            if workload["metadata"]["name"] == target["name"]
        ]
        assert scaled["kind"] == target.get("kind", "Deployment")
        assert "replicas" not in scaled["spec"]


@pytest.mark.parametrize("name", NAMES)
def test_every_port_of_a_service_is_one_of_its_container(name: str) -> None:
    for service in of_kind(name, "Service"):
        (container,) = [
            workload["spec"]["template"]["spec"]["containers"][0]
            for workload in of_kind(name, "Deployment", "StatefulSet")
            if component(workload) == component(service)
        ]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        for port in service["spec"]["ports"]:
            assert port["targetPort"] in ports
            if service["spec"].get("clusterIP") == "None":
                assert port["port"] == ports[port["targetPort"]]


@pytest.mark.parametrize("name", NAMES)
def test_what_a_pod_mounts_and_reads_is_there(name: str) -> None:
    made = {(one["kind"], one["metadata"]["name"]) for one in rendered(name)}
    made |= {("Secret", one["spec"]["secretName"]) for one in of_kind(name, "Certificate")}
    given = values(name)
    made.add(("Secret", given.get("secrets", {}).get("existingSecret", "")))
    made.add(("Secret", given.get("envoy", {}).get("tls", {}).get("secretName", "")))
    for workload in workloads(name):
        spec = workload["spec"]["template"]["spec"]
        claims = workload["spec"].get("volumeClaimTemplates", ())
        volumes = {volume["name"]: volume for volume in spec.get("volumes", ())}
        for volume in volumes.values():
            if secret := volume.get("secret"):
                assert ("Secret", secret["secretName"]) in made
        known = {*volumes, *(claim["metadata"]["name"] for claim in claims)}
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            assert {mount["name"] for mount in container.get("volumeMounts", ())} <= known
            for source in container.get("envFrom", ()):
                assert ("ConfigMap", source["configMapRef"]["name"]) in made
            for variable in container.get("env", ()):
                reference = variable.get("valueFrom", {}).get("secretKeyRef")
                assert reference is None or ("Secret", reference["name"]) in made
        assert ("ServiceAccount", spec["serviceAccountName"]) in made


def test_secrets_are_in_secrets_alone() -> None:
    given = values("trial")
    hidden = [given["secrets"]["secretKey"], given["secrets"]["bootstrapApiKey"]]
    for manifest in rendered("trial"):
        if manifest["kind"] != "Secret":
            assert not [secret for secret in hidden if secret in str(manifest)]


def test_migrations_run_before_an_upgrade() -> None:
    (job,) = of_kind("production", "Job")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-upgrade"
    assert job["spec"]["template"]["spec"]["containers"][0]["args"] == ["services.cli", "migrate"]


@pytest.mark.parametrize("name", NAMES)
def test_usage_lies_on_a_volume_of_each_replica_where_it_is_billed(name: str) -> None:
    persistent = values(name).get("usageJournal", {}).get("persistent", True)
    for workload in of_kind(name, "Deployment", "StatefulSet"):
        keeps = persistent and component(workload) in BILLING
        spec = workload["spec"]["template"]["spec"]
        mounts = spec["containers"][0]["volumeMounts"]
        claims = [
            claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", ())
        ]
        if component(workload) in (*SERVICES, "worker"):
            assert claims == (["usage"] if keeps else [])
            assert ({"name": "usage", "mountPath": "/data/usage"} in mounts) is keeps
            (data,) = [one for one in spec["volumes"] if one["name"] == "data"]
            assert "emptyDir" in data
        if keeps:
            retained = workload["spec"]["persistentVolumeClaimRetentionPolicy"]
            assert retained == {"whenDeleted": "Retain", "whenScaled": "Retain"}


def test_triton_gets_its_gpus_and_the_nodes_that_have_them() -> None:
    (triton,) = [one for one in workloads("gpu") if component(one) == "triton"]
    spec = triton["spec"]["template"]["spec"]
    assert spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert spec["nodeSelector"] == {"nvidia.com/gpu.present": "true"}


def test_mutual_tls_gives_every_process_a_certificate() -> None:
    named = {one["spec"].get("commonName") for one in of_kind("production", "Certificate")}
    for workload in of_kind("production", "Deployment", "StatefulSet"):
        assert component(workload) in named
        spec = workload["spec"]["template"]["spec"]
        (volume,) = [one for one in spec["volumes"] if one["name"] == "tls"]
        assert volume["secret"]["secretName"].endswith(f"-{component(workload)}-tls")


def test_alerts_link_to_the_pages_of_the_operator() -> None:
    given = values("production")
    given["monitoring"]["runbooks"] = "https://wiki.example.org/runbooks"
    (rule,) = [one for one in render(given) if one["kind"] == "PrometheusRule"]
    links = [
        one["annotations"]["runbook_url"]
        for group in rule["spec"]["groups"]
        for one in group["rules"]
        if "alert" in one
    ]
    assert links
    assert all(link.startswith("https://wiki.example.org/runbooks/") for link in links)


def changed(**more: Any) -> Manifest:
    given = values("trial")
    for path, value in more.items():
        *folders, last = path.split("__")
        place = given
        for folder in folders:
            place = place.setdefault(folder, {})
        place[last] = value
    return given


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        ({"database__bundled": False}, "database.url"),
        ({"database__url": "postgresql://x/y"}, "not both"),
        ({"redis__bundled": False}, "redis.url"),
        ({"objectStore__bundled": False}, "objectStore.url"),
        ({"secrets__secretKey": ""}, "secrets.secretKey"),
        ({"database__password": ""}, "database.password"),
        ({"image__tag": "latest"}, "set a version"),
        ({"inference__mode": "triton"}, "triton.enabled"),
        ({"keda__enabled": True}, "keda.prometheusAddress"),
        ({"certManager__edge__hosts": ["example.org"]}, "certManager.edge.issuer.name"),
        ({"tracing__endpoint": "http://collector:4317"}, "networkPolicy.external"),
        ({"replicaCount": 3}, "services.NAME.replicas"),
        ({"resources": {"limits": {}}}, "services.NAME.resources"),
        ({"autoscaling": {"enabled": True}}, "services.NAME.autoscaling"),
        ({"apiKey": "sk_live_0123456789abcdef"}, "secrets.bootstrapApiKey"),
        ({"postgresql": {}}, "database.bundled"),
        ({"ingress": {"enabled": True}}, "envoy.service"),
        ({"services__gateway__persistence": {"enabled": True}}, "usageJournal"),
    ],
)
def test_values_that_cannot_work_fail_with_what_helps(change: Manifest, remedy: str) -> None:
    with pytest.raises(helm_python.HelmError) as caught:
        render(changed(**change))
    assert remedy in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"replicas": 2},
        {"services__text__replica": 2},
        {"services__text__replicas": 0},
        {"services__text__resources": {"request": {"cpu": "1"}}},
        {"secrets__secretKey": "short"},
        {"logLevel": "loud"},
        {"settings": {"AFFECTMESH_HOST": "127.0.0.1"}},
        {"settings": {"OTHER": "x"}},
        {"tracing__ratio": 2},
        {"database__password": "with spaces"},
        {"image__digests__control": "sha256:0123"},
        {"image__digests__worker": "sha256:" + "0" * 64},
        {"envoy__image": "docker.io/envoyproxy/envoy:latest"},
        {"redis__image": "docker.io/library/redis"},
    ],
)
def test_the_schema_refuses_what_is_wrong(change: Manifest) -> None:
    with pytest.raises(helm_python.HelmValuesError):
        render(changed(**change))
