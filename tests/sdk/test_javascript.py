"""The JavaScript client, tried by its own tests with the running mesh."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from services.mesh.temporary import TemporaryMesh

SDK = Path(__file__).parents[2] / "sdk" / "javascript"
TYPESCRIPT = "typescript@5.9.3"

pytestmark = pytest.mark.slow


def test_the_javascript_client(mesh: TemporaryMesh, video: Path) -> None:
    environment = {
        **os.environ,
        "EMOTIONCHAT_URL": mesh.address,
        "EMOTIONCHAT_KEY": mesh.key,
        "EMOTIONCHAT_VIDEO": str(video),
    }
    command = ["node", "--test", "--test-timeout=120000", "test/"]
    done = subprocess.run(command, cwd=SDK, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "# pass" in done.stdout


def test_its_types_fit_the_documented_use(tmp_path: Path) -> None:
    sdk = tmp_path / "sdk"
    shutil.copytree(SDK, sdk, ignore=shutil.ignore_patterns("node_modules"))
    subprocess.run(["npm", "install", "--no-save", "--silent", TYPESCRIPT], cwd=sdk, check=True)
    options = ["--noEmit", "--strict", "--target", "es2022", "--module", "nodenext"]
    options += ["--lib", "es2022,dom,dom.asynciterable"]
    compiler = sdk / "node_modules" / ".bin" / "tsc"
    done = subprocess.run(
        [str(compiler), *options, "test/types.ts"], cwd=sdk, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
