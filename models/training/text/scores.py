"""Development scores of a network in training."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from models.training.text import corpora
from models.training.text.examples import Example, collate
from models.training.text.metrics import (
    Floats,
    Rows,
    aspect_f1,
    aspect_polarities,
    entity_f1,
    truth_of,
    tuned_f1,
)
from models.training.text.network import AffectNet
from models.training.text.schema import direction_of, polarity_of
from models.training.text.session import stack
from models.training.text.tags import aspect_transitions, entity_transitions
from services.text.model import sigmoid
from services.text.tokens import TokenReader, Tokens


def development_scores(net: AffectNet, data: Path, reader: TokenReader) -> dict[str, float]:
    """All development scores of a network, and `score`, which training maximises."""
    out: dict[str, float] = {}
    comments = list(corpora.goemotions(data, "dev"))
    _, rows = read(net, reader, [r.text for r in comments])
    out["emotions_macro_f1"] = tuned_f1(sigmoid(stack(rows, "emotions")), truth_of(comments))
    levels = np.sign(stack(rows, "sentiment").argmax(-1) - 2) + 1
    truth = np.array([direction_of(polarity_of(r.emotions or ())) for r in comments])
    out["sentiment_accuracy"] = float((levels == truth).mean())
    reviews = list(corpora.mams(data, "val"))
    tokens, rows = read(net, reader, [r.text for r in reviews])
    out["aspect_f1"] = aspect_f1(reviews, tokens, rows, aspect_transitions(data, reader))
    logits, gold = aspect_polarities(reviews, tokens, rows)
    out["aspect_polarity"] = float((logits.argmax(-1) == gold).mean())
    tweets = corpora.isarcasm_held_out(data)
    _, rows = read(net, reader, [r.text for r in tweets])
    sarcastic = np.array([[r.sarcasm or 0] for r in tweets], np.float32)
    out["sarcasm_f1"] = tuned_f1(sigmoid(stack(rows, "sarcasm"))[:, None], sarcastic)
    posts = list(corpora.wnut(data, "emerging.dev"))
    tokens, rows = read(net, reader, [r.text for r in posts])
    out["entity_f1"] = entity_f1(posts, tokens, rows, entity_transitions(data, reader))
    out["score"] = (
        out["emotions_macro_f1"]
        + 0.15 * out["sentiment_accuracy"]
        + 0.15 * (out["aspect_f1"] + out["aspect_polarity"] + out["sarcasm_f1"] + out["entity_f1"])
    )
    return out


def read(net: AffectNet, reader: TokenReader, texts: Sequence[str]) -> tuple[list[Tokens], Rows]:
    """Tokens of each text, and the outputs of a network for it."""
    tokens = reader.read_all(texts)
    net.eval()
    return tokens, dict(_run(net, tokens))


def _run(net: AffectNet, tokens: Sequence[Tokens]) -> Iterator[tuple[int, dict[str, Floats]]]:
    order = sorted(range(len(tokens)), key=lambda i: len(tokens[i]))
    for at in range(0, len(order), 64):
        part = order[at : at + 64]
        batch = collate([Example(tokens[i].ids, tokens[i].cases) for i in part])
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            out = {k: v.float().numpy() for k, v in net(batch["ids"], batch["cases"]).items()}
        for row, i in enumerate(part):
            yield i, {name: array[row] for name, array in out.items()}
