"""The lower layers of the multilingual encoder, and the affect heads above them."""

import numpy as np
import torch
from torch import Tensor, nn

from models.training.text.multilingual.encoder import Encoder, Floats, Packed
from models.training.text.network import Layer, average, padding_bias, through
from models.training.text.schema import EMOTIONS, LEVELS, MULTILINGUAL_EMBEDDING, WIDTH

LAYERS = 7
"""Layers kept; what is read from above them carries over to other languages less well."""
READ = (4, 5, 6)
"""Layers whose mean states make up the embedding."""
POSITIONS = 64
HIDDEN = 256
PARTS = {
    "q": "query", "k": "key", "v": "value", "ao": "out", "aln": "out_norm", "fi": "up",
    "fo": "down", "oln": "down_norm",
}  # fmt: skip


class Trunk(nn.Module):
    """Token ids [B, T], padded with 0, to an embedding [B, 1152]; nothing in it is trained here.

    The token table stays in four bits and is unpacked row by row.
    """

    def __init__(self, encoder: Encoder, table: Packed) -> None:
        super().__init__()
        self.register_buffer("packed", torch.from_numpy(np.array(table.packed)))
        self.register_buffer("scales", torch.from_numpy(np.array(table.scales)))
        self.positions = nn.Embedding(POSITIONS, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.layers = nn.ModuleList(Layer(WIDTH, 12, 1536, 0.0) for _ in range(LAYERS))
        self._load(encoder)

    def forward(self, ids: Tensor) -> Tensor:
        mask = (ids != 0).float()
        x = self.norm(self._tokens(ids) + self.positions.weight[: ids.shape[1]])
        depths = through(self.layers, x, padding_bias(mask))
        return torch.cat([average(depths[i + 1], mask) for i in READ], -1)

    def _tokens(self, ids: Tensor) -> Tensor:
        both = self.get_buffer("packed")[ids].float()
        high = torch.floor(both / 16.0)
        whole = torch.cat((both - 16.0 * high, high), -1) - 8.0
        scaled = whole * self.get_buffer("scales")[ids].float()[..., None]
        return scaled.reshape(ids.shape[0], ids.shape[1], WIDTH)

    def _load(self, encoder: Encoder) -> None:
        positions = encoder.vector("emb.pos").reshape(-1, WIDTH)[:POSITIONS]
        state: dict[str, Floats] = {
            "positions.weight": positions + encoder.vector("emb.type")[:WIDTH],
            "norm.weight": encoder.vector("emb.ln.w"),
            "norm.bias": encoder.vector("emb.ln.b"),
        }
        for i in range(LAYERS):
            for theirs, ours in PARTS.items():
                name = f"l{i}.{theirs}"
                state[f"layers.{i}.{ours}.weight"] = (
                    encoder.vector(f"{name}.w")
                    if theirs.endswith("ln")
                    else encoder.matrix(f"{name}.w", encoder.inner if theirs == "fo" else WIDTH)
                )
                state[f"layers.{i}.{ours}.bias"] = encoder.vector(f"{name}.b")
        own = self.state_dict()
        for name, array in state.items():
            own[name].copy_(torch.from_numpy(np.array(array)))


class Heads(nn.Module):
    """Emotions [B, 28], sentiment [B, 5] and subjectivity [B, 1] of an embedding, as logits.

    Sentiment is linear, with half of the embedding hidden in training: what is learnt from English
    must rest on much of it to hold in other languages.
    """

    def __init__(self, mean: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)
        self.shared = nn.Sequential(
            nn.Dropout(0.2), nn.Linear(MULTILINGUAL_EMBEDDING, HIDDEN), nn.GELU(), nn.Dropout(0.3)
        )
        self.emotions = nn.Linear(HIDDEN, EMOTIONS)
        self.sentiment = nn.Sequential(nn.Dropout(0.5), nn.Linear(MULTILINGUAL_EMBEDDING, LEVELS))
        self.subjectivity = nn.Linear(HIDDEN, 1)

    def forward(self, embedding: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = (embedding - self.get_buffer("mean")) / self.get_buffer("scale")
        shared = self.shared(x)
        return self.emotions(shared), self.sentiment(x), self.subjectivity(shared)
