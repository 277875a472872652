"""Draws the figures of the documentation from the samples: `python -m bench.figures`.

Needs matplotlib. A film is made of the sample photograph and the sample voices, analysed by a mesh
of its own, and drawn, as is the annotated photograph.
"""

import asyncio
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import grpc
import numpy as np
from matplotlib import pyplot as plt  # type: ignore[import-not-found]
from matplotlib.axes import Axes  # type: ignore[import-not-found]
from matplotlib.figure import Figure  # type: ignore[import-not-found]

from affectmesh.v1 import face_pb2, face_pb2_grpc, fusion_pb2, fusion_pb2_grpc
from services.cli.samples import PHOTOGRAPH
from services.common.channels import OPTIONS
from services.mesh.temporary import TemporaryMesh
from tests.fusion.recordings import Pixels, Scene, empty, film, pair, portrait, speech

IMAGES = Path(__file__).parents[1] / "docs" / "images"
SECONDS = 30
COLOURS = {
    "happiness": "#e6a817", "neutral": "#9aa0a6", "sadness": "#3b6fb6", "anger": "#c0392b",
    "fear": "#7d3c98", "surprise": "#16a085", "disgust": "#6b8e23", "contempt": "#8d6e63",
    "calm": "#76b7b2", "boredom": "#b0a99f", "anxiety": "#9b59b6",
}  # fmt: skip
OTHER = "#d5d8dc"


def main() -> None:
    """Writes the figures into docs/images."""
    IMAGES.mkdir(exist_ok=True)
    with TemporaryMesh() as mesh:
        asyncio.run(_draw(mesh))


async def _draw(mesh: TemporaryMesh) -> None:
    video = film(SECONDS, _scenes(), speech("0870", "0880", "0890", "0930", gap_s=2.2))
    async with grpc.aio.insecure_channel(mesh.settings.address("face"), options=OPTIONS) as face:
        stub = face_pb2_grpc.FaceServiceStub(face)
        options = face_pb2.FaceOptions(return_annotated=True, return_landmarks=True)
        image = face_pb2.AnalyzeFaceRequest(image=PHOTOGRAPH.read_bytes(), options=options)
        answer = await stub.AnalyzeFace(image)
        (IMAGES / "face-annotated.png").write_bytes(answer.annotated_image)
        request = face_pb2.AnalyzeFaceVideoRequest(video=video)
        _draw_faces(await stub.AnalyzeFaceVideo(request), IMAGES / "face-video-timeline.png")
    address = mesh.settings.address("fusion")
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as fusion:
        analysis = fusion_pb2.RecordingAnalysis()
        asked = fusion_pb2.AnalyzeRecordingRequest(video=video, depth="advanced", language="en")
        async for message in fusion_pb2_grpc.FusionServiceStub(fusion).AnalyzeRecording(asked):
            analysis = message.result
    _draw_recording(analysis, IMAGES / "recording-timeline.png")


def _scenes() -> Scene:
    """Somebody speaks while the light goes, is cut away from, and comes back beside somebody."""
    alone, together, blank = portrait(360), pair(), empty(0)

    def at(time_s: float) -> Pixels:
        if time_s >= 18:
            return together(time_s)
        frame = np.full((360, 640, 3), 60, np.uint8)
        if time_s >= 14:
            frame[:] = blank[0, 0]
            return frame
        light = np.interp(time_s, [6, 13], [1.0, 0.06])
        frame[:, :360] = (alone(time_s) * light).astype(np.uint8)
        return frame

    return at


def _draw_faces(found: face_pb2.AnalyzeFaceVideoResponse, path: Path) -> None:
    """Emotions of each face over time, and its valence and arousal."""
    people: dict[int, list[tuple[float, face_pb2.Face]]] = defaultdict(list)
    for frame in found.timeline:
        for face in frame.faces:
            people[face.face_id].append((frame.timestamp_ms / 1000, face))
    figure, rows = plt.subplots(
        len(people) + 1, 1, sharex=True, figsize=(9, 1.6 * len(people) + 2), squeeze=False
    )
    step_s = found.duration_ms / 1000 / max(1, found.analyzed_frames)
    for (number, seen), axes in zip(sorted(people.items()), rows[:, 0], strict=False):
        _stack(
            axes,
            [time for time, _ in seen],
            step_s,
            [{one.label: one.confidence for one in face.emotions.all} for _, face in seen],
        )
        axes.set_ylabel(f"face {number}")
        _curves(
            rows[-1, 0],
            [(time, face.dimensions.valence, face.dimensions.arousal) for time, face in seen],
            f", face {number}",
            0.5 + 0.5 / (1 + number),
        )
    rows[0, 0].set_title(
        "Faces of a video: calibrated confidence of each emotion, 5 pictures a second"
    )
    _finish(figure, rows[:, 0], found.duration_ms / 1000, path)


