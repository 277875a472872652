"""The demo and the bench, on a real mesh."""

import subprocess
import sys

import pytest

from bench.__main__ import SMALL_TEXT
from bench.measure import measure
from services.cli.demo import ask
from services.cli.samples import SampleRequest, sample_requests
from services.common.settings import SERVICES
from services.mesh.temporary import TemporaryMesh

KINDS = ("face", "video", "voice", "text", "batch", "biosignal", "multimodal")


@pytest.mark.parametrize("kind", KINDS)
def test_sample_is_answered_in_lines_a_person_reads(
    mesh: TemporaryMesh, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sample = next(sample for sample in sample_requests() if sample.kind == kind)
    assert ask(mesh, sample)
    printed = capsys.readouterr()
    assert f"POST {sample.path}  200" in printed.out
    assert "  → " in printed.out
    assert printed.err == ""


def test_refused_sample_is_printed_with_the_reason(
    mesh: TemporaryMesh, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not ask(mesh, SampleRequest("text", "/v1/analyze/text", {"text": ""}, "nothing"))
    assert "INVALID_TEXT" in capsys.readouterr().err


def test_bench_counts_answers_and_the_cpu_of_each_process(mesh: TemporaryMesh) -> None:
    row = measure(mesh, SMALL_TEXT, clients=2, seconds=1)
    assert row.failed == {}
    assert row.requests > 0
    assert row.p50_ms <= row.p99_ms
    assert set(row.cpu_ms_by_process) == {"redis", *SERVICES}
    assert row.cpu_ms_by_process["gateway"] > 0


def test_bench_shows_what_was_refused(mesh: TemporaryMesh) -> None:
    empty = SampleRequest("text", "/v1/analyze/text", {"text": ""}, "nothing")
    row = measure(mesh, empty, clients=1, seconds=0.2)
    assert row.requests == 0
    assert row.failed["400"] > 0
    assert "INVALID_TEXT" in row.first_failure


@pytest.mark.slow
def test_demo_ends_well() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", "from services.cli import main; main()", "demo"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr
    assert f"{len(KINDS)} of {len(KINDS)} requests answered" in ended.stdout
