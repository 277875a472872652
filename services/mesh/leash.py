"""Becomes a command that ends when its parent does: `python leash.py PARENT_PID COMMAND…`.

Runs as a script of its own, without site packages, so that the parent needs no code between fork
and exec. On Linux the kernel kills the command when the parent is gone, however it went
(prctl(2), PR_SET_PDEATHSIG); elsewhere the command just runs.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def leashed(*command: str) -> tuple[str, ...]:
    """The command that runs `command` so that it ends when this process does.

    To be started by the main thread: to the kernel, the parent is the thread that forks.
    """
    return (sys.executable, "-I", "-S", __file__, str(os.getpid()), *command)


def main(parent: int, command: list[str]) -> None:
    """Replaces this process by the command, or ends where the parent is gone already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            return
    os.execv(command[0], command)  # noqa: S606 - the command is the supervisor's


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
