"""The images hold what their services import, in the versions that the tests run with."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "deploy" / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text()

ANALYSIS = ("services.common.inference.open", "services.common.inference.triton")
FETCHING = ("services.common.media",)
RUNS = {
    "control": (
        "services.gateway.http",
        "services.gateway.envoy.render",
        "services.billing.servicer",
        "services.jobs.tables",
        "services.cli.admin",
        "services.cli.envoy",
    ),
    "jobs": ("services.jobs.servicer", "services.jobs.worker", "services.jobs.store.s3", *FETCHING),
    "analysis": (
        *(f"services.{name}.servicer" for name in ("text", "face", "biosignal", "fusion")),
        "services.cli.triton",
        "services.common.inference.prepare",
        *ANALYSIS,
        *FETCHING,
    ),
    "voice": ("services.voice.servicer", "services.voice.whisper", *ANALYSIS, *FETCHING),
}
"""What is imported in each image; what these modules import when they are loaded follows."""


def pins(path: Path) -> dict[str, str]:
    """Version by normalised name."""
    found = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", path.read_text(), re.M)
    return {_normal(name): version for name, version in found}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("group", [*RUNS, "build"])
def test_packages_are_the_ones_that_the_tests_run_with(group: str) -> None:
    tested = pins(ROOT / "requirements.lock")
    in_image = pins(DOCKER / f"{group}.lock")
    assert in_image
    assert in_image.items() <= tested.items()
    text = (DOCKER / f"{group}.lock").read_text()
    assert text.count("==") <= text.count("--hash=sha256:")
    assert "://" not in text


@pytest.mark.parametrize("group", RUNS)
def test_an_image_has_every_package_that_its_services_import(group: str) -> None:
    owners = packages_distributions()
    in_image = set(pins(DOCKER / f"{group}.lock"))
    missing = {
        name
        for name in _packages(RUNS[group])
        if not {_normal(owner) for owner in owners.get(name, ())} & in_image
    }
    assert missing == set()


def _packages(modules: tuple[str, ...]) -> set[str]:
    """Top-level packages of others that modules import, and those that they import."""
    waiting, seen, found = [*modules], set[str](), set[str]()
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        for name in _imports(module):
            top = name.partition(".")[0]
            if top == "services":
                waiting.append(name)
            elif top not in (*sys.stdlib_module_names, "affectmesh"):
                found.add(top)
    return found


@cache
def _imports(module: str) -> tuple[str, ...]:
    return tuple(_top_level(module))


def _top_level(module: str) -> Iterator[str]:
    """Modules imported when this one is, and the packages that it lies in."""
    path = ROOT.joinpath(*module.split("."))
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not source.exists():
        return
    yield module.rpartition(".")[0] or module
    for node in ast.parse(source.read_text()).body:
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            if node.module.startswith("services"):
                yield from (f"{node.module}.{one.name}" for one in node.names if one.name.islower())


def test_the_dockerfile_has_no_fault_that_its_linter_knows() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [hadolint, DOCKER / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_images_begin_with_one_version_and_end_without_rights() -> None:
    bases = re.findall(r"^FROM (\S+)(?: AS (\S+))?", DOCKERFILE, re.M)
    stages = {stage for _, stage in bases}
    assert {base for base, _ in bases if base not in stages} == {"${PYTHON}"}
    (default,) = re.findall(r"^ARG PYTHON=(\S+)", DOCKERFILE, re.M)
    assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+(@sha256:[0-9a-f]{64})?", default)
    assert set(RUNS) <= stages
    runtime = DOCKERFILE.partition("AS runtime")[2]
    assert re.findall(r"^USER (.*)", runtime, re.M) == ["10001:10001"]


def test_what_images_copy_is_in_the_context() -> None:
    allowed = re.findall(r"^!(\S+)", (ROOT / ".dockerignore").read_text(), re.M)
    copied = [
        source
        for line in re.findall(r"^COPY (?!--from)(.*)", DOCKERFILE, re.M)
        for source in line.split()[:-1]
    ]
    assert copied
    for source in copied:
        assert (ROOT / source).exists()
        assert any(source == one or source.startswith(f"{one}/") for one in allowed)
