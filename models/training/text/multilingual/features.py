"""What the trunk says of texts; kept on disk, since nothing below the heads changes."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from models.training.text.metrics import Floats
from models.training.text.schema import MULTILINGUAL_EMBEDDING
from models.training.text.session import Session, stack


def features(trunk: Path, texts: Sequence[str], block: int = 2000) -> Floats:
    """Embeddings [N, 1152] by the model in a folder; blocks made before are read again."""
    kept = trunk / "features"
    kept.mkdir(exist_ok=True)
    digest = hashlib.sha256((trunk / "1" / "model.onnx").read_bytes()).hexdigest()
    session = Session(trunk)
    parts = [np.zeros((0, MULTILINGUAL_EMBEDDING), np.float32)]
    for at in range(0, len(texts), block):
        some = texts[at : at + block]
        key = hashlib.sha256("\n".join((digest, *some)).encode()).hexdigest()[:24]
        path = kept / f"{key}.npy"
        if not path.exists():
            _, rows = session.read(some)
            np.save(path, stack(rows, "embedding").astype(np.float16))
        parts.append(np.load(path).astype(np.float32))
    return np.concatenate(parts)
