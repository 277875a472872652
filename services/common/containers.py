"""Which container a video's bytes are in.

FFmpeg is always told the format and never left to guess: guessing would follow a playlist that
names files or addresses of the server.
"""

_BY_START = {
    b"\x1a\x45\xdf\xa3": "matroska",
    b"\x00\x00\x01\xba": "mpeg",
    b"\x00\x00\x01\xb3": "mpegvideo",
    b"\x30\x26\xb2\x75": "asf",
    b"OggS": "ogg",
    b"FLV": "flv",
    b"GIF8": "gif",
    b"YUV4MPEG2": "yuv4mpegpipe",
    b"\x47": "mpegts",
}
_MOV_ATOMS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")


def video_format(head: bytes) -> str:
    """FFmpeg's name of the container that begins so, "" where it is unknown.

    `head` is the first 16 bytes or more.
    """
    if head[4:8] in _MOV_ATOMS:
        return "mov"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    return next((name for start, name in _BY_START.items() if head.startswith(start)), "")
