"""Reads the model repository, which is laid out as Triton wants it."""

import hashlib
from functools import cached_property
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from services.common.inference import ModelInfo


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


class Repository:
    """All models of some folders, opened as they are asked for."""

    def __init__(self, *roots: Path) -> None:
        self.roots = roots
        self._folders: dict[str, ModelFolder] = {}

    def __getitem__(self, model: str) -> ModelFolder:
        if model not in self._folders:
            found = [
                root / model for root in self.roots if (root / model / "config.pbtxt").is_file()
            ]
            if not found:
                raise KeyError(f"{model} is not in {' or '.join(map(str, self.roots))}")
            self._folders[model] = ModelFolder(found[0])
        return self._folders[model]
