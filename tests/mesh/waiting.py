"""Waiting for what other processes do and log."""

import json
import time
from collections.abc import Callable
from typing import Any

import psutil

from services.mesh.temporary import TemporaryMesh

ENOUGH_S = 300.0
"""Far above what anything here takes on a machine that has nothing else to do."""


def wait_until(holds: Callable[[], bool], what: str) -> None:
    """Returns once the condition holds; fails the test when it does not in time."""
    deadline = time.monotonic() + ENOUGH_S
    while not holds():
        assert time.monotonic() < deadline, f"not within {ENOUGH_S:g} s: {what}"
        time.sleep(0.05)


def logged(mesh: TemporaryMesh, service: str) -> list[dict[str, Any]]:
    """The lines that a service has logged, without one that is still being written."""
    lines = mesh.log(service).splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def is_gone(pid: int) -> bool:
    """Whether a process has ended."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
