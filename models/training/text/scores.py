"""Development scores: what training selects on and evaluation reports."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models.training.text import corpora
from models.training.text.corpora import POLARITIES, Record
from models.training.text.examples import MAX_TOKENS, Example, collate, polarity_of
from models.training.text.network import EMOTIONS, ENTITY_TYPES, AffectNet
from services.text.tokens import TokenReader, Tokens

Floats = NDArray[np.float32]


def macro_f1(
    scores: Floats, truth: Floats, thresholds: Floats | None = None
) -> tuple[float, Floats]:
    """Macro-F1 over labels; thresholds [L] are tuned on these very scores when not given."""
    if thresholds is None:
        thresholds = best_thresholds(scores, truth)
    found = scores >= thresholds
    hit = (found & (truth > 0)).sum(0)
    return float(np.mean(2 * hit / np.maximum(found.sum(0) + truth.sum(0), 1))), thresholds


def best_thresholds(scores: Floats, truth: Floats) -> Floats:
    """The threshold of each label with the highest F1, smoothed over its neighbours."""
    grid = np.concatenate((np.linspace(0.02, 0.1, 9), np.linspace(0.12, 0.9, 40)))
    out = np.zeros(scores.shape[1], np.float32)
    for label in range(scores.shape[1]):
        f1 = np.array(
            [
                2
                * ((scores[:, label] >= t) & (truth[:, label] > 0)).sum()
                / max((scores[:, label] >= t).sum() + truth[:, label].sum(), 1)
                for t in grid
            ]
        )
        smooth = np.convolve(np.pad(f1, 1, mode="edge"), np.ones(3) / 3, mode="valid")
        out[label] = grid[int(smooth.argmax())]
    return out


def spans_from_tags(tags: Sequence[int]) -> list[tuple[int, int, int]]:
    """(first token, last token + 1, type) of each BIO span; a stray I begins a span."""
    spans: list[tuple[int, int, int]] = []
    for i, tag in enumerate(tags):
        if tag == 0:
            continue
        kind, inside = (tag - 1) // 2, tag % 2 == 0
        if inside and spans and spans[-1][1] == i and spans[-1][2] == kind:
            spans[-1] = (spans[-1][0], i + 1, kind)
        else:
            spans.append((i, i + 1, kind))
    return spans


def run(
    net: AffectNet, tokens: Sequence[Tokens], size: int = 64
) -> Iterator[tuple[int, dict[str, Floats]]]:
    """Outputs of each text, (index, head → array), in order of length."""
    order = sorted(range(len(tokens)), key=lambda i: len(tokens[i]))
    net.eval()
    for at in range(0, len(order), size):
        part = order[at : at + size]
        batch = collate([Example(tokens[i].ids, tokens[i].cases) for i in part])
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            out = {k: v.float().numpy() for k, v in net(batch["ids"], batch["cases"]).items()}
        for row, i in enumerate(part):
            yield i, {name: array[row] for name, array in out.items()}


def sigmoid(x: Floats) -> Floats:
    """Logistic function."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(x, -40.0, 40.0))), np.float32)


def truth_of(records: Sequence[Record]) -> Floats:
    """Multi-hot emotion labels [N, 28]."""
    truth = np.zeros((len(records), EMOTIONS), np.float32)
    for i, record in enumerate(records):
        truth[i, list(record.emotions or ())] = 1.0
    return truth


def aspect_scores(
    records: Sequence[Record], tokens: Sequence[Tokens], rows: dict[int, dict[str, Floats]]
) -> dict[str, float]:
    """Exact-span term F1, and polarity accuracy given the gold terms (MAMS)."""
    hit = found_n = gold_n = right = 0
    for i, record in enumerate(records):
        n = min(len(tokens[i]), MAX_TOKENS)
        offsets = tokens[i].offsets
        tags = rows[i]["aspect_tags"][1 : n + 1].argmax(-1).tolist()
        found = {(offsets[a][0], offsets[b - 1][1]) for a, b, _ in spans_from_tags(tags)}
        gold = {(s.start, s.end) for s in record.aspects or ()}
        hit += len(found & gold)
        found_n += len(found)
        gold_n += len(gold)
        for span in record.aspects or ():
            inside = [
                j for j in range(n) if offsets[j][0] >= span.start and offsets[j][1] <= span.end
            ]
            if inside:
                vote = rows[i]["aspect_polarity"][[j + 1 for j in inside]].mean(0).argmax()
                right += POLARITIES[int(vote)] == span.label
    return {"aspect_f1": 2 * hit / max(found_n + gold_n, 1), "aspect_polarity": right / gold_n}


