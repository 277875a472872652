"""One process of the mesh: started, watched, restarted, stopped."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from services.mesh.health import Probe
from services.mesh.leash import leashed

FIRST_BACKOFF_S = 0.2
MAX_BACKOFF_S = 10.0
STABLE_S = 60.0
"""A process that served this long starts again without a long wait."""

START_LIMIT_S = 180.0
"""Longest time until a started process serves."""

PROBE_EVERY_S = 2.0
PROBE_TIMEOUT_S = 5.0
HANG_LIMIT_S = 25.0
"""A process that serves and then does not answer for this long is hung."""

KILL_AFTER_S = 5.0
"""Time a stopping process has beyond the grace it was given."""

WRONG_SETTINGS = 2
"""Exit status of a service whose settings are wrong: starting it again cannot help."""


class State(StrEnum):
    """Where a process stands. WAITING → STARTING ⇄ SERVING, FAILING; then STOPPING → STOPPED."""

    WAITING = "waiting"
    STARTING = "starting"
    SERVING = "serving"
    FAILING = "failing"
    REFUSED = "refused"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Plan:
    """What to run: `endpoint` is its port or socket, for people; `after` must serve before."""

    name: str
    command: tuple[str, ...]
    probe: Probe
    endpoint: str
    log: Path
    after: tuple[str, ...] = ()


class Process:
    """Keeps the command of a plan running. `changed` is called after every change of state."""

    def __init__(
        self, plan: Plan, environment: Mapping[str, str], changed: Callable[["Process"], None]
    ) -> None:
        self.plan = plan
        self.state = State.WAITING
        self.pid: int | None = None
        self.restarts = 0
        self.note = ""
        self.serving = asyncio.Event()
        self._environment = environment
        self._changed = changed
        self._stopping = asyncio.Event()
        self._finished = asyncio.Event()
        self._log_start = 0

    async def run(self, others: Mapping[str, "Process"]) -> None:
        """Runs until stop() is called, or the process refuses its settings."""
        try:
            for name in self.plan.after:
                self.note = f"for {name}"
                await self._unless_stopping(others[name].serving.wait())
            backoff_s = FIRST_BACKOFF_S
            while not self._stopping.is_set():
                began = time.monotonic()
                status = await self._live()
                if self._stopping.is_set():
                    break
                if status == WRONG_SETTINGS and not self.serving.is_set():
                    self._become(State.REFUSED, self.log_tail())
                    return
                if time.monotonic() - began > STABLE_S:
                    backoff_s = FIRST_BACKOFF_S
                self._become(State.FAILING, self.note or _ending(status, self.log_tail()))
                await self._unless_stopping(asyncio.sleep(backoff_s))
                backoff_s = min(2 * backoff_s, MAX_BACKOFF_S)
                self.restarts += 1
            self._become(State.STOPPED)
        finally:
            self._finished.set()

    async def stop(self, grace_s: float) -> None:
        """Asks the process to finish what is in flight; ends it when the grace is over."""
        self._stopping.set()
        if self.pid is not None:
            self._become(State.STOPPING)
            self._signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._finished.wait(), grace_s + KILL_AFTER_S)
        self.kill()
        await self._finished.wait()

    def kill(self) -> None:
        """Ends the process and whatever it started, at once."""
        if self.pid is not None:
            _kill_group(self.pid)

    def log_tail(self) -> str:
        """The last line that this start of the process has logged, or ''."""
        with self.plan.log.open("rb") as log:
            end = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, end - 8192))
            lines = log.read().decode(errors="replace").split("\n")
        return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "")

    async def _live(self) -> int:
        """One life of the process: its exit status, negative for a signal."""
        with self.plan.log.open("ab") as log:
            self._log_start = log.tell()
            process = await asyncio.create_subprocess_exec(
                *leashed(*self.plan.command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                env=dict(self._environment),
                start_new_session=True,
            )
        self.pid = process.pid
        self._become(State.STARTING)
        if self._stopping.is_set():
            self.kill()
        watch = asyncio.create_task(self._watch(process.pid))
        try:
            return await process.wait()
        finally:
            watch.cancel()
            _kill_group(process.pid)
            self.pid = None

    async def _watch(self, pid: int) -> None:
        started = time.monotonic()
        while not await self.plan.probe(PROBE_TIMEOUT_S):
            if time.monotonic() - started > START_LIMIT_S:
                self.note = f"did not serve within {START_LIMIT_S:g} s"
                _kill_group(pid)
                return
            await asyncio.sleep(0.1)
        if self._stopping.is_set():
            return
        self.serving.set()
        self._become(State.SERVING)
        answered = time.monotonic()
        while True:
            await asyncio.sleep(PROBE_EVERY_S)
            if await self.plan.probe(PROBE_TIMEOUT_S):
                answered = time.monotonic()
            elif time.monotonic() - answered > HANG_LIMIT_S and not self._stopping.is_set():
                self.note = f"hung: no answer for {HANG_LIMIT_S:g} s"
                _kill_group(pid)
                return

    async def _unless_stopping(self, waited: Coroutine[Any, Any, object]) -> None:
        waiting = {asyncio.create_task(waited), asyncio.create_task(self._stopping.wait())}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()

    def _become(self, state: State, note: str = "") -> None:
        if self.state is State.STOPPING and state is not State.STOPPED:
            return
        self.state = state
        self.note = note
        self._changed(self)

    def _signal(self, number: int) -> None:
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _ending(status: int, log_tail: str) -> str:
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"exit {status}: {log_tail}" if log_tail else f"exit {status}"
