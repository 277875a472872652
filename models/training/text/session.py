"""Runs the exported model over texts, as the service would, for calibration and evaluation."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from models.training.text.metrics import Floats, Rows
from models.training.text.schema import CLS, MAX_TOKENS, SEP
from services.text.model import BUCKETS
from services.text.tokens import TokenReader, Tokens


class Session:
    """One exported model folder, with the outputs wanted of it; by default all."""

    def __init__(self, folder: Path, *wanted: str, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(
            str(folder / "1" / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        names = [output.name for output in self._session.get_outputs()]
        self._names = [name for name in names if not wanted or name in wanted]
        self._cased = "cases" in {given.name for given in self._session.get_inputs()}
        self.reader = TokenReader(folder / "tokenizer.json")

    def read(self, texts: Sequence[str]) -> tuple[list[Tokens], Rows]:
        """Tokens of each text, and its outputs; texts are cut at MAX_TOKENS."""
        tokens = self.reader.read_all(texts)
        return tokens, dict(self._run(tokens))

    def _run(self, tokens: Sequence[Tokens]) -> Iterator[tuple[int, dict[str, Floats]]]:
        order = sorted(range(len(tokens)), key=lambda i: len(tokens[i]))
        for at in range(0, len(order), 32):
            part = order[at : at + 32]
            longest = min(max(len(tokens[i]) for i in part), MAX_TOKENS) + 2
            length = next(size for size in BUCKETS if size >= longest)
            ids = np.zeros((len(part), length), np.int64)
            cases = np.zeros((len(part), length), np.int64)
            for row, i in enumerate(part):
                n = min(len(tokens[i]), MAX_TOKENS)
                ids[row, : n + 2] = [CLS, *tokens[i].ids[:n], SEP]
                cases[row, 1 : n + 1] = tokens[i].cases[:n]
            inputs = {"ids": ids, "cases": cases} if self._cased else {"ids": ids}
            arrays = self._session.run(self._names, inputs)
            for row, i in enumerate(part):
                yield i, {n: a[row] for n, a in zip(self._names, arrays, strict=True)}


def stack(rows: Rows, name: str) -> Floats:
    """One output of all texts in order."""
    return np.stack([rows[i][name] for i in range(len(rows))])
