"""Builds the protobuf code of protos/ into affectmesh/ before the package itself."""

import shutil
import sys
from importlib.resources import files
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent


class BuildProtos(build_py):  # type: ignore[misc]
    """Runs protoc; type stubs are added where mypy-protobuf is installed."""

    folder = ROOT
    """Where the package affectmesh is made."""

    def run(self) -> None:
        from grpc_tools import protoc

        output = self.folder / "affectmesh"
        shutil.rmtree(output, ignore_errors=True)
        output.mkdir()
        arguments = [
            "protoc",
            f"--proto_path={ROOT / 'protos'}",
            f"--proto_path={files('grpc_tools') / '_proto'}",
            f"--proto_path={_googleapis()}",
            "--include_source_info",
            f"--descriptor_set_out={output / 'contract.binpb'}",
            f"--python_out={self.folder}",
            f"--grpc_python_out={self.folder}",
        ]
        stubs = shutil.which("protoc-gen-mypy", path=str(Path(sys.executable).parent))
        if stubs:
            arguments += [
                f"--plugin=protoc-gen-mypy={stubs}",
                f"--plugin=protoc-gen-mypy_grpc={stubs}_grpc",
                f"--mypy_out=quiet:{self.folder}",
                f"--mypy_grpc_out=quiet,only_async:{self.folder}",
            ]
        if protoc.main([*arguments, *map(str, sorted(ROOT.glob("protos/affectmesh/v1/*.proto")))]):
            raise SystemExit("protoc failed")
        for package in (output, output / "v1"):
            (package / "__init__.py").touch()
        (output / "py.typed").touch()
        super().run()


def _googleapis() -> Path:
    import google.api.annotations_pb2 as annotations

    return Path(annotations.__file__).parents[2]


if __name__ == "__main__":
    # Packages are looked for before they are built.
    (ROOT / "affectmesh" / "v1").mkdir(parents=True, exist_ok=True)
    setup(cmdclass={"build_py": BuildProtos})
