"""Calibrate trained nets and write their mean into models/repository/face_expression.

    python -m models.training.face.export RUN/ema.pt [OTHER/ema.pt …]

One temperature is fitted to FER+ valid. What is told of calibration is cross-fitted: each half of
valid (chosen by majority label, seed 7) at the temperature of the other.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper

from models.training import configuration
from models.training.face import data
from models.training.face.calibration import fit_temperature
from models.training.face.network import SIZE, ExpressionNet, ServedNet
from models.training.face.scores import accuracy, expected_calibration_error, recalls
from models.training.face.train import logits_of

FOLDER = configuration.REPOSITORY / "face_expression"
VERSION = "1.1.0"
LARGE = 1024
"""Numbers from which a weight is kept in 16 bits."""
LABELS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
"""In the order of FER+."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("weights", type=Path, nargs="+")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    nets = [_read(path) for path in arguments.weights]
    images, votes = data.load("valid")
    truth = votes.argmax(1)
    logits = torch.stack([logits_of(net, images) for net in nets]).mean(0)
    temperature = fit_temperature(logits, torch.from_numpy(truth))
    crossed = np.empty((len(truth), len(LABELS)), np.float32)
    halves = data.halves(votes)
    for fitted, judged in (halves, halves[::-1]):
        other = fit_temperature(logits[fitted], torch.from_numpy(truth[fitted]))
        crossed[judged] = torch.softmax(logits[judged] / other, 1).numpy()
    row = {
        "temperature": temperature,
        "accuracy": accuracy(crossed, truth),
        "balanced": float(np.mean(list(recalls(crossed, truth).values()))),
        "ece": expected_calibration_error(crossed, truth),
    }
    print(json.dumps({key: round(value, 4) for key, value in row.items()}))
    served = ServedNet(nets, temperature).eval()
    path = FOLDER / "1" / "model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        served,
        (torch.zeros(1, 1, SIZE, SIZE),),
        str(path),
        input_names=["crop"],
        output_names=["probabilities"],
        dynamic_axes={"crop": {0: "batch"}, "probabilities": {0: "batch"}},
        opset_version=17,
        dynamo=False,
    )
    model = onnx.load(path)
    keep_in_half(model)
    onnx.save(model, path)
    onnx.checker.check_model(model, full_check=True)
    told = {
        "version": VERSION,
        "license": "Apache-2.0",
        "labels": ",".join(LABELS),
        "calibration": f"FER+ valid; ECE {row['ece']:.3f} between its halves",
    }
    configuration.write(FOLDER, FOLDER.name, told)
    print(json.dumps({"model": str(path.name), "bytes": path.stat().st_size}))


def _read(path: Path) -> ExpressionNet:
    net = ExpressionNet()
    net.load_state_dict(torch.load(path, weights_only=True))
    return net


def keep_in_half(model: onnx.ModelProto) -> None:
    """Has the file hold its large weights in 16 bits, behind a Cast; they are run in 32."""
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < LARGE:
            continue
        half = numpy_helper.from_array(values.astype(np.float16), f"{tensor.name}.half")
        cast = helper.make_node("Cast", [half.name], [tensor.name], to=onnx.TensorProto.FLOAT)
        tensor.CopyFrom(half)
        model.graph.node.insert(0, cast)


if __name__ == "__main__":
    main()
