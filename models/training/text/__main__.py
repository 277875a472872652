"""Train the text models anew, from the weights in packages to the files that are served.

    DATA=../shared/data python -m models.training.text

Each step is a command that goes on where it was stopped. Steps that have ended are named in
build/text/done.txt and not run again: delete the file, or a line of it, to run them once more.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

DONE = Path("build/text/done.txt")
STEPS = (
    "silver",
    "train --name one --epochs 3 --made 7000 --rate 2.5e-4 --limit-steps 1500",
    "train --name one --epochs 1.8 --made 7000 --rate 2.5e-4",
    "sarcasm --name one",
    "train --name two --start build/text/one/final.pt --epochs 2 --rate 1.5e-4 --made 4000 "
    "--mams 3 --sarcasm 2",
    "mean --of two --name main",
    "sarcasm --name main",
    "export --name main --weights final.pt",
    "teach train",
    "teach label",
    "dimensions train",
    "slim --name main",
    "export --name main",
    "dimensions write",
    "calibrate",
    "reliability",
    "multilingual.trunk",
    "multilingual.train",
    "multilingual.calibrate",
    "evaluate",
)
"""Commands of this package, in this order."""


def main() -> None:
    """Runs what is left; ends with the status of a step that fails."""
    DONE.parent.mkdir(parents=True, exist_ok=True)
    done = DONE.read_text(encoding="utf-8").splitlines() if DONE.exists() else []
    for number, step in enumerate(STEPS, 1):
        if step in done:
            continue
        print(f"{time.strftime('%H:%M:%S')} step {number} of {len(STEPS)}: {step}", flush=True)
        module, *arguments = step.split()
        command = [sys.executable, "-m", f"models.training.text.{module}", *arguments]
        status = subprocess.run(command, env={"OMP_NUM_THREADS": "2", **os.environ}).returncode
        if status:
            sys.exit(status)
        with DONE.open("a", encoding="utf-8") as file:
            file.write(f"{step}\n")


if __name__ == "__main__":
    main()
