"""Requests of every kind, made from the recordings in samples/."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from PIL import Image

SAMPLES = Path(__file__).parents[2] / "samples"
PHOTOGRAPH = SAMPLES / "face" / "astronaut.jpg"
SPEECH = SAMPLES / "voice" / "austen-0870.flac"
HEART = SAMPLES / "biosignal" / "rest.json"

TEXT = (
    "I absolutely love the camera of this phone, thank you so much! "
    "The battery, sadly, is dead by noon."
)


@dataclass(frozen=True)
class SampleRequest:
    """What to send where."""

    kind: str
    path: str
    body: dict[str, Any]
    source: str
    """Where it comes from, for people."""
    status: int = 200
    """HTTP status of the answer."""


def sample_requests() -> list[SampleRequest]:
    """One request of each kind: face, video, voice, text, batch, biosignal, multimodal."""
    face = {"image_base64": _base64(PHOTOGRAPH.read_bytes())}
    voice = {
        "audio_base64": _base64(SPEECH.read_bytes()),
        "options": {"return_transcript": True, "return_prosody": True},
    }
    text = {"text": TEXT, "options": {"return_aspects": True}}
    heart = orjson.loads(HEART.read_bytes())
    everything = {"face": face, "voice": voice, "text": text, "biosignal": heart}
    video = {
        "frames_base64": [_base64(frame) for frame in _pan(PHOTOGRAPH)],
        "options": {"sample_rate": 1, "frame_rate": 4.0},
    }
    reviews = ("Great product!", "Terrible experience.", "It was okay, nothing special.")
    batch = {
        "texts": [{"id": f"review_{n}", "text": review} for n, review in enumerate(reviews, 1)]
    }
    photograph, speech = _name(PHOTOGRAPH), _name(SPEECH)
    return [
        SampleRequest("face", "/v1/analyze/face", face, photograph),
        SampleRequest("video", "/v1/analyze/face/video", video, f"a pan over {photograph}"),
        SampleRequest("voice", "/v1/analyze/voice", voice, speech),
        SampleRequest("text", "/v1/analyze/text", text, f"“{TEXT}”"),
        SampleRequest("batch", "/v1/analyze/text/batch", batch, " · ".join(reviews)),
        SampleRequest("biosignal", "/v1/analyze/biosignal", heart, _name(HEART)),
        SampleRequest(
            "multimodal", "/v1/analyze/multimodal", {"modalities": everything}, "all of the above"
        ),
    ]


def _name(path: Path) -> str:
    return str(path.relative_to(SAMPLES.parent))


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _pan(photograph: Path, count: int = 8, step: int = 8) -> list[bytes]:
    """JPEG frames of a camera that moves right over a photograph, `step` pixels a frame."""
    frames = []
    with Image.open(photograph) as whole:
        width = whole.width - count * step
        for index in range(count):
            left = index * step
            buffer = io.BytesIO()
            whole.crop((left, 0, left + width, whole.height)).save(buffer, "JPEG", quality=90)
            frames.append(buffer.getvalue())
    return frames
