"""Each alert fires for what it is for, and is quiet otherwise: tested by promtool."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.generate import CHART
from deploy.generate.rules import ALERTS
from services.common.settings import SERVICES
from tests.observability.prometheus import binary

pytestmark = pytest.mark.slow

RULES = CHART / "rules" / "affectmesh.yaml"


@dataclass(frozen=True)
class Case:
    """Series that make an alert fire after a time, with the labels that it then has."""

    alert: str
    series: dict[str, str]
    after: str
    """Minutes, or hours where samples are half an hour apart."""
    labels: tuple[dict[str, str], ...] = ({},)


def up(*without: str) -> dict[str, str]:
    return {
        f'affectmesh_up{{process="{name}"}}': "1x400" for name in SERVICES if name not in without
    }


def http(good: int, bad: int, length: int) -> dict[str, str]:
    """Requests a minute that are answered well, and not."""
    return {
        'affectmesh_http_seconds_count{route="/v1/x",status="200"}': f"0+{good}x{length}",
        'affectmesh_http_seconds_count{route="/v1/x",status="503"}': f"0+{bad}x{length}",
    }


def mix(first: str, second: str) -> dict[str, str]:
    return {
        'affectmesh_results_total{modality="text",label="happiness"}': first,
        'affectmesh_results_total{modality="text",label="sadness"}': second,
    }


WEEK, DAYS = 7 * 48, 2 * 48
"""In samples of half an hour."""

TEXT = ({"modality": "text"},)
CASES = (
    Case("AffectMeshServiceGone", up("voice"), "5m", ({"process": "voice"},)),
    Case("AffectMeshErrorBudgetBurnsFast", http(900, 100, 90), "80m"),
    Case("AffectMeshErrorBudgetBurnsSlowly", http(990, 10, 420), "400m"),
    Case(
        "AffectMeshLatencyHigh",
        {
            'affectmesh_http_seconds_bucket{route="/v1/x",le="10"}': "0+1x60",
            'affectmesh_http_seconds_bucket{route="/v1/x",le="30"}': "0+100x60",
            'affectmesh_http_seconds_bucket{route="/v1/x",le="+Inf"}': "0+100x60",
        },
        "50m",
        ({"route": "/v1/x"},),
    ),
    Case(
        "AffectMeshCallsFail",
        {
            'affectmesh_rpc_seconds_count{method="/m",code="OK"}': "0+90x30",
            'affectmesh_rpc_seconds_count{method="/m",code="INTERNAL_ERROR"}': "0+10x30",
        },
        "20m",
        ({"method": "/m"},),
    ),
    Case(
        "AffectMeshModelFails",
        {'affectmesh_model_failures_total{model="text",code="INTERNAL_ERROR"}': "0+60x30"},
        "20m",
        ({"model": "text"},),
    ),
    Case(
        "AffectMeshModelNotReady",
        {'affectmesh_model_ready{model="text"}': "1x5 0x20"},
        "15m",
        ({"model": "text"},),
    ),
    Case(
        "AffectMeshModelBehind",
        {'affectmesh_model_waiting{model="text"}': "100x60", 'affectmesh_up{process="x"}': "1x60"},
        "40m",
        ({"model": "text"},),
    ),
    Case("AffectMeshJobsWaitLong", {"affectmesh_jobs_oldest_seconds": "900x40"}, "30m"),
    Case(
        "AffectMeshNoWorkers",
        {"affectmesh_job_places": "0x20", 'affectmesh_jobs{state="queued"}': "3x20"},
        "15m",
    ),
    Case(
        "AffectMeshJobsFail",
        {
            'affectmesh_job_seconds_count{kind="voice",state="done"}': "0+7x90",
            'affectmesh_job_seconds_count{kind="voice",state="error"}': "0+3x90",
        },
        "80m",
        ({"kind": "voice"},),
    ),
    Case("AffectMeshLimitsLocal", {"affectmesh_limits_local": "1x20"}, "10m"),
    Case("AffectMeshRecordsUnreachable", {"affectmesh_database_up": "0x20"}, "10m"),
    Case("AffectMeshUsageWaits", {"affectmesh_usage_waiting": "9000x30"}, "20m"),
    Case("AffectMeshUsageRejected", {"affectmesh_usage_rejected_total": "0 0 0 5x60"}, "10m"),
    Case(
        "AffectMeshManyRefusals",
        {'affectmesh_limits_refusals_total{limit="rate"}': "0+50x90", **http(100, 0, 90)},
        "80m",
    ),
    Case(
        "AffectMeshStreamsDrop",
        {
            'affectmesh_stream_inputs_dropped_total{route="/s"}': "0+1200x60",
            'affectmesh_streams_open{route="/s"}': "2x60",
        },
        "50m",
        ({"route": "/s"},),
    ),
    Case(
        "AffectMeshLabelMixDrifts",
        mix(f"0+90x{WEEK} {90 * WEEK}+10x{DAYS}", f"0+10x{WEEK} {10 * WEEK}+90x{DAYS}"),
        f"{9 * 24 - 1}h",
        TEXT,
    ),
    Case(
        "AffectMeshConfidenceDrifts",
        {
            'affectmesh_confidence_sum{modality="text"}': f"0+80x{WEEK} {80 * WEEK}+50x{DAYS}",
            'affectmesh_confidence_count{modality="text"}': f"0+100x{WEEK + DAYS}",
            **mix(f"0+100x{WEEK + DAYS}", "0x9"),
        },
        f"{9 * 24 - 1}h",
        TEXT,
    ),
    Case(
        "AffectMeshInputQualityDrops",
        {
            'affectmesh_warnings_total{modality="text",code="NO_WORDS"}': f"0+0x{WEEK} 0+50x{DAYS}",
            **mix(f"0+100x{WEEK + DAYS}", "0x9"),
        },
        f"{9 * 24 - 1}h",
        ({"modality": "text", "code": "NO_WORDS"},),
    ),
    Case(
        "AffectMeshCertificateEnds",
        {"affectmesh_tls_certificate_ends_seconds": "864000x120"},
        "90m",
    ),
)
UNITS = {"1m": "m", "30m": "h"}
QUIET = {
    **up(),
    **http(1000, 0, 120),
    "affectmesh_limits_local": "0x120",
    "affectmesh_database_up": "1x120",
    "affectmesh_usage_waiting": "12x120",
    "affectmesh_usage_rejected_total": "3x120",
    "affectmesh_tls_certificate_ends_seconds": "0x120",
    "affectmesh_job_places": "4x120",
    'affectmesh_jobs{state="queued"}': "2x120",
    "affectmesh_jobs_oldest_seconds": "5x120",
}


def test_every_alert_has_a_case() -> None:
    assert {case.alert for case in CASES} == {alert.name for alert in ALERTS}


def test_rules_are_well_formed() -> None:
    run("check", "rules", str(RULES))


@pytest.mark.parametrize("step", ["1m", "30m"])
def test_alerts_fire_for_what_they_are_for_and_not_otherwise(step: str, tmp_path: Path) -> None:
    tests = [firing(case, step) for case in CASES if case.after.endswith(UNITS[step])]
    if step == "1m":
        tests += [quiet(alert.name) for alert in ALERTS]
    file = tmp_path / "tests.yaml"
    given = {
        "rule_files": [bare(tmp_path)],
        "evaluation_interval": step,
        "group_eval_order": ["affectmesh-figures", "affectmesh-alerts"],
        "tests": tests,
    }
    file.write_text(yaml.safe_dump(given))
    run("test", "rules", str(file))


def bare(folder: Path) -> str:
    """The rules without their annotations, which promtool would compare too."""
    rules = yaml.safe_load(RULES.read_text())
    for group in rules["groups"]:
        group.pop("interval", None)
        for rule in group["rules"]:
            rule.pop("annotations", None)
    path = folder / "rules.yaml"
    path.write_text(yaml.safe_dump(rules))
    return str(path)


def firing(case: Case, step: str) -> dict[str, Any]:
    (alert,) = [one for one in ALERTS if one.name == case.alert]
    expected = [{"exp_labels": {"severity": alert.severity, **labels}} for labels in case.labels]
    return unit(case.series, [{"alertname": case.alert, "eval_time": case.after}], expected, step)


def quiet(alert: str) -> dict[str, Any]:
    return unit(QUIET, [{"alertname": alert, "eval_time": "110m"}], [], "1m")


def unit(
    series: dict[str, str],
    checks: list[dict[str, Any]],
    expected: list[dict[str, Any]],
    step: str,
) -> dict[str, Any]:
    return {
        "interval": step,
        "input_series": [{"series": key, "values": value} for key, value in series.items()],
        "alert_rule_test": [{**check, "exp_alerts": expected} for check in checks],
    }


def run(*arguments: str) -> None:
    done = subprocess.run(
        [binary("promtool"), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
