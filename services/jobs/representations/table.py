"""A timeline as CSV (RFC 4180): a header, then one row a moment."""

import csv
import io
from collections.abc import Iterable

from affectmesh.v1 import fusion_pb2

LABELS = (
    "happiness",
    "sadness",
    "anger",
    "fear",
    "disgust",
    "surprise",
    "neutral",
    "contempt",
    "confusion",
    "curiosity",
    "boredom",
)
"""The labels that a fused timeline can have, into which the finer ones are folded."""

HEADER = (
    "start_ms",
    "end_ms",
    "emotion",
    "confidence",
    *LABELS,
    "valence",
    "arousal",
    "dominance",
    "agreement",
    "modalities",
    "key_moments",
)
"""The columns. Lists in a cell are separated by blanks."""


def of_recording(analysis: fusion_pb2.RecordingAnalysis) -> bytes:
    """The timeline in UTF-8. What was not measured is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(HEADER)
    writer.writerows(_row(moment, analysis.key_moments) for moment in analysis.timeline)
    return text.getvalue().encode()


def _row(
    moment: fusion_pb2.RecordingMoment, key_moments: Iterable[fusion_pb2.KeyMoment]
) -> list[object]:
    confidences = {one.label: one.confidence for one in moment.emotions.all}
    primary = moment.emotions.primary
    dimensions = moment.dimensions
    return [
        moment.start_ms,
        moment.end_ms,
        primary.label,
        primary.confidence if primary.label else "",
        *(confidences.get(label, "") for label in LABELS),
        dimensions.valence if dimensions.HasField("valence") else "",
        dimensions.arousal if dimensions.HasField("arousal") else "",
        dimensions.dominance if dimensions.HasField("dominance") else "",
        moment.agreement if moment.HasField("agreement") else "",
        " ".join(moment.modalities),
        " ".join(
            one.type
            for one in key_moments
            if one.timestamp_ms < moment.end_ms and moment.start_ms < one.end_ms
        ),
    ]
