"""The forms in which the public APIs give a result.

A renderer is a pure function from a job and the message that its analysis gave to the files of one
dialect; the message is a RecordingAnalysis, AnalyzeVoiceResponse or AnalyzeFaceVideoResponse,
by the job's kind.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from google.protobuf.message import Message

from affectmesh.v1 import jobs_pb2 as pb
from services.jobs.representations import affectiva, deepaffects, emovision, phonexia, wia
from services.jobs.representations.file import File

__all__ = ["RENDERERS", "SUMMARIES", "File", "Renderer"]

Renderer = Callable[[pb.Job, Message], Iterable[File]]

RENDERERS: Mapping["pb.Dialect.ValueType", Renderer] = {
    pb.DIALECT_WIA: wia.render,
    pb.DIALECT_EMOVISION: emovision.render,
    pb.DIALECT_DEEPAFFECTS: deepaffects.render,
    pb.DIALECT_AFFECTIVA: affectiva.render,
    pb.DIALECT_PHONEXIA: phonexia.render,
}
"""Of each dialect that has forms of its own."""

SUMMARIES: Mapping["pb.Dialect.ValueType", Callable[[Message], Mapping[str, Any] | None]] = {
    pb.DIALECT_EMOVISION: emovision.short,
}
"""The result in short, which travels with the job, of each dialect that lists results."""
