"""What a person sees of a running mesh."""

import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TextIO

from services.mesh.process import Process, State

_COLOURS = {State.SERVING: "32", State.FAILING: "31", State.REFUSED: "31"}


class Display(Protocol):
    """Shows processes as they change."""

    def changed(self, process: Process) -> None:
        """A process has another state."""

    def refresh(self, processes: Sequence[Process]) -> None:
        """Called every second."""

    def say(self, text: str) -> None:
        """Text to be kept in sight."""


def open_display() -> Display:
    """A live table on a terminal, plain lines elsewhere."""
    return Table(sys.stdout) if sys.stdout.isatty() else Lines(sys.stdout)


class Lines:
    """One line for each change."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def changed(self, process: Process) -> None:
        print(time.strftime("%H:%M:%S"), " ".join(_cells(process)).rstrip(), file=self._out)
        self._out.flush()

    def refresh(self, processes: Sequence[Process]) -> None:
        """Lines stand as they were written."""

    def say(self, text: str) -> None:
        print(text, file=self._out, flush=True)


class Table:
    """One line for each process, drawn anew in place."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._processes: Sequence[Process] = ()
        self._height = 0

    def changed(self, process: Process) -> None:
        self._draw()

    def refresh(self, processes: Sequence[Process]) -> None:
        self._processes = processes
        self._draw()

    def say(self, text: str) -> None:
        self._erase()
        print(text, file=self._out)
        self._draw()

    def _draw(self) -> None:
        width = shutil.get_terminal_size().columns
        lines = [
            "",
            f"{'service':10} {'state':9} {'pid':>7} {'port':>7} {'restarts':>8} {'memory':>8}",
        ]
        lines += [self._line(process, width) for process in self._processes]
        self._erase()
        print("\n".join(lines), file=self._out, flush=True)
        self._height = len(lines)

    def _line(self, process: Process, width: int) -> str:
        line = " ".join(_cells(process))[: width - 1].rstrip()
        state, colour = f"{process.state:9}", _COLOURS.get(process.state, "33")
        return line.replace(state, f"\x1b[{colour}m{state}\x1b[0m", 1)

    def _erase(self) -> None:
        if self._height:
            self._out.write(f"\x1b[{self._height}F\x1b[J")
        self._height = 0


def _cells(process: Process) -> tuple[str, ...]:
    resident = resident_bytes(process.pid)
    return (
        f"{process.plan.name:10}",
        f"{process.state:9}",
        f"{process.pid or '-':>7}",
        f"{process.plan.endpoint:>7}",
        f"{process.restarts:>8}",
        f"{f'{resident / 1e6:.0f} MB' if resident else '-':>8}",
        f" {process.note}",
    )


def resident_bytes(pid: int | None) -> int | None:
    """Memory that a process has in use, where the system tells (Linux)."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return None
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")
