"""Which container the bytes of a sound or a video are in.

FFmpeg is always told the format and never left to guess: guessing would follow a playlist that
names files or addresses of the server.
"""

HEAD_BYTES = 16
"""What the functions below look at."""

_EITHER = {b"\x1a\x45\xdf\xa3": "matroska", b"OggS": "ogg"}
_VIDEO = {
    b"\x00\x00\x01\xba": "mpeg",
    b"\x00\x00\x01\xb3": "mpegvideo",
    b"\x30\x26\xb2\x75": "asf",
    b"FLV": "flv",
    b"GIF8": "gif",
    b"YUV4MPEG2": "yuv4mpegpipe",
    b"\x47": "mpegts",
}
_AUDIO = {
    b"fLaC": "flac",
    b"FORM": "aiff",
    b".snd": "au",
    b"caff": "caf",
    b"ID3": "mp3",
    b"#!AMR": "amr",
    b"RF64": "wav",
}
_MOV_ATOMS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")


def video_format(head: bytes) -> str:
    """FFmpeg's name of the container that begins so, "" where it is unknown.

    `head` is the first 16 bytes or more.
    """
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    return _by_start(head, _VIDEO)


def audio_format(head: bytes) -> str:
    """The same for sound; where there are pictures beside it, only the container's own name."""
    if head[:4] == b"RIFF" and head[8:12] in (b"WAVE", b""):
        return "wav"
    return _by_start(head, _AUDIO) or _mpeg_audio(head)


def _by_start(head: bytes, table: dict[bytes, str]) -> str:
    if head[4:8] in _MOV_ATOMS:
        return "mov"
    return next((name for at, name in (_EITHER | table).items() if head.startswith(at)), "")


def _mpeg_audio(head: bytes) -> str:
    """AAC in ADTS, or MPEG layers: both begin with eleven set bits (ISO/IEC 13818-7, 11172-3)."""
    if len(head) < 3 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return ""
    if head[1] & 0xF6 == 0xF0:
        return "aac"
    return "mp3" if head[2] & 0xF0 != 0xF0 else ""
