"""The mean of a run's best and last averaged weights, as a run of its own.

    python -m models.training.text.mean --work build/text --of two --name main

Both lie in one basin, and their mean is better than either (Wortsman et al. 2022).
"""

import argparse
from pathlib import Path

import torch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/text"))
    parser.add_argument("--of", default="two")
    parser.add_argument("--name", default="main")
    args = parser.parse_args()
    best = torch.load(args.work / args.of / "best.pt", weights_only=True)
    last = torch.load(args.work / args.of / "checkpoint.pt", weights_only=True)["average"]
    (args.work / args.name).mkdir(parents=True, exist_ok=True)
    mean = {name: 0.5 * best[name] + 0.5 * last[name] for name in best}
    torch.save(mean, args.work / args.name / "best.pt")


if __name__ == "__main__":
    main()
