"""The head of the research pack: a kernel machine on pooled encoder features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from models.training.voice.corpora import Floats, Integers

#: Width of the kernel, and strength of the penalty: see the model's card.
WIDTH = 1.0
PENALTY = 0.6
#: Scores lie within [0, 1]; times this they are logits of ordinary size.
SCALE = 10.0

_LAYER = 512
#: Places of the means and of the standard deviations among the features.
_MEANS = np.concatenate([np.arange(start, start + _LAYER) for start in (0, 1024, 2048)])
_SPREADS = _MEANS + _LAYER


@dataclass(frozen=True)
class KernelHead:
    """Likeness to landmarks, then a linear map.

    inputs are (features - centre) / scale. landmarks [L, 3072] are such inputs in half precision;
    weights [L, classes]; bias [classes].
    """

    centre: Floats
    scale: Floats
    landmarks: Floats
    weights: Floats
    bias: Floats

    def logits(self, features: Floats) -> Floats:
        inputs = ((features - self.centre) / self.scale).astype(np.float32)
        return np.asarray(_likeness(inputs, self.landmarks) @ self.weights + self.bias)


def fit(features: Mapping[str, Floats], labels: Integers) -> KernelHead:
    """Least squares on one-hot targets, classes weighted equally, in the span of landmarks.

    features: [clips, 3072] by variant; labels: [clips]. The clips as they are, "plain", are the
    landmarks. The kernel is the mean of two Gaussian ones, on the means and on the standard
    deviations of the layers. Rifkin, Yeo and Poggio, "Regularized least-squares classification"
    (2003), in the subset-of-regressors form of Smola and Schölkopf (2000).
    """
    everything = np.concatenate(list(features.values()))
    centre = everything.mean(0)
    scale = (everything.std(0) + 1e-4) * np.sqrt(_MEANS.size)
    landmarks = ((features["plain"] - centre) / scale).astype(np.float16)
    counts = np.bincount(labels)
    importance = (1 / counts)[labels]
    importance = (importance / importance.mean())[:, None]
    targets = np.eye(counts.size)[labels]
    size = len(landmarks) + 1
    gram, moments = np.zeros((size, size)), np.zeros((size, counts.size))
    for variant in features.values():
        inputs = ((variant - centre) / scale).astype(np.float32)
        likeness = np.column_stack((_likeness(inputs, landmarks), np.ones(len(inputs))))
        gram += (likeness * importance).T @ likeness
        moments += (likeness * importance).T @ targets
    penalty = np.eye(size)
    penalty[:-1, :-1] = _likeness(landmarks.astype(np.float32), landmarks)
    found = SCALE * np.linalg.solve(gram + PENALTY * penalty + 1e-3 * np.eye(size), moments)
    return KernelHead(centre, scale, landmarks, found[:-1], found[-1])


def save(head: KernelHead, path: Path) -> None:
    """Write the head as ONNX: features [B, 3072] to logits [B, classes]."""
    size, classes = head.centre.size, head.bias.size
    constants = {
        "centre": head.centre.astype(np.float32),
        "inverse": (1 / head.scale).astype(np.float32),
        "landmarks": head.landmarks,
        "weights": head.weights.astype(np.float32),
        "bias": head.bias.astype(np.float32),
        "half": np.float32(WIDTH / 2).reshape(1),
        "two": np.full(1, 2, np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["landmarks"], ["points"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["features", "centre"], ["moved"]),
        helper.make_node("Mul", ["moved", "inverse"], ["inputs"]),
    ]
    for name, places in (("means", _MEANS), ("spreads", _SPREADS)):
        constants[f"{name}_places"] = places.astype(np.int64)
        nodes += _gaussian(name)
    nodes += [
        helper.make_node("Add", ["means", "spreads"], ["both"]),
        helper.make_node("Div", ["both", "two"], ["likeness"]),
        helper.make_node("Gemm", ["likeness", "weights", "bias"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "voice_emotion",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", size])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))


def _gaussian(name: str) -> list[onnx.NodeProto]:
    """exp(-WIDTH / 2 · |inputs - points|²) over the places of one half, [B, L]."""
    node = helper.make_node
    return [
        node("Gather", ["inputs", f"{name}_places"], [f"{name}_input"], axis=1),
        node("Gather", ["points", f"{name}_places"], [f"{name}_points"], axis=1),
        node("Transpose", [f"{name}_points"], [f"{name}_turned"], perm=[1, 0]),
        node("MatMul", [f"{name}_input", f"{name}_turned"], [f"{name}_products"]),
        node("ReduceSumSquare", [f"{name}_input"], [f"{name}_own"], axes=[1], keepdims=1),
        node("ReduceSumSquare", [f"{name}_turned"], [f"{name}_theirs"], axes=[0], keepdims=1),
        node("Add", [f"{name}_own", f"{name}_theirs"], [f"{name}_squares"]),
        node("Mul", [f"{name}_products", "two"], [f"{name}_doubled"]),
        node("Sub", [f"{name}_squares", f"{name}_doubled"], [f"{name}_distances"]),
        node("Relu", [f"{name}_distances"], [f"{name}_apart"]),
        node("Mul", [f"{name}_apart", "half"], [f"{name}_scaled"]),
        node("Neg", [f"{name}_scaled"], [f"{name}_exponent"]),
        node("Exp", [f"{name}_exponent"], [name]),
    ]


def _likeness(inputs: Floats, landmarks: Floats) -> Floats:
    """[inputs, landmarks] in (0, 1]."""
    points = landmarks.astype(np.float32)
    return np.asarray((_one(inputs, points, _MEANS) + _one(inputs, points, _SPREADS)) / 2)


def _one(inputs: Floats, points: Floats, places: Integers) -> Floats:
    ours, theirs = inputs[:, places], points[:, places]
    squares = (ours**2).sum(1)[:, None] + (theirs**2).sum(1)[None]
    return np.asarray(np.exp(-WIDTH / 2 * np.maximum(squares - 2 * ours @ theirs.T, 0)))
