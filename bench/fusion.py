"""How long fusion itself takes, apart from the services it asks: `python -m bench.fusion`."""

import time
from typing import get_args

import numpy as np

from bench.table import against
from services.fusion.analyze import Method, Opinion, fuse
from services.fusion.vocabulary import KNOWN
from services.fusion.weights import DEFAULT_WEIGHTS

RUNS = 2000
TARGET_MS = 1.0


def main() -> None:
    """Prints the median of fusing all four modalities, each with every label it knows."""
    random = np.random.default_rng(0)
    opinions = [
        Opinion(
            modality,
            dict(zip(labels, random.dirichlet(np.ones(len(labels))).tolist(), strict=True)),
            valence=float(random.uniform(-1, 1)),
            arousal=float(random.uniform(-1, 1)),
        )
        for modality, labels in ((name, sorted(KNOWN[name])) for name in ("face", "voice", "text"))
    ]
    opinions.append(Opinion("biosignal", {}, arousal=0.4, confidence=0.8))
    for method in get_args(Method):
        spent_ms = []
        for _ in range(RUNS):
            started = time.perf_counter()
            fuse(opinions, DEFAULT_WEIGHTS, method)
            spent_ms.append(1000 * (time.perf_counter() - started))
        print(against(f"fusion, {method}", float(np.median(spent_ms)), "ms", TARGET_MS))


if __name__ == "__main__":
    main()
