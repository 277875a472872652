"""Generated files are as their sources make them."""

import re
from pathlib import Path

import pytest

from deploy.generate import CHART, RUNBOOKS
from deploy.generate.files import files
from deploy.generate.rules import ALERTS, Alert

FILES = files()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_generated_file_is_up_to_date(path: Path) -> None:
    assert path.read_text() == FILES[path], "run: python -m deploy.generate"


def test_nothing_else_lies_among_the_dashboards() -> None:
    assert set((CHART / "dashboards").iterdir()) == {
        path for path in FILES if path.parent.name == "dashboards"
    }


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_every_alert_has_a_page_that_says_what_to_do(alert: Alert) -> None:
    page = (RUNBOOKS / alert.runbook).read_text()
    assert page.startswith(f"# {alert.name}\n")
    for heading in ("## Meaning", "## Check", "## Remedy"):
        assert heading in page


def test_the_list_of_pages_names_every_alert_and_whether_it_wakes_somebody() -> None:
    page = (RUNBOOKS / "README.md").read_text()
    listed = re.findall(r"^\| \[(\w+)\]\((\S+)\) \| (\w+) \|$", page, re.M)
    assert listed == [(alert.name, alert.runbook, alert.severity) for alert in ALERTS]


def test_every_page_belongs_to_an_alert() -> None:
    pages = {path.name for path in RUNBOOKS.glob("*.md")} - {"README.md"}
    assert pages == {alert.runbook for alert in ALERTS}
