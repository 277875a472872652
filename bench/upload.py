"""Uploads and downloads one large file: `python -m bench.upload [--megabytes N] [--folder DIR]`.

Only the gateway, the job and the billing service run. The file is an MP4 of noise, so that nothing
on its way can guess it; it is sent as a form and as a body, and read back. A throughput says what
was possible beside everything else that the machine was doing; CPU per GB is steadier.
"""

import argparse
import asyncio
import json
import os
import struct
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import psutil
import uvloop

from services.mesh.temporary import TemporaryMesh

MEGABYTES = 1000
UPLOAD_MB_S = 200.0
"""Target: upload to a folder on loopback."""

SERVICES = ("gateway", "jobs")
ABSENT = ("text", "face", "voice", "biosignal", "fusion")

BOUNDARY = "-" * 24 + "Wq3k0sVb7XyT1mZc9RfLh2"
"""As long as that of curl: the longer it is, the faster it is sought in the bytes of a form."""

_PIECE_BYTES = 1024 * 1024
_LOOK_S = 0.05


@dataclass
class Transfer:
    """One file in one direction. CPU in seconds for each GB, memory in MB over that before."""

    kind: str
    megabytes: float
    seconds: float
    cpu_s_per_gb: dict[str, float] = field(default_factory=dict)
    grown_mb: dict[str, float] = field(default_factory=dict)

    @property
    def mb_per_s(self) -> float:
        return self.megabytes / self.seconds


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m bench.upload")
    parser.add_argument("--megabytes", type=int, default=MEGABYTES, help="size of the file")
    parser.add_argument("--folder", type=Path, help="where the store is; default: temporary")
    parser.add_argument("--media-key", default="", help="encrypts at rest under this key")
    parser.add_argument("--json", type=Path, help="file that gets every figure")
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before", flush=True)
    with tempfile.TemporaryDirectory(prefix="upload-", dir=arguments.folder) as folder:
        overrides = {
            "AFFECTMESH_ADDRESSES": json.dumps(dict.fromkeys(ABSENT, "127.0.0.1:9")),
            "AFFECTMESH_OBJECT_STORE_URL": Path(folder).as_uri(),
            "AFFECTMESH_MEDIA_KEY": arguments.media_key,
        }
        print(f"disk: {_disk_mb_per_s(Path(folder)):.0f} MB/s written and synced", flush=True)
        with TemporaryMesh(overrides) as mesh:
            found = transfers(mesh, arguments.megabytes)
    for transfer in found:
        print(line(transfer))
    for transfer in found[:2]:
        verdict = "met" if transfer.mb_per_s >= UPLOAD_MB_S else "missed"
        print(f"{transfer.kind:20} {transfer.mb_per_s:.0f} MB/s, target {UPLOAD_MB_S:g}: {verdict}")
    if arguments.json:
        figures = [asdict(transfer) for transfer in found]
        arguments.json.write_bytes(orjson.dumps(figures, option=orjson.OPT_INDENT_2))


def line(transfer: Transfer) -> str:
    """As a person reads it."""
    cpu = ", ".join(f"{name} {value:.2f}" for name, value in transfer.cpu_s_per_gb.items())
    grown = ", ".join(f"{name} {value:+.0f}" for name, value in transfer.grown_mb.items())
    return (
        f"{transfer.kind:20} {transfer.megabytes:.0f} MB in {transfer.seconds:.2f} s = "
        f"{transfer.mb_per_s:.0f} MB/s; CPU s/GB: {cpu}; memory MB: {grown}"
    )


def transfers(mesh: TemporaryMesh, megabytes: int) -> list[Transfer]:
    """A form, a body, and the way back, after a small file that warms up."""
    film = _Film(megabytes * 1_000_000)
    uvloop.run(_send(mesh, _Film(2_000_000), form=True))
    found = []
    with _watched(mesh, "upload, form", film.size) as transfer:
        uvloop.run(_send(mesh, film, form=True))
    found.append(transfer)
    with _watched(mesh, "upload, body", film.size) as transfer:
        media_id = uvloop.run(_send(mesh, film, form=False))
    found.append(transfer)
    with _watched(mesh, "download", film.size) as transfer:
        uvloop.run(_receive(mesh, media_id, film.size))
    found.append(transfer)
    return found


