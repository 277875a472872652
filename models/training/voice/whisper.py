"""Whisper's encoder, rebuilt in torch from CTranslate2 weights."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

_TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}


def read_weights(data: bytes) -> dict[str, np.ndarray]:
    """Return the variables of a CTranslate2 model.bin (format version 6), by name.

    The layout is CTranslate2's `ModelSpec._serialize`: little endian, names with a trailing
    zero byte, then rank, dimensions, type, size and the raw numbers.
    """
    offset = 0

    def number(kind: str) -> int:
        nonlocal offset
        (value,) = struct.unpack_from("<" + kind, data, offset)
        offset += struct.calcsize(kind)
        return int(value)

    def text() -> str:
        nonlocal offset
        size = number("H")
        value = data[offset : offset + size - 1].decode()
        offset += size
        return value

    version = number("I")
    if version != 6:
        raise ValueError(f"model.bin has format version {version}, not 6")
    text()
    number("I")
    variables = {}
    for _ in range(number("I")):
        name = text()
        shape = [number("I") for _ in range(number("B"))]
        kind = _TYPES[number("B")]
        size = number("I")
        variables[name] = np.frombuffer(data[offset : offset + size], dtype=kind).reshape(shape)
        offset += size
    return variables


class Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.ffn_norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        batch, frames, width = x.shape
        query, key, value = (
            part.reshape(batch, frames, self.heads, width // self.heads).transpose(1, 2)
            for part in self.project(self.norm(x)).split(width, dim=-1)
        )
        scores = query @ key.transpose(2, 3) * (width // self.heads) ** -0.5 + bias
        mixed = (scores.softmax(-1) @ value).transpose(1, 2).reshape(batch, frames, width)
        x = x + self.out(mixed)
        return x + self.down(F.gelu(self.up(self.ffn_norm(x))))


class Encoder(nn.Module):
    """The first `depth` layers of a Whisper encoder, exact on padded clips.

    forward(mel [B, 80, T], mask [B, T]) returns the hidden states after the convolutions and
    after each layer, each [B, T/2, width]; the mask (1 = a frame of the clip) keeps padding
    out of the convolutions and of the attention, so that a padded clip gives what it would
    give alone.
    """

    def __init__(
        self, weights: dict[str, np.ndarray], depth: int | None = None, positions: int = 1500
    ) -> None:
        super().__init__()

        def take(name: str) -> Tensor:
            return torch.from_numpy(weights["encoder/" + name].astype(np.float32))

        count = sum(
            name.endswith("self_attention/layer_norm/beta") and name.startswith("encoder/")
            for name in weights
        )
        self.positions = positions
        self.depth = count if depth is None else depth
        width = weights["encoder/conv1/bias"].shape[0]
        heads = width // 64
        self.conv1 = nn.Conv1d(80, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.position = nn.Parameter(take("position_encodings/encodings")[:positions])
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(self.depth))
        state: dict[str, Tensor] = {"position": self.position.data}
        for conv in ("conv1", "conv2"):
            state |= {f"{conv}.{kind}": take(f"{conv}/{kind}") for kind in ("weight", "bias")}
        for index in range(self.depth):
            for name, source in (
                ("norm", "self_attention/layer_norm"),
                ("project", "self_attention/linear_0"),
                ("out", "self_attention/linear_1"),
                ("ffn_norm", "ffn/layer_norm"),
                ("up", "ffn/linear_0"),
                ("down", "ffn/linear_1"),
            ):
                kinds = ("gamma", "beta") if name.endswith("norm") else ("weight", "bias")
                for kind, target in zip(kinds, ("weight", "bias"), strict=True):
                    value = take(f"layer_{index}/{source}/{kind}")
                    state[f"layers.{index}.{name}.{target}"] = value
        self.load_state_dict(state)
        self.requires_grad_(False)

    def forward(self, mel: Tensor, mask: Tensor) -> list[Tensor]:
        x = F.gelu(self.conv1(mel * mask[:, None])) * mask[:, None]
        x = F.gelu(self.conv2(x)).transpose(1, 2)
        x = x + self.position[: x.shape[1]]
        bias = (1.0 - mask[:, None, None, ::2]) * -1e4
        states = [x]
        for layer in self.layers:
            x = layer(x, bias)
            states.append(x)
        return states


def read_package(folder: Path) -> dict[str, np.ndarray]:
    """Return the weights of an unpacked package: its model.bin in parts."""
    parts = sorted(folder.rglob("model.bin.part*"))
    if not parts:
        raise FileNotFoundError(f"no model.bin under {folder}")
    return read_weights(b"".join(part.read_bytes() for part in parts))