def _draw_recording(found: fusion_pb2.RecordingAnalysis, path: Path) -> None:
    """Fused emotions, dimensions and agreement, who spoke when, and the key moments."""
    figure, rows = plt.subplots(
        4, 1, sharex=True, figsize=(9, 7.2), gridspec_kw={"height_ratios": [2, 1.4, 1.2, 1.6]}
    )
    line = found.timeline
    hop_s = found.timeline_hop_ms / 1000
    felt = [
        {one.label: one.confidence for one in moment.emotions.all} if moment.HasField("emotions")
        else {} for moment in line
    ]  # fmt: skip
    _stack(rows[0], [moment.start_ms / 1000 for moment in line], hop_s, felt)
    rows[0].set_ylabel("fused\nemotions")
    rows[0].set_title(
        f"A recording, depth advanced: honesty score {found.honesty.score:.0f} of 100 "
        "(behavioural consistency)"
    )
    middles = [(one.start_ms / 1000 + hop_s / 2, one) for one in line]
    _curves(
        rows[1],
        [
            (time, one.dimensions.valence, one.dimensions.arousal)
            if one.HasField("dimensions") else (time, np.nan, np.nan)
            for time, one in middles
        ],
    )  # fmt: skip
    rows[1].plot(
        [time for time, _ in middles],
        [one.agreement if one.HasField("agreement") else np.nan for _, one in middles],
        color="#2c3e50", linestyle=":", label="agreement",
    )  # fmt: skip
    names = ["face", "voice", "text"]
    for place, name in enumerate(reversed(names)):
        spans = [(one.start_ms / 1000, hop_s) for one in line if name in one.modalities]
        rows[2].broken_barh(spans, (place + 0.15, 0.7), color="#5d8aa8")
    rows[2].set_yticks(np.arange(3) + 0.5, list(reversed(names)))
    rows[2].set_ylabel("speaks")
    _moments(rows[3], found.key_moments)
    _finish(figure, rows[:2], found.duration_ms / 1000, path)


def _moments(axes: Axes, moments: Sequence[fusion_pb2.KeyMoment]) -> None:
    kinds = sorted({one.type for one in moments})
    for one in moments:
        place = kinds.index(one.type)
        span = (one.timestamp_ms / 1000, max(0.2, (one.end_ms - one.timestamp_ms) / 1000))
        axes.broken_barh(
            [span], (place + 0.15, 0.7), color="#c0392b", alpha=0.35 + 0.65 * one.score
        )
    axes.set_yticks(np.arange(len(kinds)) + 0.5, [kind.replace("_", " ") for kind in kinds])
    axes.set_ylabel("key moments")


def _stack(
    axes: Axes, times: Sequence[float], step_s: float, rows: Sequence[dict[str, float]]
) -> None:
    """Bars of each moment's emotions, scaled to 1; those that are never the foremost in one."""
    foremost = {max(row, key=row.__getitem__) for row in rows if row}
    shown = [label for label in COLOURS if label in foremost] + sorted(foremost - COLOURS.keys())
    totals = np.array([max(sum(row.values()), 1e-9) for row in rows])
    base = np.zeros(len(rows))
    for label in shown:
        part = np.array([row.get(label, 0.0) for row in rows]) / totals
        colour = COLOURS.get(label, "#34495e")
        axes.bar(times, part, step_s, base, align="edge", color=colour, label=label, linewidth=0)
        base += part
    rest = np.where([bool(row) for row in rows], 1 - base, 0)
    axes.bar(times, rest, step_s, base, align="edge", color=OTHER, label="others", linewidth=0)
    axes.set_ylim(0, 1)


def _curves(
    axes: Axes, points: Sequence[tuple[float, float, float]], suffix: str = "", alpha: float = 1.0
) -> None:
    times, valence, arousal = zip(*points, strict=True)
    gaps = np.diff(times, prepend=times[0]) > 1.5
    for values, name, colour in ((valence, "valence", "#1a7f37"), (arousal, "arousal", "#d35400")):
        drawn = np.where(gaps, np.nan, values)
        axes.plot(times, drawn, color=colour, label=name + suffix, alpha=alpha)
    axes.set_ylim(-1, 1)
    axes.axhline(0, color="#cccccc", linewidth=0.6, zorder=0)


def _finish(figure: Figure, legends: Sequence[Axes], seconds: float, path: Path) -> None:
    for axes in legends:
        axes.legend(loc="center left", bbox_to_anchor=(1.005, 0.5), fontsize=8, frameon=False)
    figure.axes[-1].set_xlim(0, seconds)
    figure.axes[-1].set_xlabel("seconds")
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    with tempfile.TemporaryDirectory() as folder:
        drawn = Path(folder) / path.name
        figure.savefig(drawn, dpi=110, bbox_inches="tight", metadata={"Software": None})
        path.write_bytes(drawn.read_bytes())
    plt.close(figure)


if __name__ == "__main__":
    main()
