"""Draw how often the text model is right against how sure it is, from development data.

    DATA=../shared/data python -m models.training.text.reliability

Writes reliability.png beside the model card. Everything is cross-fitted, as in calibrate.py.
Needs matplotlib.
"""

import argparse
import os
from pathlib import Path

import matplotlib.pyplot as plt  # type: ignore[import-not-found]
import numpy as np

from models.training.text.calibrate import Calibrator
from models.training.text.metrics import Floats
from models.training.text.schema import REPOSITORY
from models.training.text.session import Session
from services.text.model import ENGLISH

BINS = 10


def points(confidence: Floats, right: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean confidence, share right and share of the answers in each bin that has any."""
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    used = [place == b for b in range(BINS) if (place == b).any()]
    columns = [[confidence[p].mean(), right[p].mean(), p.mean()] for p in used]
    sure, share, weight = np.array(columns, np.float32).T
    return sure, share, weight


def draw(answers: dict[str, tuple[Floats, Floats]], figures: dict[str, float], path: Path) -> None:
    """One diagram a head."""
    figure, axes = plt.subplots(1, len(answers), figsize=(2.5 * len(answers), 2.8), sharey=True)
    for axis, (name, (confidence, right)) in zip(axes, answers.items(), strict=True):
        sure, share, weight = points(confidence, right)
        axis.plot([0, 1], [0, 1], color="0.7", linewidth=1)
        axis.bar(sure, weight, width=0.04, color="0.85")
        axis.plot(sure, share, marker="o", markersize=3, linewidth=1.2, color="tab:blue")
        axis.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="confidence")
        axis.set_title(f"{name}\nECE {figures[f'{name}_ece']:.3f}".replace("_", " "), fontsize=9)
    axes[0].set_ylabel("share right (bars: of answers)")
    figure.tight_layout()
    figure.savefig(path, dpi=80)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=REPOSITORY / "text_affect")
    args = parser.parse_args()
    calibrator = Calibrator(
        Path(os.environ.get("DATA", "../shared/data")), Session(args.model, *ENGLISH.heads)
    )
    calibrator.fit()
    draw(calibrator.answers, calibrator.figures, args.model / "reliability.png")


if __name__ == "__main__":
    main()