class _Film:
    """An MP4 of a given size: a short film, and noise in an atom that players skip."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._head = _short_film()
        rest = size - len(self._head)
        self._head += struct.pack(">I4s", rest, b"free")
        self._noise = os.urandom(_PIECE_BYTES)

    def pieces(self) -> Iterator[bytes]:
        """All bytes."""
        yield self._head
        rest = self.size - len(self._head)
        while rest > 0:
            piece = self._noise[: min(rest, _PIECE_BYTES)]
            rest -= len(piece)
            yield piece


def _short_film() -> bytes:
    import io

    import av
    import numpy as np

    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        stream = out.add_stream("mpeg4", rate=10)
        assert isinstance(stream, av.VideoStream)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for _ in range(20):
            pixels = np.zeros((64, 64, 3), np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        out.mux(stream.encode())
    return file.getvalue()


async def _send(mesh: TemporaryMesh, film: _Film, *, form: bool) -> str:
    before = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="film.mp4"\r\n'
        "Content-Type: video/mp4\r\n\r\n"
    ).encode()
    after = f"\r\n--{BOUNDARY}--\r\n".encode()
    if not form:
        before = after = b""
    kind = f"multipart/form-data; boundary={BOUNDARY}" if form else "video/mp4"
    length = len(before) + film.size + len(after)
    address = urlsplit(mesh.address)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(
        f"POST /v1/media HTTP/1.1\r\nHost: {address.netloc}\r\nX-WIA-API-Key: {mesh.key}\r\n"
        f"Content-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n".encode()
    )
    writer.write(before)
    for piece in film.pieces():
        writer.write(piece)
        await writer.drain()
    writer.write(after)
    await writer.drain()
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    if b" 201 " not in head.split(b"\r\n")[0]:
        raise RuntimeError(answer.decode(errors="replace"))
    return str(orjson.loads(body)["media_id"])


async def _receive(mesh: TemporaryMesh, media_id: str, size: int) -> None:
    address = urlsplit(mesh.address)
    reader, writer = await asyncio.open_connection(
        address.hostname, address.port, limit=4 * _PIECE_BYTES
    )
    writer.write(
        f"GET /v1/media/{media_id}/content HTTP/1.1\r\nHost: {address.netloc}\r\n"
        f"X-WIA-API-Key: {mesh.key}\r\nConnection: close\r\n\r\n".encode()
    )
    await reader.readuntil(b"\r\n\r\n")
    received = 0
    while piece := await reader.read(_PIECE_BYTES):
        received += len(piece)
    writer.close()
    if received != size:
        raise RuntimeError(f"{received} of {size} bytes came back.")


@contextmanager
def _watched(mesh: TemporaryMesh, kind: str, size: int) -> Iterator[Transfer]:
    """Times what happens inside, with CPU and memory of the services."""
    processes = {name: psutil.Process(mesh.pid(name)) for name in SERVICES}
    cpu = {name: sum(process.cpu_times()[:2]) for name, process in processes.items()}
    resident = {name: process.memory_info().rss for name, process in processes.items()}
    most = dict(resident)
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(_LOOK_S):
            for name, process in processes.items():
                most[name] = max(most[name], process.memory_info().rss)

    looking = threading.Thread(target=look)
    looking.start()
    transfer = Transfer(kind, size / 1e6, 0.0)
    started = time.perf_counter()
    try:
        yield transfer
    finally:
        transfer.seconds = time.perf_counter() - started
        ended.set()
        looking.join()
    for name, process in processes.items():
        used = sum(process.cpu_times()[:2]) - cpu[name]
        transfer.cpu_s_per_gb[name] = used / size * 1e9
        transfer.grown_mb[name] = (most[name] - resident[name]) / 1e6


def _disk_mb_per_s(folder: Path) -> float:
    """How fast the disk takes a file by itself."""
    piece = os.urandom(_PIECE_BYTES)
    path = folder / "disk"
    started = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for _ in range(256):
            file.write(piece)
        os.fdatasync(file.fileno())
    seconds = time.perf_counter() - started
    path.unlink()
    return 256 * _PIECE_BYTES / 1e6 / seconds


if __name__ == "__main__":
    main()
