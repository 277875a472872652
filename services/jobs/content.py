"""What a file is, by its first bytes, whatever its name and its sender say."""

from dataclasses import dataclass

from services.common import errors
from services.common.containers import video_format

HEAD_BYTES = 512
"""Bytes from the beginning that are enough to tell."""


@dataclass(frozen=True)
class Content:
    """A kind of file.

    `content_type` is its MIME type, that of its video where it may hold either; `sound_type` the
    one of a file of this kind without video. `format` is FFmpeg's name of it, "" for images.
    `aliases` are the other types under which it may be declared.
    """

    content_type: str
    format: str = ""
    aliases: frozenset[str] = frozenset()
    sound_type: str = ""


def _content(content_type: str, form: str, aliases: str, sound_type: str = "") -> Content:
    return Content(content_type, form, frozenset(aliases.split()), sound_type)


_JPEG = _content("image/jpeg", "", "image/jpg image/pjpeg")
_PNG = _content("image/png", "", "image/x-png")
_GIF = _content("image/gif", "", "")
_WEBP = _content("image/webp", "", "")
_BMP = _content("image/bmp", "", "image/x-bmp image/x-ms-bmp")
_TIFF = _content("image/tiff", "", "image/tif image/x-tiff")

_WAV = _content("audio/wav", "wav", "audio/wave audio/x-wav audio/vnd.wave")
_W64 = _content("audio/wav", "w64", "audio/x-w64 audio/x-wav")
_FLAC = _content("audio/flac", "flac", "audio/x-flac")
_MP3 = _content("audio/mpeg", "mp3", "audio/mp3 audio/x-mp3 audio/mpeg3 audio/x-mpeg")
_AAC = _content("audio/aac", "aac", "audio/x-aac audio/aacp audio/x-hx-aac-adts")
_AMR = _content("audio/amr", "amr", "audio/amr-wb audio/3gpp")
_AU = _content("audio/basic", "au", "audio/au audio/x-au")
_AIFF = _content("audio/aiff", "aiff", "audio/x-aiff")
_CAF = _content("audio/x-caf", "caf", "audio/caf")

_MP4_ALIASES = (
    "audio/mp4 audio/x-m4a audio/m4a video/x-m4v video/quicktime video/3gpp audio/3gpp video/3gpp2 "
    "application/mp4"
)
_MP4 = _content("video/mp4", "mov", _MP4_ALIASES, "audio/mp4")
_MOV = _content("video/quicktime", "mov", "video/mp4 " + _MP4_ALIASES, "audio/mp4")
_WEBM = _content(
    "video/webm", "matroska", "audio/webm video/x-matroska audio/x-matroska", "audio/webm"
)
_MKV = _content(
    "video/x-matroska",
    "matroska",
    "video/matroska video/webm audio/webm audio/x-matroska",
    "audio/x-matroska",
)
_OGG = _content(
    "video/ogg", "ogg", "audio/ogg application/ogg audio/opus audio/vorbis", "audio/ogg"
)
_ASF = _content(
    "video/x-ms-asf",
    "asf",
    "video/x-ms-wmv audio/x-ms-wma application/vnd.ms-asf",
    "audio/x-ms-wma",
)

_CONTAINERS = {
    "mpeg": _content("video/mpeg", "mpeg", "video/mp2p", "audio/mpeg"),
    "mpegvideo": _content("video/mpeg", "mpegvideo", "video/mpv"),
    "mpegts": _content("video/mp2t", "mpegts", "video/mpeg video/x-mpegts", "audio/mp2t"),
    "asf": _ASF,
    "ogg": _OGG,
    "flv": _content("video/x-flv", "flv", "video/flv", "audio/x-flv"),
    "avi": _content("video/x-msvideo", "avi", "video/avi video/msvideo", "audio/x-msvideo"),
}
"""By FFmpeg's name; matroska and mov are told apart further."""

_BY_START = {
    b"\xff\xd8\xff": _JPEG,
    b"\x89PNG\r\n\x1a\n": _PNG,
    b"GIF87a": _GIF,
    b"GIF89a": _GIF,
    b"II*\0": _TIFF,
    b"MM\0*": _TIFF,
    b"BM": _BMP,
    b"fLaC": _FLAC,
    b"ID3": _MP3,
    b"#!AMR": _AMR,
    b".snd": _AU,
    b"caff": _CAF,
    b"riff\x2e\x91\xcf\x11": _W64,
}
_BY_FORM = {
    (b"RIFF", b"WAVE"): _WAV,
    (b"RF64", b"WAVE"): _WAV,
    (b"RIFF", b"WEBP"): _WEBP,
    (b"FORM", b"AIFF"): _AIFF,
    (b"FORM", b"AIFC"): _AIFF,
}
_ANYTHING = frozenset({"", "application/octet-stream", "binary/octet-stream"})
"""Declared types that say nothing."""

_TS_PACKET = 188


def sniff(head: bytes) -> Content | None:
    """The kind of a file that begins so, None where it is not read here.

    `head` is the first HEAD_BYTES, or the whole file where it is shorter.
    """
    form = _BY_FORM.get((head[:4], head[8:12]))
    if form is not None:
        return form
    for start, content in _BY_START.items():
        if head.startswith(start):
            return content
    if head[:1] == b"\xff" and len(head) > 1:
        return _frame(head[1])
    container = video_format(head)
    if container == "mov":
        return _MOV if head[4:8] != b"ftyp" or head[8:12] == b"qt  " else _MP4
    if container == "matroska":
        return _WEBM if b"webm" in head[:64] else _MKV
    if container == "mpegts" and head[_TS_PACKET : _TS_PACKET + 1] not in (b"", b"\x47"):
        return None
    return _CONTAINERS.get(container)


def identify(head: bytes, declared: str) -> Content:
    """The kind of a file that begins so. Raises UnsupportedMedia for a kind that is not read
    here, and where the declared MIME type is that of another."""
    found = sniff(head)
    if found is None:
        raise errors.UnsupportedMedia(
            "The file is no image, audio or video of a kind that is read here.",
            suggestion="Send JPEG, PNG, WAV, FLAC, MP3, Ogg, MP4, MOV, WebM or AVI, say.",
        )
    asked = declared.partition(";")[0].strip().lower()
    if asked not in _ANYTHING and asked != found.content_type and asked not in found.aliases:
        raise errors.UnsupportedMedia(
            f"The file was declared as {asked[:100]} and is {found.content_type}.",
            declared=asked[:100],
            found=found.content_type,
            suggestion="Declare what it is, or application/octet-stream.",
        )
    return found


def _frame(second: int) -> Content | None:
    """By the second byte of an MPEG audio frame: MP3 (layers 1 to 3), or AAC in ADTS."""
    if second & 0xF6 == 0xF0:
        return _AAC
    if second & 0xE0 == 0xE0 and second & 0x06 and second & 0x18 != 0x08:
        return _MP3
    return None
