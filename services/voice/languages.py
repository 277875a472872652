"""Languages: BCP 47 tags as clients give them, and the codes that Whisper knows."""

from __future__ import annotations

import re

from services.common.errors import InvalidRequest

_TAG = re.compile(
    r"(?P<language>[a-z]{2,3})(-[a-z]{3}){0,3}(-(?P<script>[a-z]{4}))?"
    r"(-(?P<region>[a-z]{2}|[0-9]{3}))?(-([a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*"
    r"(-[a-wyz0-9](-[a-z0-9]{2,8})+)*(-x(-[a-z0-9]{1,8})+)?",
    re.IGNORECASE,
)

_CODES = (
    "af am ar as az ba be bg bn bo br bs ca cs cy da de el en es et eu fa fi fo fr gl gu ha haw "
    "he hi hr ht hu hy id is it ja jw ka kk km kn ko la lb ln lo lt lv mg mi mk ml mn mr ms mt "
    "my ne nl nn no oc pa pl ps pt ro ru sa sd si sk sl sn so sq sr su sv sw ta te tg th tk tl "
    "tr tt uk ur uz vi yi yo zh"
)
RECOGNISED = frozenset(_CODES.split())
"""Codes of the languages of Whisper base."""

_WHISPER = {"jv": "jw", "fil": "tl", "cmn": "zh", "nb": "no", "iw": "he", "in": "id", "ji": "yi"}


def normalise(tag: str, field: str = "options.language") -> str:
    """Return the tag in the letter case of RFC 5646, such as "en-US"; "" stays "".

    Raises InvalidRequest, naming `field`, where it is not the form of a BCP 47 tag.
    """
    if not tag:
        return ""
    match = _TAG.fullmatch(tag)
    if not match:
        raise InvalidRequest(
            f'"{tag[:40]}" is not a language tag.',
            field=field,
            suggestion='Send a BCP 47 tag such as "en-US" or "de", or leave the language out.',
        )
    parts = tag.lower().split("-")
    for place, part in enumerate(parts[1:], 1):
        if len(parts[place - 1]) == 1:
            break
        if len(part) == 2:
            parts[place] = part.upper()
        elif len(part) == 4 and part.isalpha():
            parts[place] = part.title()
    return "-".join(parts)


def whisper_code(tag: str, field: str = "options.language") -> str | None:
    """Return Whisper's code of a normalised tag, None of "".

    Raises InvalidRequest, naming `field`, for a language it does not recognise.
    """
    if not tag:
        return None
    language = tag.split("-")[0]
    code = _WHISPER.get(language, language)
    if code not in RECOGNISED:
        raise InvalidRequest(
            f'Speech in "{tag}" cannot be recognised.',
            field=field,
            suggestion="Set return_transcript to false, or leave the language out to detect it.",
        )
    return code


def tag_of(code: str, hint: str) -> str:
    """Return the tag of a Whisper code: the client's own, with its region, where they agree."""
    if hint and _WHISPER.get(hint.split("-")[0], hint.split("-")[0]) == code:
        return hint
    return "jv" if code == "jw" else code
