"""Calibrate a trained net and write it into models/repository/face_expression.

    python -m models.training.face.export RUN/ema.pt

Half of FER+ valid (chosen by majority label, seed 7) fits the calibration; the other half is left
for ``models.training.face.evaluate``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import onnx
import torch

from models.training import configuration
from models.training.face import data
from models.training.face.calibration import fit_temperature
from models.training.face.network import SIZE, ExpressionNet, ServedNet
from models.training.face.scores import accuracy, expected_calibration_error, recalls
from models.training.face.train import logits_of

FOLDER = configuration.REPOSITORY / "face_expression"
VERSION = "1.0.0"
LABELS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
"""In the order of FER+."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("weights", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    net = ExpressionNet()
    net.load_state_dict(torch.load(arguments.weights, weights_only=True))
    images, votes = data.load("valid")
    truth = votes.argmax(1)
    logits = logits_of(net, images)
    first, second = data.halves(votes)
    temperature = fit_temperature(logits[first], torch.from_numpy(truth[first]))
    probabilities = torch.softmax(logits[second] / temperature, 1).numpy()
    found = recalls(probabilities, truth[second])
    row = {
        "temperature": temperature,
        "accuracy": accuracy(probabilities, truth[second]),
        "balanced": float(np.mean(list(found.values()))),
        "ece": expected_calibration_error(probabilities, truth[second]),
    }
    print(json.dumps({key: round(value, 4) for key, value in row.items()}))
    served = ServedNet(net, temperature).eval()
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
    onnx.checker.check_model(onnx.load(path), full_check=True)
    told = {
        "version": VERSION,
        "license": "Apache-2.0",
        "labels": ",".join(LABELS),
        "calibration": f"half of FER+ valid; ECE {row['ece']:.3f} on the other half",
    }
    configuration.write(FOLDER, FOLDER.name, told)
    print(json.dumps({"model": str(path.name), "bytes": path.stat().st_size}))


if __name__ == "__main__":
    main()
