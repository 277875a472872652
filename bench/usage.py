"""CPU and memory of the processes of a mesh."""

from collections.abc import Iterable, Mapping

import psutil

from services.common.settings import SERVICES
from services.mesh.temporary import TemporaryMesh


def cpu_seconds(
    mesh: TemporaryMesh, names: Iterable[str] = ("redis", *SERVICES)
) -> dict[str, float]:
    """CPU time that each of these processes of the mesh has used, with what it started."""
    return {name: sum(_cpu(process) for process in _family(mesh.pid(name))) for name in names}


def resident_mb(mesh: TemporaryMesh) -> dict[str, float]:
    """Resident memory by process in MB, the supervisor's too; shared pages count in each."""
    pids = {name: mesh.pid(name) for name in ("redis", *SERVICES)}
    families = {name: _family(pid) for name, pid in pids.items()}
    families["supervisor"] = [psutil.Process(mesh.supervisor.pid)]
    return {
        name: sum(process.memory_info().rss for process in family) / 1e6
        for name, family in families.items()
    }


def difference(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """What was used between two readings."""
    return {name: after[name] - before[name] for name in before}


def _family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system
