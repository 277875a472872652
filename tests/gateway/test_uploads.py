"""Multipart forms, streamed into the media store."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from services.billing.plans import PLANS
from services.common import caller
from services.gateway import uploads
from services.gateway.dialects.wia import Wia
from services.gateway.endpoint import Answer, Endpoint, Exchange
from tests.gateway.web import raw, web
from tests.jobs import files
from tests.jobs.media_service import ALICE, MediaService, media_service, rows, until

MIB = 1024 * 1024
LIMIT = 8 * MIB
PLAN = replace(PLANS["enterprise"], max_upload_bytes=LIMIT)


@dataclass
class Gateway:
    """A gateway with one route that takes a form with the files `video` and `image`."""

    address: str
    service: MediaService

    async def post(self, **request: Any) -> httpx.Response:
        """Sends a form."""
        async with httpx.AsyncClient() as client:
            return await client.post(self.address + "/form", timeout=60, **request)

    async def form(
        self, body: bytes, content_type: str = "multipart/form-data; boundary=B"
    ) -> tuple[int, Any]:
        """Sends a body as it is; gives status and error or answer."""
        head = (
            "POST /form HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        status, answer = await raw(self.address, head.encode() + body, end=False)
        return status, orjson.loads(answer)


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with media_service(tmp_path) as service, _gateway(service) as gateway:
        yield gateway


@asynccontextmanager
async def _gateway(service: MediaService) -> AsyncIterator[Gateway]:
    async def handle(exchange: Exchange) -> Answer:
        caller.current.set(ALICE)
        found = await uploads.receive(
            exchange, service.channels, files=("video", "image"), plan=PLAN
        )
        kept = {name: [f.media_id, f.file_name, f.sha256] for name, f in found.files.items()}
        return Answer({"fields": found.fields, "files": kept})

    endpoint = Endpoint("/form", Wia(), handle)
    async with web(Starlette(routes=[Route("/form", endpoint, methods=["POST"])])) as address:
        yield Gateway(address, service)


def part(name: str, content: bytes = b"", file_name: str | None = None, more: str = "") -> bytes:
    """A part of a form with the boundary B."""
    file = "" if file_name is None else f'; filename="{file_name}"'
    head = f'--B\r\nContent-Disposition: form-data; name="{name}"{file}\r\n{more}\r\n'
    return head.encode() + content + b"\r\n"


END = b"--B--\r\n"


async def test_files_are_kept_and_fields_are_read(gateway: Gateway) -> None:
    film = files.padded(files.film(), 3 * MIB + 1)[:-9] + b"\r\n--B--\r\n"
    answer = await gateway.post(
        files={"video": ("talk.mp4", film, "video/mp4"), "image": ("p.png", files.picture())},
        data={"title": "Grüße", "empty": ""},
    )
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["fields"] == {"title": "Grüße", "empty": ""}
    media_id, name, sha256 = found["files"]["video"]
    assert name == "talk.mp4"
    assert sha256 == hashlib.sha256(film).hexdigest()
    assert (await gateway.service.download(media_id))[1] == film
    assert len(gateway.service.files()) == 2


async def test_a_form_that_comes_byte_by_byte_is_the_same_form(gateway: Gateway) -> None:
    body = part("title", b"x") + part("video", files.wav(0.1), "a.wav") + END

    async def bytewise() -> AsyncIterator[bytes]:
        for byte in body:
            yield bytes([byte])

    answer = await gateway.post(
        content=bytewise(), headers={"content-type": "multipart/form-data; boundary=B"}
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["files"]["video"][2] == hashlib.sha256(files.wav(0.1)).hexdigest()


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\\\Users\\\\me\\\\talk.mp4", "talk.mp4"),
        ("/", "file"),
        ("..", "file"),
        ("", "file"),
        (".htaccess", "htaccess"),
        ("a\x01b\x7f.wav", "ab.wav"),
        ("a\u202egpj.wav", "agpj.wav"),
        ("x" * 300 + ".wav", "x" * 251 + ".wav"),
        ("ü" * 200 + ".wav", "ü" * 125 + ".wav"),
        ('<b>|"?*.wav', "_b__" + "____.wav"[1:]),
    ],
)
async def test_file_names_are_cut_and_cleaned(gateway: Gateway, sent: str, kept: str) -> None:
    quoted = sent.replace('"', '\\"')
    status, answer = await gateway.form(part("video", files.wav(0.1), quoted) + END)
    assert status == 200, answer
    assert answer["files"]["video"][1] == kept


def _wav() -> bytes:
    return part("video", files.wav(0.1), "a.wav")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (_wav(), "cannot be read"),
        (_wav()[:-30], "cannot be read"),
        (b"", "cannot be read"),
        (b"no form at all", "cannot be read"),
        (END, None),
        (_wav() + _wav() + END, "given twice"),
        (part("title", b"a") + part("title", b"b") + END, "given twice"),
        (part("video", b"text") + END, "not a file"),
        (part("title", b"text", "a.txt") + END, "is a file"),
        (_wav() + part("title", b"text", "a.txt") + END, "is a file"),
        (part("title", b"\xff\xfe") + END, "not UTF-8"),
        (part("", b"x") + END, "cannot be read"),
        (part("n" * 101, b"x") + END, "cannot be read"),
        (b"--B\r\n\r\nno head\r\n" + END, "cannot be read"),
        (b"".join(part(f"f{i}", b"x") for i in range(5000)) + END, "cannot be read"),
        (part("title", b"x", None, "X-Long: " + "y" * 100_000 + "\r\n") + END, "cannot be read"),
        (part("title", b"x", None, "X: y\r\n" * 1000) + END, "cannot be read"),
        (part("video", b"", "a.wav") + END, "is empty"),
    ],
    ids=str,
)
async def test_a_form_that_is_not_well_is_refused_and_leaves_nothing(
    gateway: Gateway, body: bytes, said: str | None
) -> None:
    status, answer = await gateway.form(body)
    if said is None:
        assert (status, answer) == (200, {"fields": {}, "files": {}})
    else:
        assert status == 400, answer
        assert said in answer["error"]["message"]
    await _settled(gateway)


async def _settled(gateway: Gateway) -> None:
    """Waits until nothing is kept; the job service learns of a broken upload a moment later."""

    async def is_empty() -> bool:
        return not gateway.service.files() and not await rows(gateway.service)

    await until(is_empty)


async def test_text_that_is_too_long_is_refused(gateway: Gateway) -> None:
    long = b"x" * (uploads.MAX_FIELD_BYTES + 1)
    status, answer = await gateway.form(part("title", long) + END)
    assert (status, answer["error"]["code"]) == (413, "PAYLOAD_TOO_LARGE")
    many = b"".join(part(f"f{i}", long[:-2]) for i in range(5))
    assert (await gateway.form(many + END))[0] == 413


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("multipart/form-data", 400),
        ("multipart/form-data; boundary=", 400),
        ("multipart/form-data; boundary=" + "b" * 201, 400),
        ("multipart/mixed; boundary=B", 415),
        ("application/json", 415),
        ("", 415),
    ],
)
async def test_another_content_type_is_refused(
    gateway: Gateway, content_type: str, status: int
) -> None:
    assert (await gateway.form(_wav() + END, content_type))[0] == status


async def test_a_body_over_the_limit_is_refused_unread(gateway: Gateway) -> None:
    head = (
        b"POST /form HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=B\r\n"
        b"Content-Length: 99999999999\r\n\r\n"
    )
    status, answer = await raw(gateway.address, head, end=False)
    assert status == 413
    assert b"8 MiB of the plan" in answer


async def test_a_body_of_unknown_length_is_cut_off(gateway: Gateway) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield part("video", files.film(), "f.mp4")[:-2]
        for _ in range(LIMIT // MIB * 4):
            yield os.urandom(MIB)

    answer = await gateway.post(
        content=endless(), headers={"content-type": "multipart/form-data; boundary=B"}
    )
    assert answer.status_code == 413
    await _settled(gateway)


async def test_what_the_job_service_refuses_is_told(gateway: Gateway) -> None:
    lie = part("video", files.wav(), "a.mp4", "Content-Type: video/mp4\r\n") + END
    status, answer = await gateway.form(lie)
    assert (status, answer["error"]["code"]) == (415, "UNSUPPORTED_MEDIA")
    assert answer["error"]["details"]["found"] == "audio/wav"


async def test_a_client_that_goes_away_leaves_nothing(gateway: Gateway) -> None:
    film = files.padded(files.film(), 4 * MIB)
    body = part("video", film, "f.mp4")
    host, port = gateway.address.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"POST /form HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=B\r\n"
        b"Content-Length: %d\r\n\r\n" % (len(body) * 2)
    )
    writer.write(body)
    await writer.drain()

    async def is_begun() -> bool:
        return bool(await rows(gateway.service))

    await until(is_begun)
    writer.transport.abort()
    await _settled(gateway)


async def test_a_client_that_stops_sending_is_told(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "IDLE_S", 0.2)
    body = part("video", files.film(), "f.mp4")
    head = (
        "POST /form HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=B\r\n"
        f"Content-Length: {len(body) * 2}\r\n\r\n"
    )
    status, answer = await raw(gateway.address, head.encode() + body, end=False)
    assert (status, orjson.loads(answer)["error"]["code"]) == (504, "DEADLINE_EXCEEDED")
    await _settled(gateway)
