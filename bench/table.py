"""The table as a person reads it."""

from bench.measure import Row

HEAD = (
    f"{'request':11} {'clients':>7} {'requests/s':>10} {'p50 ms':>8} {'p99 ms':>8} "
    f"{'CPU ms':>8} {'gateway':>8}  most of it in"
)


def line(row: Row) -> str:
    """One row under HEAD."""
    by_process = row.cpu_ms_by_process
    most = max(by_process, key=lambda name: by_process[name])
    failed = ", ".join(f"{count} x {status}" for status, count in row.failed.items())
    cells = (
        f"{row.kind:11} {row.clients:>7} {row.requests_per_s:>10.1f} {row.p50_ms:>8.1f} "
        f"{row.p99_ms:>8.1f} {row.cpu_ms:>8.2f} {by_process['gateway']:>8.2f}  "
        f"{most} {by_process[most]:.2f}"
    )
    return f"{cells}; failed: {failed}: {row.first_failure[:120]}" if failed else cells


def against(name: str, value: float, unit: str, target: float) -> str:
    """A figure beside its target, which it must not exceed."""
    verdict = "met" if value <= target else "missed"
    return f"{name:44} {value:>8.2f} {unit:3} target {target:g}: {verdict}"
