"""The real Prometheus and promtool, of the system or unpacked from Debian's package."""

import shutil
import subprocess
from pathlib import Path

UNPACKED = Path(__file__).parents[2] / "build" / "prometheus"


def binary(name: str) -> str:
    """Path of `prometheus` or `promtool`; fetched once, and not installed, where it is missing."""
    found = shutil.which(name) or shutil.which(name, path=str(UNPACKED / "usr" / "bin"))
    if found is None:
        UNPACKED.mkdir(parents=True, exist_ok=True)
        if not _download():
            subprocess.run(["apt-get", "-qq", "update"], check=True)
            if not _download():
                raise RuntimeError("Debian's package prometheus cannot be had.")
        (package,) = UNPACKED.glob("prometheus_*.deb")
        subprocess.run(["dpkg-deb", "-x", package, UNPACKED], check=True)
        found = str(UNPACKED / "usr" / "bin" / name)
    return found


def _download() -> bool:
    command = ["apt-get", "-qq", "download", "prometheus"]
    done = subprocess.run(command, cwd=UNPACKED, capture_output=True, check=False)
    return done.returncode == 0
