"""What each modality's service is asked, and how its answer is read as an opinion."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from affectmesh.v1 import (
    biosignal_pb2,
    biosignal_pb2_grpc,
    face_pb2,
    face_pb2_grpc,
    fusion_pb2,
    text_pb2,
    text_pb2_grpc,
    types_pb2,
    voice_pb2,
    voice_pb2_grpc,
)
from services.common import errors
from services.common.channels import Channels
from services.fusion.analyze import LOW_QUALITY, Opinion

DIMENSIONS = ("valence", "arousal", "dominance")
"""Every dimension, in the order of the contract."""
_HARDLY_READ = frozenset({"LANGUAGE_NOT_SUPPORTED", "UNREADABLE"})
"""Warnings of a text that its model could hardly read; it then counts half."""


@dataclass(frozen=True)
class Answer:
    """What a modality answered: for the client, for the fusion, and where it comes from."""

    result: fusion_pb2.ModalityResult
    opinion: Opinion
    provenance: Sequence[types_pb2.Provenance]
    warnings: Sequence[types_pb2.Warning] = ()


@dataclass(frozen=True)
class Modality:
    """One service: its unary method, and the reading of its response.

    `prepare` leaves out of a request what the fused answer does not carry, unless the client asks.
    """

    method: Callable[[Channels], Any]
    prepare: Callable[[Any], None]
    read: Callable[[Any], Answer]


def prepare_face(request: face_pb2.AnalyzeFaceRequest) -> None:
    """No action units, and of the faces only the largest and whether there are more."""
    _set_default(request.options, "return_action_units", False)
    _set_default(request.options, "max_faces", 2)


def prepare_voice(request: voice_pb2.AnalyzeVoiceRequest) -> None:
    """No speech recognition, unless segments that need it are asked for, and no prosody."""
    if not request.options.segment_by:
        _set_default(request.options, "return_transcript", False)
    _set_default(request.options, "return_prosody", False)


def prepare_text(request: text_pb2.AnalyzeTextRequest) -> None:
    """No aspects and no entities."""
    _set_default(request.options, "return_aspects", False)
    _set_default(request.options, "return_entities", False)


def prepare_biosignal(request: biosignal_pb2.AnalyzeBiosignalRequest) -> None:
    """No heart-rate variability."""
    _set_default(request.options, "return_hrv", False)


def read_face(response: face_pb2.AnalyzeFaceResponse) -> Answer:
    """The largest face. Raises NoFaceDetected where there is none."""
    if not response.faces:
        raise errors.NoFaceDetected(
            "No face was found in the image.",
            suggestion="Send an image with a clearly visible face.",
        )
    face = response.faces[0]
    warnings = []
    if len(response.faces) > 1:
        warnings.append(
            types_pb2.Warning(
                code="SEVERAL_FACES",
                message="The image shows several faces; the largest was taken.",
            )
        )
    quality = face.quality.score if face.HasField("quality") else 1.0
    return _emotional(
        "face", face, response, [*response.warnings, *face.warnings], quality, warnings
    )


def read_voice(response: voice_pb2.AnalyzeVoiceResponse) -> Answer:
    """The recording as a whole; its first channel where channels were split."""
    return _emotional("voice", response, response, response.warnings)


def read_text(response: text_pb2.AnalyzeTextResponse) -> Answer:
    """The text as a whole."""
    quality = text_quality(response.warnings)
    return _emotional("text", response, response, response.warnings, quality)


def activation(arousal: float, confidence: float) -> Opinion:
    """Activation of the body in [0, 1] as arousal in [-1, 1]."""
    return Opinion(
        modality="biosignal",
        emotions={},
        arousal=2 * arousal - 1,
        dimensions_derived=True,
        quality=confidence,
        confidence=confidence,
    )


def read_biosignal(response: biosignal_pb2.AnalyzeBiosignalResponse) -> Answer:
    """Activation of the body as arousal. No emotions, no valence."""
    states = response.derived_states
    return Answer(
        result=fusion_pb2.ModalityResult(derived_states=states, warnings=response.warnings),
        opinion=(
            activation(states.arousal, states.confidence)
            if states.HasField("arousal")
            else Opinion("biosignal", {}, dimensions_derived=True)
        ),
        provenance=response.provenance,
    )


MODALITIES = {
    "face": Modality(
        lambda channels: channels.stub("face", face_pb2_grpc.FaceServiceStub).AnalyzeFace,
        prepare_face,
        read_face,
    ),
    "voice": Modality(
        lambda channels: channels.stub("voice", voice_pb2_grpc.VoiceServiceStub).AnalyzeVoice,
        prepare_voice,
        read_voice,
    ),
    "text": Modality(
        lambda channels: channels.stub("text", text_pb2_grpc.TextServiceStub).AnalyzeText,
        prepare_text,
        read_text,
    ),
    "biosignal": Modality(
        lambda channels: (
            channels.stub("biosignal", biosignal_pb2_grpc.BiosignalServiceStub).AnalyzeBiosignal
        ),
        prepare_biosignal,
        read_biosignal,
    ),
}
"""Every modality, in the order of the contract."""


def _set_default(options: Any, field: str, value: Any) -> None:
    if not options.HasField(field):
        setattr(options, field, value)


def _emotional(
    modality: str,
    said: Any,
    response: Any,
    result_warnings: Iterable[types_pb2.Warning],
    quality: float = 1.0,
    warnings: Sequence[types_pb2.Warning] = (),
) -> Answer:
    """An answer from a message with emotions and dimensions."""
    return Answer(
        result=fusion_pb2.ModalityResult(
            emotions=said.emotions if said.HasField("emotions") else None,
            dimensions=said.dimensions if said.HasField("dimensions") else None,
            warnings=result_warnings,
        ),
        opinion=opinion_of(modality, said, quality),
        provenance=response.provenance,
        warnings=warnings,
    )


def opinion_of(modality: str, said: Any, quality: float = 1.0) -> Opinion:
    """What a message with emotions and dimensions says."""
    emotions, dimensions = said.emotions, said.dimensions
    every = emotions.all or ([emotions.primary] if said.HasField("emotions") else [])
    given = {name: getattr(dimensions, name) for name in DIMENSIONS if dimensions.HasField(name)}
    return Opinion(
        modality=modality,
        emotions={one.label: one.confidence for one in every},
        derived=frozenset(one.label for one in every if one.derived),
        **given,
        dimensions_derived=dimensions.derived,
        quality=quality,
    )


def text_quality(warnings: Iterable[types_pb2.Warning]) -> float:
    """In [0, 1]: half of what counts fully where the model could hardly read the text."""
    hardly_read = any(warning.code in _HARDLY_READ for warning in warnings)
    return LOW_QUALITY / 2 if hardly_read else 1.0
