"""The command line."""

import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from services.cli import development, main, reference
from services.common.settings import SERVICES
from services.mesh import ports

ROOT = Path(__file__).parents[2]


def test_reference_page_lists_settings_and_services_as_they_are() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    assert reference.table() in page
    assert f"its place in: {', '.join(SERVICES)} |" in page


def test_settings_command_prints_the_reference() -> None:
    assert CliRunner().invoke(main, ["settings"]).output.strip() == reference.table()


def test_the_command_is_found_from_any_folder(tmp_path: Path) -> None:
    command = Path(sys.executable).parent / "affectmesh"
    done = subprocess.run([str(command), "settings"], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.strip() == reference.table(), done.stderr


def test_development_key_is_made_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    key = development.key(tmp_path / "data")
    assert development.key(tmp_path / "data") == key
    assert len(key) >= 16
    assert (tmp_path / "data" / "development.key").stat().st_mode & 0o777 == 0o600


def test_status_fails_where_nothing_runs(tmp_path: Path) -> None:
    http_port, port_base = ports.free_ports("127.0.0.1")
    environment = {
        "AFFECTMESH_HTTP_PORT": str(http_port),
        "AFFECTMESH_PORT_BASE": str(port_base),
        "AFFECTMESH_DATA_DIR": str(tmp_path),
    }
    ended = CliRunner().invoke(main, ["status"], env=environment)
    assert ended.exit_code == 1
    assert ended.output.count("not serving") == len(SERVICES)
