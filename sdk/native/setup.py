"""Builds the protobuf code of the repository's protos/ beside the client."""

import importlib.util
import sys
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent

spec = importlib.util.spec_from_file_location("contract", HERE.parents[1] / "setup.py")
assert spec is not None  # noqa: S101
assert spec.loader is not None  # noqa: S101
contract = importlib.util.module_from_spec(spec)
sys.modules["contract"] = contract
spec.loader.exec_module(contract)


class BuildProtos(contract.BuildProtos):  # type: ignore[misc,name-defined]
    """The same, into this folder."""

    folder = HERE


(HERE / "affectmesh" / "v1").mkdir(parents=True, exist_ok=True)
setup(cmdclass={"build_py": BuildProtos})
