"""A real S3 server, SeaweedFS, on ports and a folder of its own."""

import contextlib
import json
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from services.mesh import ports

ACCESS_KEY, SECRET_KEY, BUCKET = "AKIATEST", "secret-of-the-test", "media"
_IDENTITY = {
    "name": "test",
    "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
    "actions": ["Admin", "Read", "Write", "List", "Tagging"],
}


@dataclass(frozen=True)
class S3Server:
    """Where it is."""

    endpoint: str
    filer: str

    def url(self, prefix: str) -> str:
        """The store's URL of a prefix."""
        return f"s3://{BUCKET}/{prefix}?endpoint={self.endpoint}&region=us-east-1"


@contextlib.contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """Runs it, with one bucket."""
    identities = folder / "s3.json"
    identities.write_text(json.dumps({"identities": [_IDENTITY]}))
    _, base = ports.free_ports("127.0.0.1")
    numbers = {"master": base, "volume": base + 1, "filer": base + 2, "s3": base + 3}
    command = [
        shutil.which("weed", path=str(Path(sys.executable).parent)) or "weed",
        *("server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"),
        *(f"-{name}.port={port}" for name, port in numbers.items()),
        *(f"-{name}.port.grpc={port + 10}" for name, port in numbers.items()),
        f"-s3.config={identities}",
        "-volume.max=20",
        "-master.volumeSizeLimitMB=256",
    ]
    with (
        (folder / "weed.log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT) as process,
    ):
        server = S3Server(
            f"http://127.0.0.1:{numbers['s3']}", f"http://127.0.0.1:{numbers['filer']}"
        )
        try:
            _wait_for(server, folder / "weed.log")
            yield server
        finally:
            process.kill()


def _wait_for(server: S3Server, log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            bucket = urllib.request.Request(f"{server.filer}/buckets/{BUCKET}/", method="POST")
            urllib.request.urlopen(bucket, timeout=5).close()
            urllib.request.urlopen(f"{server.endpoint}/status", timeout=5).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            if time.monotonic() > deadline:
                raise TimeoutError(log.read_text()[-2000:]) from None
            time.sleep(0.1)
        else:
            return
