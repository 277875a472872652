"""Waiting for what other processes do."""

import time
from collections.abc import Callable

import psutil


def wait_until(holds: Callable[[], bool], within_s: float, what: str) -> None:
    """Returns once the condition holds; fails the test when it does not in time."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}"
        time.sleep(0.05)


def is_gone(pid: int) -> bool:
    """Whether a process has ended."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
