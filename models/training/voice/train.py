"""Fits the emotion heads on pooled encoder features and writes them to the model repository.

    python -m models.training.voice.train open
    python -m models.training.voice.train research

`open` learns from EmoDB, `research` from EmoDB and RAVDESS (CC BY-NC-SA 4.0: no commercial use).
Needs the runtime environment and onnx. Features are cached, so a run that was stopped goes on
where it was. DATA names the folder of the corpora.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from models.training import configuration
from models.training.voice import kernels
from models.training.voice.corpora import Set, load
from models.training.voice.heads import (
    Head,
    calibration_error,
    cross_validated,
    fit,
    softmax,
    temperature,
)

REPOSITORIES = {"open": configuration.REPOSITORY, "research": configuration.RESEARCH}
LICENSES = {"open": "Apache-2.0", "research": "CC-BY-NC-SA-4.0"}
VERSIONS = {"open": "1.0.0", "research": "1.1.0"}


def save(head: Head, path: Path) -> None:
    """Write the head as ONNX: features [B, 3072] to logits [B, classes]."""
    size, classes = head.weights.shape
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["features", "weights", "bias"], ["logits"])],
        "voice_emotion",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", size])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes])],
        [
            numpy_helper.from_array(head.weights.astype(np.float32), "weights"),
            numpy_helper.from_array(head.bias.astype(np.float32), "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))


def linear(corpus: Set, chosen: NDArray[np.bool_]) -> Head:
    """The open pack's head, from the chosen clips in every variant."""
    return fit(*corpus.training(chosen))


def kernel(corpus: Set, chosen: NDArray[np.bool_]) -> kernels.KernelHead:
    """The research pack's head, likewise."""
    features = {name: found[chosen] for name, found in corpus.features.items()}
    return kernels.fit(features, corpus.labels[chosen])


def train(pack: str, corpus: Set) -> None:
    """Fit on every clip and variant; calibrate on logits of speakers the head has not heard."""
    name = f"voice_emotion_{pack}"
    learn = linear if pack == "open" else kernel
    logits = cross_validated(corpus, learn)["plain"]
    divisor = temperature(logits, corpus.labels)
    error = calibration_error(softmax(logits / divisor), corpus.labels)
    folder = REPOSITORIES[pack] / name
    path = folder / "1" / "model.onnx"
    if pack == "open":
        save(linear(corpus, corpus.everyone), path)
    else:
        kernels.save(kernel(corpus, corpus.everyone), path)
    told = {
        "version": VERSIONS[pack],
        "license": LICENSES[pack],
        "pack": pack,
        "labels": ",".join(corpus.classes),
        "temperature": f"{divisor:.3f}",
        "calibration": f"{corpus.name}, speakers left out, ECE {error:.3f}",
    }
    configuration.write(folder, name, told)
    print(f"{name}: temperature {divisor:.3f}, ECE {error:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pack", choices=tuple(LICENSES))
    data = Path(os.environ.get("DATA", "../shared/data"))
    pack = parser.parse_args().pack
    train(pack, load(pack, data))


if __name__ == "__main__":
    main()
