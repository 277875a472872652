"""The supervisor of one machine."""

import asyncio
import fcntl
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from services.common.settings import Settings
from services.mesh import ports
from services.mesh.display import Display, open_display
from services.mesh.plans import STOP_ORDER, redis_plan, service_plans
from services.mesh.process import WRONG_SETTINGS, Plan, Process, State


def supervise(settings: Settings, greeting: str = "") -> int:
    """Runs the mesh until SIGINT, SIGTERM or SIGHUP; gives the exit status.

    0 after a stop that was asked for; 2 where settings are wrong, a port is taken or another mesh
    runs on the data folder: the reason is on stderr. `greeting` is shown once all serve.
    """
    data_dir = settings.data_dir.resolve()
    logs = data_dir / "logs"
    try:
        logs.mkdir(parents=True, exist_ok=True)
        data_dir.chmod(0o700)
        lock = (data_dir / "mesh.lock").open("w")
    except OSError as error:
        return _refuse(f"AFFECTMESH_DATA_DIR: {error}")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return _refuse(f"AFFECTMESH_DATA_DIR: another mesh runs on {data_dir}.")
        if conflicts := ports.conflicts(settings):
            return _refuse("\n".join(conflicts))
        try:
            plans, environment = _plans(settings, data_dir, logs)
        except OSError as error:
            return _refuse(f"AFFECTMESH_DATA_DIR: {error}")
        return asyncio.run(Mesh(settings, plans, environment, open_display()).run(greeting))


def _plans(settings: Settings, data_dir: Path, logs: Path) -> tuple[list[Plan], Mapping[str, str]]:
    if settings.redis_url:
        return service_plans(settings, logs, own_redis=False), os.environ
    redis = redis_plan(data_dir, logs)
    plans = [redis.plan, *service_plans(settings, logs, own_redis=True)]
    return plans, {**os.environ, "AFFECTMESH_REDIS_URL": redis.url}


def _refuse(message: str) -> int:
    print(message, file=sys.stderr)
    return WRONG_SETTINGS


class Mesh:
    """All processes of one machine."""

    def __init__(
        self,
        settings: Settings,
        plans: list[Plan],
        environment: Mapping[str, str],
        display: Display,
    ) -> None:
        self._settings = settings
        self._display = display
        self._processes = {plan.name: Process(plan, environment, display.changed) for plan in plans}
        self._stop = asyncio.Event()

    async def run(self, greeting: str) -> int:
        """Starts all, keeps them running until told to stop, stops all."""
        started = time.monotonic()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self._on_signal)
        runs = [
            asyncio.create_task(process.run(self._processes))
            for process in self._processes.values()
        ]
        tasks = [
            asyncio.create_task(self._greet(greeting, started)),
            asyncio.create_task(self._refresh()),
            *(asyncio.create_task(self._stop_when_refused(run)) for run in runs),
        ]
        await self._stop.wait()
        await self._stop_all()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*runs)
        self._display.refresh(list(self._processes.values()))
        return self._outcome()

    def _on_signal(self) -> None:
        if self._stop.is_set():
            for process in self._processes.values():
                process.kill()
        self._stop.set()

    async def _greet(self, greeting: str, started: float) -> None:
        for process in self._processes.values():
            await process.serving.wait()
        host = self._settings.http_host or self._settings.host
        seconds = time.monotonic() - started
        self._display.say(f"ready in {seconds:.1f} s: http://{host}:{self._settings.http_port}")
        if greeting:
            self._display.say(greeting)

    async def _refresh(self) -> None:
        while True:
            self._display.refresh(list(self._processes.values()))
            await asyncio.sleep(1)

    async def _stop_when_refused(self, run: "asyncio.Task[None]") -> None:
        await asyncio.wait([run])
        self._stop.set()

    async def _stop_all(self) -> None:
        grace_s = self._settings.drain_s + self._settings.stop_grace_s
        stopped: set[str] = set()
        for group in STOP_ORDER:
            names = [name for name in self._processes if name.startswith(group)]
            names = [name for name in names if name not in stopped]
            stopped.update(names)
            await asyncio.gather(*(self._processes[name].stop(grace_s) for name in names))

    def _outcome(self) -> int:
        refused = [
            process for process in self._processes.values() if process.state is State.REFUSED
        ]
        for process in refused:
            print(f"{process.plan.name}: {process.note}", file=sys.stderr)
        return WRONG_SETTINGS if refused else 0
