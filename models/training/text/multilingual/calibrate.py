"""Fit the multilingual model's probabilities on GoEmotions dev, which is English.

    DATA=../shared/data python -m models.training.text.multilingual.calibrate

There is no labelled text of other languages to fit on: the service lowers their confidence instead.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from models.training import configuration
from models.training.text import corpora
from models.training.text.calibrate import Calibrator, lines
from models.training.text.schema import (
    REPOSITORY,
    RUN_TOKENS,
    SENTIMENT_LEVELS,
)
from models.training.text.session import Session
from services.text.model import MULTILINGUAL

VERSION = "1.2.0"


def parameters(names: list[str], figures: Mapping[str, float]) -> dict[str, str]:
    """What config.pbtxt says of the model."""
    return {
        "version": VERSION,
        "license": "Apache-2.0",
        "calibration": f"GoEmotions dev (English), ECE {figures['primary_ece']:.3f}",
        "labels": ",".join(names),
        "run_tokens": str(RUN_TOKENS),
        "sentiment_levels": ",".join(map(str, SENTIMENT_LEVELS)),
    }


def main() -> None:
    folder = REPOSITORY / MULTILINGUAL.affect
    data = Path(os.environ.get("DATA", "../shared/data"))
    calibrator = Calibrator(data, Session(folder))
    calibrator.emotions()
    (folder / "calibration.json").write_text(lines(calibrator.content()), encoding="utf-8")
    names = corpora.goemotions_labels(data)
    configuration.write(folder, MULTILINGUAL.affect, parameters(names, calibrator.figures))
    for name, value in calibrator.figures.items():
        print(json.dumps({"measure": name, "value": round(value, 4)}))


if __name__ == "__main__":
    main()
