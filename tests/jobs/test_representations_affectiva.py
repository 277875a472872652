"""Affectiva's forms of what the real face service saw."""

import csv
import io
import json
from typing import Any

import pytest

from affectmesh.v1 import face_pb2, jobs_pb2, voice_pb2
from services.jobs.representations import affectiva
from services.jobs.representations.affectiva import CSV, METRICS, SESSION, TABLE
from tests.jobs.measured import faces, footage

NAMES = [metric.name for metric in TABLE]


@pytest.fixture(scope="module")
async def seen() -> face_pb2.AnalyzeFaceVideoResponse:
    return await faces(footage())


def rendered(seen: face_pb2.AnalyzeFaceVideoResponse, name: str) -> dict[str, bytes]:
    job = jobs_pb2.Job(job_id="job_0123456789abcdef")
    job.metadata.update({"name": name, "file_name": "face-video.mp4"})
    files = list(affectiva.render(job, seen))
    assert [file.file_name for file in files] == [
        "face-video.mp4-metrics.json",
        "face-video.mp4-metrics.csv",
    ]
    return {file.content_type: file.data for file in files}


def rows(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode())))


def test_session_holds_every_face_of_every_frame(seen: face_pb2.AnalyzeFaceVideoResponse) -> None:
    found = json.loads(rendered(seen, "multiface")[SESSION])
    assert list(found) == ["content_type", "configuration", "frames"]
    assert found["content_type"] == SESSION
    assert set(found["configuration"]) == set(NAMES)
    frames = found["frames"]
    assert [frame["time"] for frame in frames] == [0.0, 0.04, 0.08, 0.12, 0.16]
    assert [len(frame["faces"]) for frame in frames] == [1, 1, 0, 2, 2]
    assert set(frames[3]["faces"]) == set(frames[4]["faces"])
    for frame in frames:
        for face in frame["faces"].values():
            check(face)


def check(face: dict[str, Any]) -> None:
    assert list(face) == NAMES
    signed = {"valence", "pitch", "yaw", "roll"}
    for name, value in face.items():
        assert isinstance(value, int | float), name
        if name not in signed | {"interocular distance", "mean face luminance"}:
            assert 0 <= value <= 100, name
    assert face["joy"] > 50, "the astronaut smiles"
    assert face["smile"] > face["lip corner depressor"]
    assert face["valence"] > 0
    assert face["engagement"] >= face["joy"] - 0.01
    assert 20 < face["interocular distance"] < 120
    assert 40 < face["mean face luminance"] < 220


def test_csv_of_a_session_has_a_row_a_face_and_one_where_there_is_none(
    seen: face_pb2.AnalyzeFaceVideoResponse,
) -> None:
    files = rendered(seen, "multiface")
    found = rows(files[CSV])
    assert list(found[0]) == ["time stamp (msec)", "face", *NAMES]
    assert [row["time stamp (msec)"] for row in found] == [
        "0",
        "40",
        "80",
        "120",
        "120",
        "160",
        "160",
    ]
    empty = found[2]
    assert all(empty[name] == "TF" for name in ("face", *NAMES))
    first = json.loads(files[SESSION])["frames"][0]["faces"][found[0]["face"]]
    assert {name: float(found[0][name]) for name in NAMES} == first


def test_metrics_have_tf_where_there_is_no_face(seen: face_pb2.AnalyzeFaceVideoResponse) -> None:
    files = rendered(seen, "current-pack")
    found = json.loads(files[METRICS])
    assert set(found) == {"content_type", "metric_map", "metrics", "pack"}
    assert found["content_type"] == METRICS
    assert found["metric_map"]["smile"] == "smilect"
    metrics = found["metrics"]
    assert set(metrics) == {"time stamp (msec)", "TimeStamp(msec)", *NAMES}
    assert metrics["time stamp (msec)"] == metrics["TimeStamp(msec)"] == [0, 40, 80, 120, 160]
    for name in NAMES:
        assert len(metrics[name]) == 5
        assert [value == "TF" for value in metrics[name]] == [False, False, True, False, False]
    table = rows(files[CSV])
    assert list(table[0]) == ["time stamp (msec)", *NAMES]
    assert [row["smile"] for row in table] == [str(value) for value in metrics["smile"]]


@pytest.mark.parametrize(
    ("name", "pack"), [("ct-pack-linear", "ct-linear"), ("ct-pack-hybrid", "ct-hybrid")]
)
def test_metrics_of_a_pack_have_its_names(
    seen: face_pb2.AnalyzeFaceVideoResponse, name: str, pack: str
) -> None:
    found = json.loads(rendered(seen, name)[METRICS])
    assert found["pack"] == pack
    assert {"smilect", "au02ct"} <= set(found["metrics"])
    assert "smile" not in found["metrics"]
    assert (
        found["metrics"]["smilect"]
        == json.loads(rendered(seen, "current-pack")[METRICS])["metrics"]["smile"]
    )


def test_names_are_given_once() -> None:
    assert len({metric.name for metric in TABLE}) == len(TABLE)
    assert len({metric.pack_name for metric in TABLE}) == len(TABLE)


def test_nothing_is_rendered_of_other_results() -> None:
    assert not list(affectiva.render(jobs_pb2.Job(), voice_pb2.AnalyzeVoiceResponse()))
