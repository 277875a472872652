"""Containers are known by how they begin."""

import pytest

from services.common.containers import audio_format, video_format

_REST = bytes(16)


@pytest.mark.parametrize(
    ("head", "sound", "pictures"),
    [
        (b"RIFF\x24\x08\x00\x00WAVEfmt ", "wav", ""),
        (b"RF64\xff\xff\xff\xffWAVEds64", "wav", ""),
        (b"RIFF\x24\x08\x00\x00AVI LIST", "", "avi"),
        (b"fLaC" + _REST, "flac", ""),
        (b"OggS" + _REST, "ogg", "ogg"),
        (b"FORM\x00\x00\x00\x10AIFFCOMM", "aiff", ""),
        (b"ID3\x04" + _REST, "mp3", ""),
        (b"\xff\xfb\x90\x64" + _REST, "mp3", ""),
        (b"\xff\xf1\x50\x80" + _REST, "aac", ""),
        (b"\xff\xff\xff\xff" + _REST, "", ""),
        (b"#!AMR\n" + _REST, "amr", ""),
        (b"\x00\x00\x00\x20ftypM4A ", "mov", "mov"),
        (b"\x1a\x45\xdf\xa3" + _REST, "matroska", "matroska"),
        (b"\x47" + _REST, "", "mpegts"),
        (b"#EXTM3U\n#EXTINF:5,", "", ""),
        (b"", "", ""),
    ],
)
def test_names_what_begins_so(head: bytes, sound: str, pictures: str) -> None:
    assert audio_format(head) == sound
    assert video_format(head) == pictures
