"""What a client may ask of a stream, checked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.common import errors
from services.gateway.streaming.rates import Rate

_LONGEST_CONSENT = 128

StreamId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{0,64}$")]
Encoding = Literal["LINEAR16", "MULAW", "ALAW", "FLAC", "OGG_OPUS"]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Facial(_Strict):
    """How frames will come, and what is asked of them."""

    frame_rate: float = Field(30, gt=0, le=60)
    """Most frames a second; what comes faster is dropped."""
    resolution: str = Field("", max_length=32)
    """For the record; every image says its own size."""
    encoding: Literal["jpeg"] = "jpeg"
    return_action_units: bool = False


class Voice(_Strict):
    """How audio will come, and what is asked of it."""

    sample_rate: int = Field(16_000, ge=8_000, le=48_000)
    encoding: Encoding = "LINEAR16"
    language: str = Field("", max_length=35)
    return_transcript: bool = False


class Output(_Strict):
    """What is sent back, and when."""

    rate: Rate = "per_frame"
    threshold: float = Field(0.5, ge=0, le=1)
    include_dimensions: bool = False
    include_raw_scores: bool = False


class WiaConfig(_Strict):
    """The first message of the WIA streaming protocol."""

    stream_id: StreamId = ""
    modalities: list[Literal["facial", "voice"]] = Field(min_length=1, max_length=2)
    facial: Facial = Facial()
    voice: Voice = Voice()
    output: Output = Output()
    consent_token: str = Field("", max_length=8192)


class VoiceConfig(_Strict):
    """The first message of live audio (WIA section 5.4.2)."""

    stream_id: StreamId = ""
    sample_rate: int | None = Field(None, ge=8_000, le=48_000)
    """May be left out where the audio tells it itself."""
    encoding: Encoding
    language: str = Field("", max_length=35)
    return_transcript: bool | None = None
    """Absent: finals carry their text; true: partials too; false: no speech is recognised."""
    include_dimensions: bool = False
    include_raw_scores: bool = False
    consent_token: str = Field("", max_length=8192)


C = TypeVar("C", bound=_Strict)


def read(model: type[C], message: Mapping[str, Any]) -> C:
    """A configuration from its JSON. Raises InvalidRequest naming the first field at fault."""
    try:
        return model.model_validate(message)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        field = ".".join(map(str, problem["loc"]))
        raise errors.InvalidRequest(
            f"{field} is not valid: {problem['msg']}.",
            field=field,
            suggestion="Send a config as the streaming documentation shows it.",
        ) from None


def consent_reference(token: str) -> str:
    """What the ledger keeps of a consent token: itself, or its digest where it is long."""
    if len(token) <= _LONGEST_CONSENT and token.isprintable():
        return token
    return "sha256:" + hashlib.sha256(token.encode()).hexdigest()
