"""Dashboards of Grafana, made with its own SDK."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DataSourceRef

from deploy.generate.rules import UNARY

_SOURCE = DataSourceRef(type_val="prometheus", uid="${source}")
_WIDTH, _HEIGHT = 8, 7


@dataclass(frozen=True)
class Graph:
    """One panel: queries with their legends, in a unit of Grafana."""

    title: str
    unit: str
    queries: Sequence[tuple[str, str]]
    meaning: str = ""


def _rate(metric: str, by: str, where: str = "") -> str:
    return f"sum by ({by}) (rate({metric}{where and '{' + where + '}'}[$__rate_interval]))"


def _quantile(percent: int, metric: str, by: str, where: str = "") -> str:
    return f"histogram_quantile({percent / 100:g}, {_rate(metric + '_bucket', by + ', le', where)})"


def _quantiles(metric: str, by: str, where: str = "") -> list[tuple[str, str]]:
    names = " ".join("{{" + name.strip() + "}}" for name in by.split(","))
    return [(_quantile(p, metric, by, where), f"p{p} {names}") for p in (50, 99)]


_OVERVIEW = (
    Graph(
        "Processes that serve",
        "short",
        [("count by (process) (affectmesh_up)", "{{process}}")],
    ),
    Graph(
        "REST requests",
        "reqps",
        [(_rate("affectmesh_http_seconds_count", "route"), "{{route}}")],
    ),
    Graph(
        "Share of requests that fail",
        "percentunit",
        [("affectmesh:http_errors:ratio5m", "5 min"), ("affectmesh:http_errors:ratio1h", "1 h")],
        "Answers of 500 and above. The budget is one of a thousand.",
    ),
    Graph("Latency", "s", _quantiles("affectmesh_http_seconds", "route")),
    Graph(
        "Answers by status",
        "reqps",
        [(_rate("affectmesh_http_seconds_count", "status"), "{{status}}")],
    ),
    Graph(
        "Stores",
        "short",
        [
            ("min(affectmesh_database_up)", "records reached"),
            ("1 - max(affectmesh_limits_local)", "Redis reached"),
        ],
    ),
    Graph(
        "CPU",
        "short",
        [
            (
                "sum by (component) (rate(process_cpu_seconds_total[$__rate_interval]))",
                "{{component}}",
            )
        ],
        "Cores in use.",
    ),
    Graph(
        "Memory",
        "bytes",
        [("sum by (component) (process_resident_memory_bytes)", "{{component}}")],
    ),
    Graph(
        "Requests over their limits",
        "reqps",
        [(_rate("affectmesh_limits_refusals_total", "limit"), "{{limit}}")],
    ),
)
_SERVICE = (
    Graph(
        "Calls",
        "reqps",
        [(_rate("affectmesh_rpc_seconds_count", "method", 'method=~"$method"'), "{{method}}")],
    ),
    Graph(
        "Calls that end badly",
        "reqps",
        [
            (
                _rate(
                    "affectmesh_rpc_seconds_count", "method, code", 'method=~"$method",code!="OK"'
                ),
                "{{code}} {{method}}",
            )
        ],
    ),
    Graph(
        "Latency of calls with one answer",
        "s",
        _quantiles("affectmesh_rpc_seconds", "method", f'method=~"$method",{UNARY}'),
    ),
    Graph(
        "In flight",
        "short",
        [("sum by (component) (affectmesh_rpc_in_flight)", "{{component}}")],
    ),
    Graph("Transactions on the records", "s", _quantiles("affectmesh_database_seconds", "kind")),
    Graph(
        "Fetches of media by URL",
        "reqps",
        [(_rate("affectmesh_fetches_total", "outcome"), "{{outcome}}")],
    ),
)
_MODELS = (
    Graph("Runs", "ops", [(_rate("affectmesh_model_seconds_count", "model"), "{{model}}")]),
    Graph("Time of a run", "s", _quantiles("affectmesh_model_seconds", "model")),
    Graph(
        "Inputs in one run",
        "short",
        [
            (
                f"{_rate('affectmesh_model_batch_size_sum', 'model')}"
                f" / {_rate('affectmesh_model_batch_size_count', 'model')}",
                "{{model}}",
            )
        ],
        "In process only; Triton has figures of its own.",
    ),
    Graph(
        "Calls without an answer yet",
        "short",
        [("sum by (model) (affectmesh_model_waiting)", "{{model}}")],
    ),
    Graph(
        "Failures",
        "ops",
        [(_rate("affectmesh_model_failures_total", "model, code"), "{{model}} {{code}}")],
    ),
    Graph(
        "Models that Triton serves",
        "short",
        [("min by (model) (affectmesh_model_ready)", "{{model}}")],
    ),
    Graph(
        "Label mix of a day",
        "percentunit",
        [('affectmesh:label_share:1d{modality=~"$modality"}', "{{modality}} {{label}}")],
    ),
    Graph(
        "Mean confidence of a day",
        "percentunit",
        [('affectmesh:confidence_mean:1d{modality=~"$modality"}', "{{modality}}")],
    ),
    Graph(
        "Warnings for each result, a day",
        "percentunit",
        [('affectmesh:warning_share:1d{modality=~"$modality"}', "{{modality}} {{code}}")],
        "The quality of what is sent.",
    ),
    Graph(
        "Results",
        "ops",
        [(_rate("affectmesh_results_total", "modality"), "{{modality}}")],
    ),
)
_BUSINESS = (
    Graph(
        "Billed in 24 h",
        "currencyUSD",
        [("sum by (item) (increase(affectmesh_ledger_usd_total[1d]))", "{{item}}")],
        "Before rounding to cents.",
    ),
    Graph(
        "Billed units in 24 h",
        "short",
        [("sum by (item) (increase(affectmesh_ledger_quantity_total[1d]))", "{{item}}")],
        "Requests or minutes.",
    ),
    Graph(
        "Entries of the ledger",
        "ops",
        [(_rate("affectmesh_ledger_entries_total", "item, mode"), "{{item}} {{mode}}")],
    ),
    Graph(
        "Not in the ledger yet",
        "short",
        [("sum(affectmesh_usage_waiting)", "entries")],
    ),
    Graph(
        "Refused by the ledger",
        "short",
        [("sum(increase(affectmesh_usage_rejected_total[1d]))", "entries in 24 h")],
    ),
    Graph(
        "Requests over their limits",
        "reqps",
        [(_rate("affectmesh_limits_refusals_total", "limit"), "{{limit}}")],
    ),
)
_STREAMS = (
    Graph(
        "Open streams of clients",
        "short",
        [("sum by (route) (affectmesh_streams_open)", "{{route}}")],
    ),
    Graph(
        "Inputs dropped by the gateway",
        "ops",
        [(_rate("affectmesh_stream_inputs_dropped_total", "route"), "{{route}}")],
        "What clients send faster than it can be analysed.",
    ),
    Graph(
        "Open streams of services",
        "short",
        [("sum by (method) (affectmesh_rpc_streams_open)", "{{method}}")],
    ),
    Graph(
        "Ends of streams",
        "ops",
        [
            (
                _rate("affectmesh_rpc_seconds_count", "method, code", 'method=~".*/Stream.*"'),
                "{{method}} {{code}}",
            )
        ],
    ),
)
_JOBS = (
    Graph("Jobs", "short", [("max by (state) (affectmesh_jobs)", "{{state}}")]),
    Graph("Wait of the oldest", "s", [("max(affectmesh_jobs_oldest_seconds)", "oldest")]),
    Graph("Places of the workers", "short", [("max(affectmesh_job_places)", "places")]),
    Graph(
        "Jobs that end",
        "ops",
        [(_rate("affectmesh_job_seconds_count", "kind, state"), "{{kind}} {{state}}")],
    ),
    Graph("From the making to the end", "s", _quantiles("affectmesh_job_seconds", "kind")),
)

_PAGES: dict[str, tuple[str, Sequence[Graph], dict[str, str]]] = {
    "overview": ("AffectMesh: overview", _OVERVIEW, {}),
    "service": ("AffectMesh: services", _SERVICE, {"method": "affectmesh_rpc_seconds_count"}),
    "models": ("AffectMesh: models", _MODELS, {"modality": "affectmesh_results_total"}),
    "business": ("AffectMesh: business", _BUSINESS, {}),
    "streams": ("AffectMesh: live streams", _STREAMS, {}),
    "jobs": ("AffectMesh: jobs", _JOBS, {}),
}
"""Title, panels, and variables with the metric that has them as a label."""


def queries() -> list[str]:
    """Every expression of every dashboard."""
    return [expr for _, graphs, _ in _PAGES.values() for one in graphs for expr, _ in one.queries]


def dashboards() -> dict[str, str]:
    """JSON by name."""
    return {
        name: JSONEncoder(sort_keys=True, indent=2).encode(_page(name, *page)) + "\n"
        for name, page in _PAGES.items()
    }


def _page(name: str, title: str, graphs: Sequence[Graph], variables: dict[str, str]) -> Any:
    page = (
        build.Dashboard(title)
        .uid(f"affectmesh-{name}")
        .tags(["affectmesh"])
        .timezone("browser")
        .refresh("30s")
        .time("now-6h", "now")
        .readonly()
        .with_variable(build.DatasourceVariable("source").type("prometheus").label("Prometheus"))
    )
    for variable, metric in variables.items():
        page = page.with_variable(
            build.QueryVariable(variable)
            .datasource(_SOURCE)
            .query(f"label_values({metric}, {variable})")
            .include_all(True)
            .all_value(".*")
            .multi(True)
        )
    for number, graph in enumerate(graphs, 1):
        page = page.with_panel(_panel(graph).id(number))
    return page.build()


def _panel(graph: Graph) -> Any:
    alone = len(graph.queries) == 1 and "{{" not in graph.queries[0][1]
    make: Callable[[], Any] = stat.Panel if alone else timeseries.Panel
    panel = make().title(graph.title).unit(graph.unit).datasource(_SOURCE)
    panel = panel.span(_WIDTH).height(_HEIGHT)
    if graph.meaning:
        panel = panel.description(graph.meaning)
    for letter, (expr, legend) in zip("ABCDEF", graph.queries, strict=False):
        query = prometheus.Dataquery().expr(expr).legend_format(legend).ref_id(letter)
        panel = panel.with_target(query.datasource(_SOURCE))
    return panel
