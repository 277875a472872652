"""FLAC frames and Ogg packets out of bytes that are cut anywhere."""

from __future__ import annotations

import re
from collections.abc import Iterator

from services.common.errors import InvalidAudio, UnsupportedMedia

_METADATA_BYTES = 1 << 20
_FRAME_BYTES = 1 << 20
_PACKET_BYTES = 1 << 16

_FLAC_SYNC = re.compile(rb"\xff[\xf8\xf9]")
_FLAC_HEADER_BYTES = 16
_OGG_HEADER_BYTES = 27


class FlacFrames:
    """Splits a FLAC stream (RFC 9639). A frame ends where the header of the next begins.

    streaminfo: the 34 bytes of that block, once it came. damages: how often bytes were skipped.
    """

    def __init__(self) -> None:
        self.streaminfo = b""
        self.damages = 0
        self._buffer = bytearray()
        self._in_metadata = True
        self._marked = False
        self._searched = 0
        self._steady = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Give the frames that `data` completes.

        Raises UnsupportedMedia where the stream does not begin as FLAC, InvalidAudio where its
        metadata cannot be read.
        """
        self._buffer += data
        while self._in_metadata:
            if not self._read_metadata():
                return
        while (frame := self._next()) is not None:
            yield frame

    def finish(self) -> bytes:
        """Return the frame that waits for its end, or nothing."""
        rest = bytes(self._buffer) if not self._in_metadata else b""
        self._buffer.clear()
        return rest

    def _read_metadata(self) -> bool:
        """Take the marker or one metadata block; False where more bytes are needed."""
        buffer = self._buffer
        if len(buffer) < 4:
            return False
        if not self._marked:
            if buffer[:4] != b"fLaC":
                raise UnsupportedMedia(
                    "The stream is declared FLAC and does not begin as FLAC.",
                    suggestion="Send native FLAC from its first byte, or another encoding.",
                )
            self._marked = True
            del buffer[:4]
            return True
        last, kind, size = buffer[0] & 0x80, buffer[0] & 0x7F, int.from_bytes(buffer[1:4])
        if size > _METADATA_BYTES or (not self.streaminfo and (kind, size) != (0, 34)):
            raise InvalidAudio(
                "The metadata of the FLAC stream cannot be read.",
                reason="damaged, or over 1 MiB",
                suggestion="Send the stream as the encoder made it, without pictures.",
            )
        if len(buffer) < 4 + size:
            return False
        if kind == 0:
            self.streaminfo = bytes(buffer[4 : 4 + size])
        del buffer[: 4 + size]
        self._in_metadata = not last
        return True

    def _next(self) -> bytes | None:
        """The next whole frame, what lies before it skipped."""
        buffer = self._buffer
        while len(buffer) >= _FLAC_HEADER_BYTES:
            begins = self._is_header(0)
            start = self._find(1)
            if start is None:
                if len(buffer) > _FRAME_BYTES:
                    self.damages += 1
                    self._drop(len(buffer) - _FLAC_HEADER_BYTES)
                return None
            frame = bytes(buffer[:start])
            self._drop(start)
            if begins:
                return frame
            self.damages += 1
        return None

    def _drop(self, count: int) -> None:
        del self._buffer[:count]
        self._searched = 0

    def _find(self, least: int) -> int | None:
        """Where the next header begins; what was searched is not searched again."""
        end = len(self._buffer) - _FLAC_HEADER_BYTES
        for match in _FLAC_SYNC.finditer(self._buffer, max(least, self._searched)):
            if match.start() > end:
                break
            if self._is_header(match.start()):
                return match.start()
        self._searched = max(0, end)
        return None

    def _is_header(self, place: int) -> bool:
        """Whether a frame header of this stream, with the right checksum, lies there."""
        head = self._buffer[place : place + _FLAC_HEADER_BYTES]
        if not _FLAC_SYNC.match(head) or head[3] & 1 or head[2] >> 4 == 0 or head[2] & 15 == 15:
            return False
        number = 1
        if head[4] & 0x80:
            number = 8 - (head[4] ^ 0xFF).bit_length()
            if not 2 <= number <= 7:
                return False
        size = {6: 1, 7: 2}.get(head[2] >> 4, 0)
        rate = {12: 1, 13: 2, 14: 2}.get(head[2] & 15, 0)
        length = 4 + number + size + rate
        if length >= len(head) or _crc8(head[:length]) != head[length]:
            return False
        steady = bytes((head[1], head[2] & 15, head[3] & 15))
        self._steady = self._steady or steady
        return steady == self._steady


class OggPackets:
    """Splits an Ogg stream (RFC 3533) into packets.

    damages: how often a page was damaged or bytes were skipped.
    """

    def __init__(self) -> None:
        self.damages = 0
        self._buffer = bytearray()
        self._packet = bytearray()
        self._begun = False
        self._lost = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Give the packets that `data` completes.

        Raises UnsupportedMedia where the stream does not begin as Ogg.
        """
        self._buffer += data
        if not self._begun and len(self._buffer) >= 4:
            if self._buffer[:4] != b"OggS":
                raise UnsupportedMedia(
                    "The stream is declared OGG_OPUS and does not begin as Ogg.",
                    suggestion="Send an Ogg stream from its first byte, or another encoding.",
                )
            self._begun = True
        while (page := self._page()) is not None:
            yield from self._packets(page)

    def _page(self) -> bytes | None:
        """The next page whose checksum is right, what lies before it skipped."""
        buffer = self._buffer
        while len(buffer) >= _OGG_HEADER_BYTES:
            start = buffer.find(b"OggS")
            if start:
                self._skip(start if start > 0 else len(buffer) - 3)
                continue
            table = buffer[_OGG_HEADER_BYTES : _OGG_HEADER_BYTES + buffer[26]]
            size = _OGG_HEADER_BYTES + buffer[26] + sum(table)
            if len(table) < buffer[26] or len(buffer) < size:
                return None
            page = bytes(buffer[:size])
            if _ogg_crc(page[:22] + bytes(4) + page[26:]) == int.from_bytes(page[22:26], "little"):
                del buffer[:size]
                return page
            self._skip(4)
        return None

    def _skip(self, count: int) -> None:
        if not self._lost:
            self.damages += 1
        self._lost = True
        self._packet.clear()
        del self._buffer[:count]

    def _packets(self, page: bytes) -> Iterator[bytes]:
        table = page[_OGG_HEADER_BYTES : _OGG_HEADER_BYTES + page[26]]
        place = _OGG_HEADER_BYTES + len(table)
        continues = bool(page[5] & 1)
        without_begin = continues and not self._packet
        if not continues:
            self._packet.clear()
        self._lost = False
        for size in table:
            self._packet += page[place : place + size]
            place += size
            if size < 255 or len(self._packet) > _PACKET_BYTES:
                if not without_begin:
                    yield bytes(self._packet)
                without_begin = False
                self._packet.clear()


def _table(polynomial: int, bits: int) -> tuple[int, ...]:
    top, mask = 1 << (bits - 1), (1 << bits) - 1
    table = []
    for byte in range(256):
        value = byte << (bits - 8)
        for _ in range(8):
            value = (value << 1 ^ polynomial if value & top else value << 1) & mask
        table.append(value)
    return tuple(table)


_CRC8, _OGG_CRC = _table(0x07, 8), _table(0x04C11DB7, 32)


def _crc8(data: bytes | bytearray) -> int:
    value = 0
    for byte in data:
        value = _CRC8[value ^ byte]
    return value


def _ogg_crc(data: bytes) -> int:
    value = 0
    for byte in data:
        value = (value << 8 & 0xFFFFFFFF) ^ _OGG_CRC[value >> 24 ^ byte]
    return value
