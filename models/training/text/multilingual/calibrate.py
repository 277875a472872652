"""Fit the multilingual model's probabilities on GoEmotions dev, which is English.

    DATA=../shared/data python -m models.training.text.multilingual.calibrate

There is no labelled text of other languages to fit on: the service lowers their confidence instead.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from models.training.text import corpora
from models.training.text.calibrate import Calibrator, lines
from models.training.text.schema import (
    EMBEDDING,
    EMOTIONS,
    LEVELS,
    REPOSITORY,
    SENTIMENT_LEVELS,
)
from models.training.text.session import Session
from services.text.model import MULTILINGUAL

VERSION = "1.0.0"


def config(names: list[str], figures: Mapping[str, float]) -> str:
    """config.pbtxt of the model."""
    shapes = {
        "emotions": EMOTIONS,
        "sentiment": LEVELS,
        "subjectivity": 1,
        "embedding": EMBEDDING,
    }
    outputs = ",\n".join(
        f'  {{ name: "{name}", data_type: TYPE_FP32, dims: [ {size} ] }}'
        for name, size in shapes.items()
    )
    parameters = {
        "version": VERSION,
        "license": "Apache-2.0",
        "calibration": f"GoEmotions dev (English), ECE {figures['primary_ece']:.3f}",
        "labels": ",".join(names),
        "sentiment_levels": ",".join(map(str, SENTIMENT_LEVELS)),
    }
    settings = "\n".join(
        f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}'
        for key, value in parameters.items()
    )
    return f"""name: "{MULTILINGUAL.affect}"
platform: "onnxruntime_onnx"
max_batch_size: 64
input [
  {{ name: "ids", data_type: TYPE_INT64, dims: [ -1 ] }}
]
output [
{outputs}
]
dynamic_batching {{ }}
{settings}
"""


def main() -> None:
    folder = REPOSITORY / MULTILINGUAL.affect
    data = Path(os.environ.get("DATA", "../shared/data"))
    calibrator = Calibrator(data, Session(folder))
    calibrator.emotions()
    (folder / "calibration.json").write_text(lines(calibrator.content()), encoding="utf-8")
    names = corpora.goemotions_labels(data)
    (folder / "config.pbtxt").write_text(config(names, calibrator.figures), encoding="utf-8")
    for name, value in calibrator.figures.items():
        print(json.dumps({"measure": name, "value": round(value, 4)}))


if __name__ == "__main__":
    main()
