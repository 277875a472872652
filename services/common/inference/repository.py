"""Reads the model repository, which is laid out as Triton wants it."""

import hashlib
from functools import cached_property
from pathlib import Path

import numpy as np
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2
from tritonclient.utils import triton_to_np_dtype

from services.common.inference import ModelInfo

EXAMPLE_LENGTH = 64

DIGEST = "digest"
"""Parameter in which a prepared repository says the sha256 of the weights that it holds."""


class ModelFolder:
    """One model: NAME/config.pbtxt and NAME/1/model.onnx."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def config(self) -> model_config_pb2.ModelConfig:
        text = (self.path / "config.pbtxt").read_text()
        return text_format.Parse(text, model_config_pb2.ModelConfig())

    @property
    def weights(self) -> Path:
        return self.path / "1" / "model.onnx"

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return tuple(tensor.name for tensor in self.config.input)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return tuple(output.name for output in self.config.output)

    def example(self) -> dict[str, np.ndarray]:
        """Valid inputs, the same at every call: free dimensions are EXAMPLE_LENGTH, whole numbers
        are 1, others between 0 and 1. Arrays carry the batch dimension where the model has one."""
        random = np.random.default_rng(0)
        batch = (1,) if self.config.max_batch_size else ()
        inputs = {}
        for tensor in self.config.input:
            shape = (*batch, *(size if size > 0 else EXAMPLE_LENGTH for size in tensor.dims))
            kind = _numpy_type(tensor.data_type)
            whole = np.issubdtype(kind, np.integer)
            inputs[tensor.name] = (np.ones(shape) if whole else random.random(shape)).astype(kind)
        return inputs

    @cached_property
    def info(self) -> ModelInfo:
        parameters = {key: value.string_value for key, value in self.config.parameters.items()}
        return ModelInfo(
            name=self.path.name,
            version=parameters.get("version", "1"),
            digest=hashlib.sha256(self.weights.read_bytes()).hexdigest(),
            parameters=parameters,
            path=self.path,
        )


def _numpy_type(data_type: int) -> type[np.generic]:
    name = model_config_pb2.DataType.Name(data_type).removeprefix("TYPE_")
    found: type[np.generic] = triton_to_np_dtype(name)
    return found


class Repository:
    """All models of some folders, opened as they are asked for."""

    def __init__(self, *roots: Path) -> None:
        self.roots = roots
        self._folders: dict[str, ModelFolder] = {}

    def names(self) -> list[str]:
        """Every model, by name."""
        return sorted({path.parent.name for r in self.roots for path in r.glob("*/config.pbtxt")})

    def __getitem__(self, model: str) -> ModelFolder:
        if model not in self._folders:
            found = [
                root / model for root in self.roots if (root / model / "config.pbtxt").is_file()
            ]
            if not found:
                raise KeyError(f"{model} is not in {' or '.join(map(str, self.roots))}")
            self._folders[model] = ModelFolder(found[0])
        return self._folders[model]