def entity_f1(
    records: Sequence[Record], tokens: Sequence[Tokens], rows: dict[int, dict[str, Floats]]
) -> float:
    """Span and type F1 on WNUT17 types (location types counted as one)."""
    places = {"GPE", "LOC", "FAC"}
    kept = {"PERSON", "ORG", "GPE", "PRODUCT", "WORK_OF_ART"}
    hit = found_n = gold_n = 0
    for i, record in enumerate(records):
        n = min(len(tokens[i]), MAX_TOKENS)
        offsets = tokens[i].offsets
        tags = rows[i]["entity_tags"][1 : n + 1].argmax(-1).tolist()
        found = set()
        for a, b, kind in spans_from_tags(tags):
            name = "GPE" if ENTITY_TYPES[kind] in places else ENTITY_TYPES[kind]
            if name in kept:
                found.add((offsets[a][0], offsets[b - 1][1], name))
        gold = {(s.start, s.end, s.label) for s in record.entities or ()}
        hit += len(found & gold)
        found_n += len(found)
        gold_n += len(gold)
    return 2 * hit / max(found_n + gold_n, 1)


def f1_at_best(scores: Floats, truth: Floats) -> tuple[float, float]:
    """Highest F1 of the positive class and its threshold."""
    f1, thresholds = macro_f1(scores[:, None], truth[:, None])
    return f1, float(thresholds[0])


def sarcasm_records(data: Path) -> list[Record]:
    """The held-out seventh of iSarcasmEval's training tweets, without the rephrasings."""
    return [record for i, (record, _) in enumerate(corpora.isarcasm(data)) if i % 7 == 3]


def development_scores(net: AffectNet, data: Path, reader: TokenReader) -> dict[str, float]:
    """All development scores of a network, and `score`, which training maximises."""
    out: dict[str, float] = {}
    go = list(corpora.goemotions(data, "dev"))
    rows = dict(run(net, reader.read_all([r.text for r in go])))
    logits = np.stack([rows[i]["emotions"] for i in range(len(go))])
    out["emotions_macro_f1"], _ = macro_f1(sigmoid(logits), truth_of(go))
    levels = np.stack([rows[i]["sentiment"] for i in range(len(go))]).argmax(-1)
    signs = np.array([polarity_of(r.emotions or ()) for r in go])
    three = (signs > 0.15).astype(int) - (signs < -0.15)
    out["sentiment_accuracy"] = float((np.sign(levels - 2) == three).mean())
    mams = list(corpora.mams(data, "val"))
    tokens = reader.read_all([r.text for r in mams])
    out |= aspect_scores(mams, tokens, dict(run(net, tokens)))
    tweets = sarcasm_records(data)
    rows = dict(run(net, reader.read_all([r.text for r in tweets])))
    scores = sigmoid(np.stack([rows[i]["sarcasm"] for i in range(len(tweets))]))
    out["sarcasm_f1"], _ = f1_at_best(
        scores, np.array([r.sarcasm or 0 for r in tweets], np.float32)
    )
    wnut = list(corpora.wnut(data, "emerging.dev"))
    tokens = reader.read_all([r.text for r in wnut])
    out["entity_f1"] = entity_f1(wnut, tokens, dict(run(net, tokens)))
    out["score"] = (
        out["emotions_macro_f1"]
        + 0.15 * out["sentiment_accuracy"]
        + 0.15 * (out["aspect_f1"] + out["aspect_polarity"] + out["sarcasm_f1"] + out["entity_f1"])
    )
    return out
