"""ONNX models of one operator, written byte by byte: no model is needed to test what runs them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

FLOAT, INT64 = 1, 7
_IR_VERSION, _OPSET = 8, 17


def write_model(
    repository: Path,
    name: str,
    *,
    operator: str,
    inputs: Sequence[tuple[str, int, Sequence[int | str]]],
    output: tuple[str, int, Sequence[int | str]],
    constant: tuple[str, np.ndarray] | None = None,
    arguments: Sequence[str],
    config: str,
) -> None:
    """Writes NAME/config.pbtxt and NAME/1/model.onnx: output = operator(*arguments).

    A tensor is its name, its element type and its dimensions, free ones by name; the constant is
    of float32.
    """
    node = b"".join(_text(1, argument) for argument in arguments)
    node += _text(2, output[0]) + _text(4, operator)
    graph = _field(1, node) + _text(2, name)
    if constant:
        graph += _field(5, _tensor(*constant))
    graph += b"".join(_field(11, _value(*tensor)) for tensor in inputs)
    graph += _field(12, _value(*output))
    opset = _text(1, "") + _number(2, _OPSET)
    folder = repository / name / "1"
    folder.mkdir(parents=True)
    model = _number(1, _IR_VERSION) + _field(7, graph) + _field(8, opset)
    (folder / "model.onnx").write_bytes(model)
    (folder.parent / "config.pbtxt").write_text(config)


def _value(name: str, kind: int, dims: Sequence[int | str]) -> bytes:
    shape = b"".join(
        _field(1, _text(2, dim) if isinstance(dim, str) else _number(1, dim)) for dim in dims
    )
    return _text(1, name) + _field(2, _field(1, _number(1, kind) + _field(2, shape)))


def _tensor(name: str, values: np.ndarray) -> bytes:
    dims = b"".join(_number(1, size) for size in values.shape)
    return dims + _number(2, FLOAT) + _text(8, name) + _field(9, values.astype("<f4").tobytes())


def _text(number: int, value: str) -> bytes:
    return _field(number, value.encode())


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])
