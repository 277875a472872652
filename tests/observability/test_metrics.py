"""Dashboards and alerts ask for what the running mesh has."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from deploy.generate.dashboards import queries
from deploy.generate.rules import ALERTS, RECORDINGS
from services.common.settings import SERVICES
from services.mesh.temporary import TemporaryMesh

EXPRESSIONS = [*queries(), *(one.expr for one in ALERTS), *(one.expr for one in RECORDINGS)]

_METRIC = re.compile(r"\b(affectmesh_[a-z_]+|process_[a-z_]+)\b(?:\{([^}]*)\})?")
_RECORDED = re.compile(r"\baffectmesh:[a-z_]+:\w+")
_LABEL = re.compile(r'(\w+)\s*(?:=|!=|=~|!~)\s*"')


def asked() -> Iterator[tuple[str, frozenset[str]]]:
    """Each metric with the labels that are chosen by."""
    for expression in EXPRESSIONS:
        for name, chosen in _METRIC.findall(expression):
            yield name, frozenset(_LABEL.findall(chosen))


def scraped(mesh: TemporaryMesh) -> str:
    """What every process of the mesh tells Prometheus."""
    processes = (*SERVICES, *mesh.settings.workers)
    host = mesh.settings.host
    with httpx.Client(timeout=60) as client:
        return "".join(
            client.get(f"http://{host}:{mesh.settings.metrics_port(name)}/metrics").text
            for name in processes
        )


def test_every_metric_that_is_asked_for_is_told_by_the_mesh(mesh: TemporaryMesh) -> None:
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)", scraped(mesh), re.M))
    told = set(types)
    for name, kind in types.items():
        if kind == "histogram":
            told |= {f"{name}_bucket", f"{name}_sum", f"{name}_count"}
    assert {name for name, _ in asked()} <= told


def test_every_label_that_is_chosen_by_is_one_of_the_metric() -> None:
    from services.common import metrics

    declared = {
        sample: frozenset(metric._labelnames)
        for metric in vars(metrics).values()
        if hasattr(metric, "_labelnames")
        for sample in _samples(metric._name)
    }
    wrong = {
        (name, label)
        for name, labels in asked()
        for label in labels
        if name in declared and label not in declared[name]
    }
    assert wrong == set()


def _samples(name: str) -> Iterator[str]:
    yield name
    for suffix in ("total", "bucket", "sum", "count"):
        yield f"{name}_{suffix}"


def test_every_recorded_figure_that_is_asked_for_is_recorded() -> None:
    wanted = {name for expression in EXPRESSIONS for name in _RECORDED.findall(expression)}
    assert wanted <= {one.name for one in RECORDINGS}


@pytest.mark.slow
def test_a_real_prometheus_takes_every_expression_and_finds_the_mesh(
    mesh: TemporaryMesh, tmp_path: Path
) -> None:
    from tests.observability.scraping import prometheus

    key = {"x-wia-api-key": mesh.key}
    with prometheus(mesh, tmp_path) as server:
        with httpx.Client(base_url=mesh.address, headers=key, timeout=60) as client:
            for number in range(5):
                text = {"text": f"What a wonderful day {number}!"}
                assert client.post("/v1/analyze/text", json=text).is_success
        server.wait_for('affectmesh_rpc_seconds_count{method=~".*AnalyzeText"}')
        assert server.problems_of_rules() == []
        for expression in EXPRESSIONS:
            server.query(expression.replace("$__rate_interval", "1m").replace("$", ".*"))
        up = {found["metric"]["process"] for found in server.query("affectmesh_up")}
        assert {*SERVICES} <= up
        for expression in (
            "sum by (component) (process_resident_memory_bytes)",
            'affectmesh_model_seconds_count{model="text_affect"}',
            'affectmesh_results_total{modality="text"}',
            'affectmesh_confidence_count{modality="text"}',
            "affectmesh_ledger_entries_total",
            "affectmesh_database_up == 1",
            "affectmesh_limits_local == 0",
            "affectmesh_jobs",
            'affectmesh_http_seconds_count{route="/v1/analyze/text",status="200"}',
        ):
            assert server.wait_for(expression), expression
        gone = server.query('ALERTS{alertname="AffectMeshServiceGone"}')
        assert gone == []
