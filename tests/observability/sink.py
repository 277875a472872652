"""A real OTLP collector that prints what it gets."""

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

_SPAN = re.compile(
    r"Trace ID\s+: (?P<trace>\w*)\s+Parent ID\s+: (?P<parent>\w*)\s+ID\s+: (?P<id>\w*)\s+"
    r"Name\s+: (?P<name>[^\n]*)\n"
)


@dataclass(frozen=True)
class Span:
    """A span as the collector got it."""

    service: str
    name: str
    trace: str
    id: str
    parent: str


class Collector:
    """What a running collector has printed."""

    def __init__(self, address: str, log: Path) -> None:
        self.address = address
        self._log = log

    @property
    def text(self) -> str:
        """All of it."""
        return self._log.read_text()

    def spans(self, trace: str) -> list[Span]:
        """The spans of one trace."""
        return [span for span in self._all() if span.trace == trace]

    def wait_for(self, trace: str, names: set[str], seconds: float = 60) -> list[Span]:
        """The spans of a trace once these are among them, or what came until then."""
        _wait(lambda: names <= {span.name for span in self.spans(trace)}, seconds)
        return self.spans(trace)

    def wait_for_trace(self, name: str) -> str:
        """The trace that a span of this name is in, once there is one; "" where none comes."""
        _wait(lambda: name in {span.name for span in self._all()})
        return next((span.trace for span in self._all() if span.name == name), "")

    def wait_for_service(self, trace: str, names: set[str], service: str) -> list[Span]:
        """The same, once there is a span of this service, too."""
        self.wait_for(trace, names)
        _wait(lambda: service in {span.service for span in self.spans(trace)})
        return self.spans(trace)

    def _all(self) -> Iterator[Span]:
        for batch in self.text.split("ResourceSpans #")[1:]:
            service = re.search(r"service\.name: Str\(([^)]*)\)", batch)
            for found in _SPAN.finditer(batch):
                yield Span(
                    service[1] if service else "",
                    found["name"],
                    found["trace"],
                    found["id"],
                    found["parent"],
                )


@contextmanager
def collector(folder: Path) -> Iterator[Collector]:
    """Runs the collector on a free port."""
    agent = shutil.copy(str(files("rotel") / "rotel-agent"), folder / "rotel-agent")
    Path(agent).chmod(0o755)
    grpc, http = free_port(), free_port()
    command = [
        agent,
        "start",
        *("--exporter", "blackhole", "--debug-log", "traces", "--debug-log-verbosity", "detailed"),
        *("--otlp-grpc-endpoint", f"127.0.0.1:{grpc}", "--otlp-http-endpoint", f"127.0.0.1:{http}"),
        *("--pid-file", str(folder / "pid")),
    ]
    log = folder / "collector.log"
    with log.open("w") as output, subprocess.Popen(command, stdout=output, stderr=output) as agent_:
        try:
            if not _wait(lambda: _listens(grpc)):
                raise AssertionError("the collector did not start")
            yield Collector(f"http://127.0.0.1:{grpc}", log)
        finally:
            agent_.terminate()


def free_port() -> int:
    """A port that nobody holds."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _wait(holds: Callable[[], bool], seconds: float = 60) -> bool:
    """Whether something holds in time."""
    deadline = time.monotonic() + seconds
    while not (held := holds()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return held
