"""Train the dimensions model: valence, arousal and dominance from the text model's token states.

    DATA=../shared/data python -m models.training.text.dimensions

Learns from EmoBank's ratings and from what the teacher (teach.py) says of further texts. EmoBank is
CC BY-SA 4.0, so these weights are a model of their own under that licence; the text model never
sees EmoBank. Reads the exported text model; writes text_dimensions beside it. Token states and
the trained network are kept in WORK, so a run that is stopped goes on from there.
"""

import argparse
import json
import logging
import math
import os
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.training import configuration
from models.training.text import corpora
from models.training.text.lessons import Labelled
from models.training.text.metrics import Floats, correlations
from models.training.text.network import Layer, Pool, average, greatest
from models.training.text.schema import MAX_TOKENS, REPOSITORY, RUN_TOKENS, STATES
from models.training.text.session import Session

LOG = logging.getLogger("dimensions")
NAMES = ("valence", "arousal", "dominance")
INNER, HEADS = 128, 4


class Dimensions(nn.Module):
    """A narrow transformer over token states [B, T, 1536] with their mask [B, T].

    What it says is stretched to the spread of the ratings, in [-1, 1], where it is not trained.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("gain", torch.ones(3))
        self.register_buffer("offset", torch.zeros(3))
        self.drop_inputs = nn.Dropout(0.2)
        self.narrow = nn.Linear(STATES, INNER)
        self.norm = nn.LayerNorm(INNER)
        self.layers = nn.ModuleList(Layer(INNER, HEADS, 2 * INNER, 0.1) for _ in range(2))
        self.pool = Pool(INNER)
        self.out = nn.Sequential(
            nn.Dropout(0.2),
            nn.Linear(3 * INNER, INNER),
            nn.GELU(),
            nn.Dropout(0.1),
            nn.Linear(INNER, 3),
        )

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        bias = ((1.0 - mask) * -1e4)[:, None, None, :]
        x = self.norm(F.gelu(self.narrow(self.drop_inputs(states))))
        for layer in self.layers:
            x = layer(x, bias)
        pooled = (average(x, mask), self.pool(x, mask), greatest(x, mask))
        out: Tensor = self.out(torch.cat(pooled, -1))
        if self.training:
            return out
        return (out * self.get_buffer("gain") + self.get_buffer("offset")).clamp(-1.0, 1.0)

    def stretch(self, said: Floats, ratings: Floats) -> None:
        """Sets the stretch that gives what was said [N, 3] the mean and spread of the ratings."""
        gain = ratings.std(0) / said.std(0)
        self.get_buffer("gain").copy_(torch.from_numpy(gain))
        self.get_buffer("offset").copy_(torch.from_numpy(ratings.mean(0) - said.mean(0) * gain))


@dataclass(frozen=True, slots=True)
class Texts:
    """Token states of texts one after another [tokens, 1536], tokens of each, dimensions [N, 3]."""

    states: Tensor
    lengths: Tensor
    dimensions: Tensor

    def rows(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Padded states [B, T, 1536] and mask [B, T]."""
        ends = self.lengths.cumsum(0)[chosen]
        starts = ends - self.lengths[chosen]
        parts = [self.states[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]
        x = nn.utils.rnn.pad_sequence(parts, batch_first=True)
        mask = torch.arange(x.shape[1])[None] < self.lengths[chosen][:, None]
        return x, mask.float()


def read(session: Session, texts: list[str], dimensions: Iterable[object]) -> Texts:
    """The states that the exported text model has for some texts, in bfloat16."""
    lengths = [min(len(one), MAX_TOKENS) + 2 for one in session.reader.read_all(texts)]
    states = torch.empty((sum(lengths), STATES), dtype=torch.bfloat16)
    parts = iter(states.split(lengths))
    for at in range(0, len(texts), 1_000):
        _, rows = session.read(texts[at : at + 1_000])
        for i in range(len(rows)):
            part = next(parts)
            part.copy_(torch.from_numpy(rows[i]["states"][: len(part)]))
        LOG.info("states of %d of %d texts", at + len(rows), len(texts))
    told = torch.from_numpy(np.array(dimensions, np.float32))
    return Texts(states, torch.tensor(lengths), told)


def lessons(data: Path, session: Session, teacher: Path) -> Texts:
    """EmoBank's training texts with their ratings, then those that the teacher has labelled."""
    rated = list(corpora.emobank(data, "train"))
    labelled = Labelled.read(teacher)
    texts = [r.text for r in rated] + labelled.texts
    ratings = np.array([r.dimensions for r in rated], np.float32)
    return read(session, texts, np.concatenate((ratings, labelled.dimensions)))


def loss_of(out: Tensor, want: Tensor, spread: Tensor) -> Tensor:
    """Squared error in units of the ratings' spread, and what the correlations of a batch lack."""
    error = (((out - want) / spread) ** 2).mean()
    a, b = out - out.mean(0), want - want.mean(0)
    agreement = (a * b).sum(0) / (a.norm(dim=0) * b.norm(dim=0) + 1e-6)
    return error + (1.0 - agreement).mean()


def fit(texts: Texts, dev: Texts, seed: int, epochs: float, batch: int = 128) -> Dimensions:
    """A network trained on some texts."""
    torch.manual_seed(seed)
    net = Dimensions()
    rate = 1e-3
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=0.05)
    total = int(epochs * len(texts.lengths) / batch)
    spread = texts.dimensions.std(0)
    for step, rows in enumerate(_batches(texts, batch, seed, total)):
        warm = min(1.0, (step + 1) / 100)
        scale = warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / total)))
        for group in optimizer.param_groups:
            group["lr"] = rate * scale
        net.train()
        with torch.autocast("cpu", torch.bfloat16):
            out = net(*texts.rows(rows))
        loss = loss_of(out.float(), texts.dimensions[rows], spread)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if (step + 1) % 400 == 0 or step + 1 == total:
            found = correlations(predict(net, dev), dev.dimensions.numpy())
            told = {name: round(r, 4) for name, r in found.items()}
            LOG.info("step %d/%d dev %s", step + 1, total, told)
    return net


