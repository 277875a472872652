"""Files on their way from a client to the job service, never held whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field
from typing import Any

import grpc
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.datastructures import Headers

from affectmesh.v1 import jobs_pb2 as pb
from affectmesh.v1 import jobs_pb2_grpc
from services.billing.plans import Plan
from services.common import errors
from services.common.channels import Channels, metadata
from services.gateway.endpoint import Exchange
from services.jobs import plan_limits

FORM = "multipart/form-data"
MAX_PARTS = 100
MAX_FIELD_BYTES = 64 * 1024
MAX_FIELDS_BYTES = 256 * 1024
"""Of all text fields together."""
IDLE_S = 30.0
"""Longest pause of a client in the middle of an upload."""

_FORM_OVERHEAD_BYTES = 1024 * 1024
_MESSAGE_BYTES = 120 * 1024
"""Of a file in one message: what fits below the size from which the allocator asks the system for
fresh pages each time, which costs several times the CPU."""
_MAX_HEADERS = 16
_MAX_HEADER_BYTES = 8 * 1024
_LONGEST_BOUNDARY = 200
_UPLOAD_TIMEOUT_S = 3700.0
"""The job service has a time limit of its own, a little shorter."""


@dataclass
class Upload:
    """What a form held: its text fields and, by the names of their fields, its files."""

    fields: dict[str, str] = field(default_factory=dict)
    files: dict[str, pb.Media] = field(default_factory=dict)


async def receive(
    exchange: Exchange, channels: Channels, *, files: Collection[str], plan: Plan | None = None
) -> Upload:
    """Reads a multipart form; the fields named by `files` are files, all others are text.

    Files are kept only where the whole form is well; all of them together may have as many bytes
    as the plan allows to one, and without a plan there are none.
    Raises UnsupportedMedia for another content type, InvalidRequest for a form that is broken,
    repeats a field, or has a file for a text or a text for a file, PayloadTooLarge, and what
    `MediaStore.receive` raises.
    """
    form = _Form(boundary(Headers(scope=exchange.scope).get("content-type", "")))
    reader = _Reader(channels, files)
    try:
        async for chunk in chunks(exchange, plan, _FORM_OVERHEAD_BYTES):
            for event, content in form.feed(chunk):
                await reader.take(event, content)
        if not form.complete:
            raise _broken("It ends before its last boundary.")
        return await reader.finish()
    finally:
        reader.cancel()


def chunks(exchange: Exchange, plan: Plan | None, overhead_bytes: int = 0) -> AsyncIterator[bytes]:
    """A body with a file as it comes; one that is too large is told the plan's limit, whatever it
    may have on top. Raises as `Exchange.chunks` does."""
    if plan is None:
        return exchange.chunks(overhead_bytes, IDLE_S)
    over = plan_limits.too_large(plan)
    return exchange.chunks(plan.max_upload_bytes + overhead_bytes, IDLE_S, over)


async def store(
    channels: Channels,
    file_name: str,
    content_type: str,
    chunks: AsyncIterator[bytes],
    *,
    sha256: str = "",
) -> pb.Media:
    """Keeps the bytes of one file. Raises what `MediaStore.receive` raises."""
    outgoing = _Outgoing(channels, file_name, content_type, sha256)
    try:
        async for chunk in chunks:
            await outgoing.write(chunk)
        return await outgoing.finish()
    finally:
        outgoing.cancel()


def boundary(content_type: str) -> bytes:
    """Of the content type of a form. Raises UnsupportedMedia, InvalidRequest."""
    kind, options = parse_options_header(content_type)
    if kind.decode("latin-1") != FORM:
        raise errors.UnsupportedMedia(
            f"The body is {content_type[:100] or 'of no declared type'}, not {FORM}.",
            suggestion=f"Send a form with Content-Type: {FORM}.",
        )
    found = options.get(b"boundary", b"")
    if not 1 <= len(found) <= _LONGEST_BOUNDARY:
        raise _broken("Its Content-Type names no boundary.")
    return found


Event = tuple[str, bytes | memoryview]


class _Form:
    """The parser of one form: from bytes to events."""

    def __init__(self, boundary: bytes) -> None:
        self._events: list[Event] = []
        self._name = bytearray()
        self._value = bytearray()
        self._disposition = b""
        self._content_type = b""
        self.complete = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_begin": self._begin_header,
                "on_header_field": self._add_name,
                "on_header_value": self._add_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._add_data,
                "on_part_end": self._end,
                "on_end": self._finish,
            },
            max_header_count=_MAX_HEADERS,
            max_header_size=_MAX_HEADER_BYTES,
        )

    def feed(self, chunk: bytes) -> list[Event]:
        """The events up to the end of a chunk. Raises InvalidRequest."""
        self._events = []
        try:
            self._parser.write(chunk)
        except MultipartParseError as error:
            raise _broken(str(error)[:200]) from None
        return self._events

    def _begin(self) -> None:
        self._disposition = self._content_type = b""

    def _begin_header(self) -> None:
        self._name.clear()
        self._value.clear()

    def _add_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        match bytes(self._name).lower():
            case b"content-disposition":
                self._disposition = bytes(self._value)
            case b"content-type":
                self._content_type = bytes(self._value)

    def _end_headers(self) -> None:
        self._events.append(("disposition", self._disposition))
        self._events.append(("type", self._content_type))

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        self._events.append(("data", memoryview(data)[start:end]))

    def _end(self) -> None:
        self._events.append(("end", b""))

    def _finish(self) -> None:
        self.complete = True


class _Reader:
    """Takes the events of a form one after the other."""

    def __init__(self, channels: Channels, files: Collection[str]) -> None:
        self._channels = channels
        self._names = files
        self._fields: dict[str, bytearray] = {}
        self._uploads: dict[str, _Outgoing] = {}
        self._name = ""
        self._file_name: str | None = None
        self._parts = 0
        self._bytes = 0

    async def take(self, event: str, content: bytes | memoryview) -> None:
        """One event. Raises InvalidRequest, PayloadTooLarge, and what the job service raises."""
        match event:
            case "data" if self._file_name is not None:
                await self._uploads[self._name].write(content)
            case "data":
                self._add(content)
            case "disposition":
                self._open(bytes(content))
            case "type":
                self._open_file(bytes(content))

    async def finish(self) -> Upload:
        """What the form held, its files kept."""
        found = Upload({name: _text(name, value) for name, value in self._fields.items()})
        for name, upload in self._uploads.items():
            found.files[name] = await upload.finish()
        return found

    def cancel(self) -> None:
        """Ends what is not finished."""
        for upload in self._uploads.values():
            upload.cancel()

    def _open(self, disposition: bytes) -> None:
        kind, options = parse_options_header(disposition)
        name = _header_text(options.get(b"name", b""))
        file_name = options.get(b"filename")
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise _broken(f"It has more than {MAX_PARTS} parts.")
        if kind != b"form-data" or not 1 <= len(name) <= 100:
            raise _broken("A part has no name, or one of more than 100 characters.")
        if name in self._fields or name in self._uploads:
            raise errors.InvalidRequest(
                f"The field {name} is given twice.", field=name, suggestion="Send it once."
            )
        if name in self._names and file_name is None:
            raise errors.InvalidRequest(
                f"The field {name} is not a file.",
                field=name,
                suggestion=f'Send {name} as a file, with filename="…" in its part.',
            )
        if name not in self._names and file_name is not None:
            raise errors.InvalidRequest(
                f"The field {name} is a file.",
                field=name,
                suggestion=f"Send files as {', '.join(sorted(self._names))}, the rest as text.",
            )
        self._name = name
        self._file_name = None if file_name is None else _file_name(file_name)

    def _open_file(self, content_type: bytes) -> None:
        if self._file_name is None:
            self._fields[self._name] = bytearray()
            return
        self._uploads[self._name] = _Outgoing(
            self._channels, self._file_name, _header_text(content_type)
        )

    def _add(self, content: bytes | memoryview) -> None:
        self._fields[self._name] += content
        self._bytes += len(content)
        if len(self._fields[self._name]) > MAX_FIELD_BYTES or self._bytes > MAX_FIELDS_BYTES:
            raise errors.PayloadTooLarge(
                f"The field {self._name} is too long.",
                field=self._name,
                limit=f"{MAX_FIELD_BYTES // 1024} KiB",
                suggestion="Send large content as a file.",
            )


class _Outgoing:
    """One file on its way to the job service."""

    def __init__(
        self, channels: Channels, file_name: str, content_type: str, sha256: str = ""
    ) -> None:
        self._description = pb.MediaDescription(
            file_name=file_name[:1000], content_type=content_type[:200], sha256=sha256[:100]
        )
        stub = channels.stub("jobs", jobs_pb2_grpc.JobServiceStub)
        self._call: Any = stub.UploadMedia(timeout=_UPLOAD_TIMEOUT_S, metadata=metadata())
        self._begun = False
        self._rest = bytearray()
        self._sent = 0

    async def write(self, chunk: bytes | memoryview) -> None:
        """The next bytes. Raises what the job service raises."""
        start = _MESSAGE_BYTES - len(self._rest) if self._rest else 0
        if start:
            self._rest += chunk[:start]
            if len(self._rest) < _MESSAGE_BYTES:
                return
            await self._send(bytes(self._rest))
            self._rest.clear()
        while len(chunk) - start >= _MESSAGE_BYTES:
            await self._send(bytes(chunk[start : start + _MESSAGE_BYTES]))
            start += _MESSAGE_BYTES
        self._rest += chunk[start:]

    async def finish(self) -> pb.Media:
        """The file as it is kept. Raises what the job service raises."""
        await self._send(bytes(self._rest))
        try:
            end = pb.MediaEnd(size_bytes=self._sent)
            await self._call.write(pb.UploadMediaRequest(end=end))
            await self._call.done_writing()
            kept: pb.Media = await self._call
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            raise await self._problem() from None
        return kept

    def cancel(self) -> None:
        """Ends the upload where it is not finished; nothing of it is kept."""
        self._call.cancel()

    async def _send(self, chunk: bytes) -> None:
        try:
            if not self._begun:
                self._begun = True
                await self._call.write(pb.UploadMediaRequest(description=self._description))
            if chunk:
                await self._call.write(pb.UploadMediaRequest(chunk=chunk))
                self._sent += len(chunk)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            raise await self._problem() from None

    async def _problem(self) -> errors.AffectMeshError:
        try:
            await self._call
        except grpc.aio.AioRpcError as error:
            return errors.from_rpc(error, "jobs")
        return errors.Internal()


def _text(name: str, value: bytearray) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise errors.InvalidRequest(
            f"The field {name} is not UTF-8.", field=name, suggestion="Send text in UTF-8."
        ) from None


def _header_text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _file_name(value: bytes) -> str:
    """A name as browsers escape it (WHATWG HTML, multipart/form-data encoding algorithm)."""
    return _header_text(value).replace("%22", '"').replace("%0D", "").replace("%0A", "")


def _broken(reason: str) -> errors.InvalidRequest:
    return errors.InvalidRequest(
        "The form cannot be read.",
        reason=reason,
        suggestion=f"Send {FORM} as RFC 7578 has it, whole.",
    )
