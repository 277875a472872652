"""Stands in for the ONNX Runtime backend, which the pip-installed Triton lacks.

Runs inside Triton's Python backend, in an environment with numpy 1.26.
"""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Serves the model.onnx beside this file."""

    def initialize(self, args: dict[str, str]) -> None:
        folder = Path(args["model_repository"]) / args["model_version"]
        self.session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
        self.config = json.loads(args["model_config"])
        self.names = [output.name for output in self.session.get_outputs()]

    def execute(self, requests: list) -> list:  # type: ignore[type-arg]
        responses = []
        for request in requests:
            inputs = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
            outputs = self.session.run(self.names, inputs)
            tensors = [
                pb_utils.Tensor(name, np.ascontiguousarray(array))
                for name, array in zip(self.names, outputs, strict=True)
            ]
            responses.append(pb_utils.InferenceResponse(tensors))
        return responses
