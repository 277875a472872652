"""What a training command begins with."""

import logging
import os
from pathlib import Path

import torch


def start(threads: int) -> Path:
    """Has progress logged and the threads bounded; gives the folder of the data."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", force=True
    )
    torch.set_num_threads(threads)
    return Path(os.environ.get("DATA", "../shared/data"))
