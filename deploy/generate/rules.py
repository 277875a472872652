"""Recording rules and alerts of Prometheus. Each alert has a page in docs/runbooks."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from services.common.settings import SERVICES

RUNBOOKS_URL = "RUNBOOKS_URL"
"""Stands for where the pages are; the chart puts monitoring.runbooks in its place."""

UNARY = 'method!~".*/(Stream|Watch).*"'
"""Calls with one answer: a stream lasts as long as its client wants."""


@dataclass(frozen=True)
class Alert:
    """`page` wakes somebody up, `ticket` waits for the morning."""

    name: str
    severity: str
    expr: str
    lasts: str
    summary: str

    @property
    def runbook(self) -> str:
        """File name of its page."""
        words = "".join(f"-{c.lower()}" if c.isupper() else c for c in self.name[10:])
        return words.lstrip("-") + ".md"


@dataclass(frozen=True)
class Recording:
    """A figure that takes long to work out, kept under a name."""

    name: str
    expr: str


def _errors(window: str) -> str:
    return (
        f'sum(rate(affectmesh_http_seconds_count{{status=~"5.."}}[{window}]))'
        f" / sum(rate(affectmesh_http_seconds_count[{window}]))"
    )


def _daily(metric: str, by: str) -> str:
    return f"sum by ({by}) (increase({metric}[1d]))"


RECORDINGS = (
    Recording("affectmesh:http_errors:ratio5m", _errors("5m")),
    Recording("affectmesh:http_errors:ratio30m", _errors("30m")),
    Recording("affectmesh:http_errors:ratio1h", _errors("1h")),
    Recording("affectmesh:http_errors:ratio6h", _errors("6h")),
    Recording(
        "affectmesh:label_share:1d",
        f"{_daily('affectmesh_results_total', 'modality, label')}"
        f" / on (modality) group_left {_daily('affectmesh_results_total', 'modality')}",
    ),
    Recording(
        "affectmesh:confidence_mean:1d",
        f"{_daily('affectmesh_confidence_sum', 'modality')}"
        f" / {_daily('affectmesh_confidence_count', 'modality')}",
    ),
    Recording(
        "affectmesh:warning_share:1d",
        f"{_daily('affectmesh_warnings_total', 'modality, code')}"
        f" / on (modality) group_left {_daily('affectmesh_results_total', 'modality')}",
    ),
)

_ENOUGH = f"and on (modality) {_daily('affectmesh_results_total', 'modality')} > 1000"
"""Shares of a few results say nothing."""

ALERTS = (
    Alert(
        "AffectMeshServiceGone",
        "page",
        " or ".join(f'absent(affectmesh_up{{process="{name}"}})' for name in SERVICES),
        "2m",
        "No replica of {{ $labels.process }} serves.",
    ),
    Alert(
        "AffectMeshErrorBudgetBurnsFast",
        "page",
        "affectmesh:http_errors:ratio1h > 14.4 * 0.001"
        " and affectmesh:http_errors:ratio5m > 14.4 * 0.001",
        "2m",
        "{{ $value | humanizePercentage }} of requests fail: a month's budget lasts two days.",
    ),
    Alert(
        "AffectMeshErrorBudgetBurnsSlowly",
        "ticket",
        "affectmesh:http_errors:ratio6h > 6 * 0.001"
        " and affectmesh:http_errors:ratio30m > 6 * 0.001",
        "15m",
        "{{ $value | humanizePercentage }} of requests fail: a month's budget lasts five days.",
    ),
    Alert(
        "AffectMeshLatencyHigh",
        "ticket",
        "histogram_quantile(0.95, sum by (route, le)"
        " (rate(affectmesh_http_seconds_bucket[10m]))) > 10",
        "15m",
        "95 % of requests to {{ $labels.route }} take up to {{ $value | humanizeDuration }}.",
    ),
    Alert(
        "AffectMeshCallsFail",
        "page",
        'sum by (method) (rate(affectmesh_rpc_seconds_count{code=~"INTERNAL_ERROR|'
        'SERVICE_UNAVAILABLE|DEADLINE_EXCEEDED"}[5m]))'
        " / sum by (method) (rate(affectmesh_rpc_seconds_count[5m])) > 0.05",
        "5m",
        "{{ $value | humanizePercentage }} of calls of {{ $labels.method }} fail.",
    ),
    Alert(
        "AffectMeshModelFails",
        "page",
        "sum by (model) (rate(affectmesh_model_failures_total[5m])) > 0.1",
        "5m",
        "The model {{ $labels.model }} fails {{ $value | humanize }} times a second.",
    ),
    Alert(
        "AffectMeshModelNotReady",
        "page",
        "min by (model) (affectmesh_model_ready) == 0",
        "2m",
        "Triton does not serve the model {{ $labels.model }}.",
    ),
    Alert(
        "AffectMeshModelBehind",
        "ticket",
        "sum by (model) (avg_over_time(affectmesh_model_waiting[5m]))"
        " / on () group_left count(affectmesh_up) > 32",
        "10m",
        "Calls of the model {{ $labels.model }} queue up.",
    ),
    Alert(
        "AffectMeshJobsWaitLong",
        "ticket",
        "max(affectmesh_jobs_oldest_seconds) > 600",
        "10m",
        "The oldest job has waited {{ $value | humanizeDuration }}.",
    ),
    Alert(
        "AffectMeshNoWorkers",
        "page",
        'max(affectmesh_job_places) == 0 and max(affectmesh_jobs{state="queued"}) > 0',
        "5m",
        "Jobs wait and no worker lives.",
    ),
    Alert(
        "AffectMeshJobsFail",
        "ticket",
        'sum by (kind) (increase(affectmesh_job_seconds_count{state="error"}[1h]))'
        " / sum by (kind) (increase(affectmesh_job_seconds_count[1h])) > 0.1",
        "15m",
        "{{ $value | humanizePercentage }} of {{ $labels.kind }} jobs fail.",
    ),
    Alert(
        "AffectMeshLimitsLocal",
        "page",
        "max(affectmesh_limits_local) == 1",
        "2m",
        "A gateway does not reach Redis and applies limits by itself.",
    ),
    Alert(
        "AffectMeshRecordsUnreachable",
        "page",
        "min(affectmesh_database_up) == 0",
        "1m",
        "A service does not reach the database.",
    ),
    Alert(
        "AffectMeshUsageWaits",
        "page",
        "sum(affectmesh_usage_waiting) > 5000",
        "10m",
        "{{ $value }} usage entries are not in the ledger yet.",
    ),
    Alert(
        "AffectMeshUsageRejected",
        "ticket",
        "sum(increase(affectmesh_usage_rejected_total[1h])) > 0",
        "0m",
        "The ledger refused {{ $value | humanize }} usage entries: somebody is not billed.",
    ),
    Alert(
        "AffectMeshManyRefusals",
        "ticket",
        "sum(rate(affectmesh_limits_refusals_total[15m]))"
        " / sum(rate(affectmesh_http_seconds_count[15m])) > 0.2",
        "30m",
        "{{ $value | humanizePercentage }} of requests are over their limits.",
    ),
    Alert(
        "AffectMeshStreamsDrop",
        "ticket",
        "sum by (route) (rate(affectmesh_stream_inputs_dropped_total[10m]))"
        " / on (route) sum by (route) (affectmesh_streams_open) > 5",
        "15m",
        "Live streams on {{ $labels.route }} drop {{ $value | humanize }} inputs a second each.",
    ),
    Alert(
        "AffectMeshLabelMixDrifts",
        "ticket",
        "0.5 * sum by (modality) (abs(affectmesh:label_share:1d"
        f" - affectmesh:label_share:1d offset 7d)) > 0.2 {_ENOUGH}",
        "6h",
        "{{ $value | humanizePercentage }} of {{ $labels.modality }} results have another label"
        " than a week ago.",
    ),
    Alert(
        "AffectMeshConfidenceDrifts",
        "ticket",
        "abs(affectmesh:confidence_mean:1d - affectmesh:confidence_mean:1d offset 7d) > 0.1"
        f" {_ENOUGH}",
        "6h",
        "The mean confidence of {{ $labels.modality }} moved by {{ $value | humanize }} in a week.",
    ),
    Alert(
        "AffectMeshInputQualityDrops",
        "ticket",
        f"affectmesh:warning_share:1d - affectmesh:warning_share:1d offset 7d > 0.2 {_ENOUGH}",
        "6h",
        "{{ $labels.code }} stands in {{ $value | humanizePercentage }} more {{ $labels.modality }}"
        " results than a week ago.",
    ),
    Alert(
        "AffectMeshCertificateEnds",
        "ticket",
        "min((affectmesh_tls_certificate_ends_seconds > 0) - time()) < 14 * 86400",
        "1h",
        "A process calls with a certificate that ends in {{ $value | humanizeDuration }}.",
    ),
)


def rules() -> str:
    """The groups as Prometheus and its operator read them."""
    groups = [
        {"name": "affectmesh-figures", "interval": "1m", "rules": list(_recordings())},
        {"name": "affectmesh-alerts", "rules": list(_alerts())},
    ]
    return yaml.safe_dump({"groups": groups}, sort_keys=False, width=100)


def _recordings() -> Iterator[dict[str, Any]]:
    for one in RECORDINGS:
        yield {"record": one.name, "expr": one.expr}


def _alerts() -> Iterator[dict[str, Any]]:
    for one in ALERTS:
        yield {
            "alert": one.name,
            "expr": one.expr,
            "for": one.lasts,
            "labels": {"severity": one.severity},
            "annotations": {
                "summary": one.summary,
                "runbook_url": f"{RUNBOOKS_URL}/{one.runbook}",
            },
        }