def predict(net: nn.Module, texts: Texts) -> Floats:
    """Dimensions [N, 3] of some texts."""
    net.eval()
    with torch.inference_mode():
        out = [
            net(x.float(), mask)
            for x, mask in map(texts.rows, torch.arange(len(texts.lengths)).split(100))
        ]
    found: Floats = torch.cat(out).numpy()
    return found


def _batches(texts: Texts, size: int, seed: int, total: int) -> Iterator[Tensor]:
    """Numbers of texts of similar length, epoch after epoch."""
    generator = torch.Generator().manual_seed(seed)
    order = random.Random(seed)
    made = 0
    while True:
        shuffled = torch.randperm(len(texts.lengths), generator=generator)
        out: list[Tensor] = []
        for block in shuffled.split(size * 40):
            ranked = block[texts.lengths[block].argsort()]
            out += [part for part in ranked.split(size) if len(part) == size]
        order.shuffle(out)
        for rows in out:
            if made == total:
                return
            made += 1
            yield rows


def parameters(version: str, corpus: str, figures: dict[str, float]) -> dict[str, str]:
    """What config.pbtxt says of the model."""
    told = ", ".join(f"{name} r {value:.3f}" for name, value in figures.items())
    return {
        "version": version,
        "license": "CC-BY-SA-4.0",
        "calibration": f"{corpus}, {told}",
        "labels": ",".join(NAMES),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=REPOSITORY / "text_affect")
    parser.add_argument("--teacher", type=Path, default=Path("build/text/teacher"))
    parser.add_argument("--work", type=Path, default=Path("build/text/dimensions"))
    parser.add_argument("--out", type=Path, default=REPOSITORY / "text_dimensions")
    parser.add_argument("--epochs", type=float, default=6.0)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(args.threads)
    data = Path(os.environ.get("DATA", "../shared/data"))
    args.work.mkdir(parents=True, exist_ok=True)
    session = Session(args.model, "states")
    rated = list(corpora.emobank(data, "dev"))
    dev = read(session, [r.text for r in rated], [r.dimensions for r in rated])
    kept = args.work / "states.pt"
    if kept.exists():
        texts = Texts(*torch.load(kept, weights_only=True))
    else:
        texts = lessons(data, session, args.teacher)
        torch.save((texts.states, texts.lengths, texts.dimensions), kept)
    weights = args.work / "final.pt"
    if not weights.exists():
        torch.save(fit(texts, dev, args.seed, args.epochs).state_dict(), weights)
    net = Dimensions().eval()
    net.load_state_dict(torch.load(weights, weights_only=True))
    ratings = dev.dimensions.numpy()
    said = predict(net, dev)
    net.stretch(said, ratings)
    figures = correlations(said, ratings)
    (args.out / "1").mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        net,
        (torch.zeros(2, 12, STATES), torch.ones(2, 12)),
        str(args.out / "1" / "model.onnx"),
        input_names=["states", "mask"],
        output_names=["dimensions"],
        dynamic_axes={
            "states": {0: "batch", 1: "length"},
            "mask": {0: "batch", 1: "length"},
            "dimensions": {0: "batch"},
        },
        opset_version=17,
        dynamo=False,
    )
    told = parameters("1.2.0", "EmoBank dev", figures) | {"run_tokens": str(RUN_TOKENS)}
    configuration.write(args.out, "text_dimensions", told)
    for name, value in figures.items():
        print(json.dumps({"measure": f"emobank_{name}_r", "value": round(value, 4)}))


if __name__ == "__main__":
    main()
