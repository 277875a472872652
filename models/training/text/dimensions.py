"""Train the dimensions model: valence, arousal and dominance from the text model's token states.

    DATA=../shared/data python -m models.training.text.dimensions train
    DATA=../shared/data python -m models.training.text.dimensions write

It has layers of its own, which start as those of the text model over the same states and learn from
EmoBank's ratings and from what the teacher (teach.py) says of further texts. EmoBank is CC BY-SA
4.0, so these weights are a model of their own under that licence; the text model never sees
EmoBank. Both read the exported text model: the wide one to train, the narrow one (slim.py) to write
text_dimensions beside it. Token states are kept in WORK and the network is saved there every 400
steps, so a run that is stopped goes on from there.
"""

import argparse
import json
import logging
import math
import random
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from models.training import configuration
from models.training.text import corpora
from models.training.text.int8 import write_int8
from models.training.text.lessons import Labelled
from models.training.text.metrics import Floats, correlations
from models.training.text.network import (
    Layer,
    Pool,
    average,
    greatest,
    padding_bias,
    restore,
    through,
)
from models.training.text.schema import (
    MAX_TOKENS,
    REPOSITORY,
    RUN_TOKENS,
    STATE_DEPTH,
    WIDTH,
)
from models.training.text.session import Session
from models.training.text.start import start

LOG = logging.getLogger("dimensions")
NAMES = ("valence", "arousal", "dominance")
OWN_LAYERS = 3
EVERY = 400
"""Steps between two looks at the development split, each kept."""


class Dimensions(nn.Module):
    """Layers over the token states [B, T, 384] of the text model with their mask [B, T].

    What it says is stretched to the spread of the ratings, in [-1, 1], where it is not trained.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("gain", torch.ones(3))
        self.register_buffer("offset", torch.zeros(3))
        self.layers = nn.ModuleList(Layer(WIDTH, 12, 4 * WIDTH, 0.1) for _ in range(OWN_LAYERS))
        self.pool = Pool(WIDTH)
        self.out = nn.Sequential(
            nn.Dropout(0.2),
            nn.Linear(3 * WIDTH, 256),
            nn.GELU(),
            nn.Dropout(0.1),
            nn.Linear(256, 3),
        )

    def start(self, weights: dict[str, Tensor]) -> None:
        """Starts from the layers that the text model has over these states."""
        for i, layer in enumerate(self.layers):
            theirs = f"layers.{STATE_DEPTH + i}."
            layer.load_state_dict(
                {k.removeprefix(theirs): v for k, v in weights.items() if k.startswith(theirs)}
            )

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        return self.say(self.depths(states, mask)[-1], mask)

    def depths(self, states: Tensor, mask: Tensor) -> list[Tensor]:
        """Token states [B, T, 384] that are given, and after each own layer."""
        return through(self.layers, states, padding_bias(mask))

    def say(self, x: Tensor, mask: Tensor) -> Tensor:
        """Dimensions [B, 3] of the last token states."""
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
    """Token states of texts one after another [tokens, 384], tokens of each, dimensions [N, 3]."""

    states: Tensor
    lengths: Tensor
    dimensions: Tensor

    def rows(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Padded states [B, T, 384] and mask [B, T]."""
        ends = self.lengths.cumsum(0)[chosen]
        starts = ends - self.lengths[chosen]
        parts = [self.states[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]
        x = nn.utils.rnn.pad_sequence(parts, batch_first=True)
        mask = torch.arange(x.shape[1])[None] < self.lengths[chosen][:, None]
        return x, mask.float()


def read(session: Session, texts: list[str], dimensions: Iterable[object]) -> Texts:
    """The states that the exported text model has for some texts, in bfloat16."""
    lengths = [min(len(one), MAX_TOKENS) + 2 for one in session.reader.read_all(texts)]
    states = torch.empty((sum(lengths), WIDTH), dtype=torch.bfloat16)
    parts = iter(states.split(lengths))
    for at in range(0, len(texts), 1_000):
        _, rows = session.read(texts[at : at + 1_000])
        for i in range(len(rows)):
            part = next(parts)
            part.copy_(torch.from_numpy(rows[i]["states"][: len(part)]))
        LOG.info("states of %d of %d texts", at + len(rows), len(texts))
    told = torch.from_numpy(np.array(dimensions, np.float32))
    return Texts(states, torch.tensor(lengths), told)


def rated(data: Path, split: str, session: Session) -> Texts:
    """The texts of EmoBank with their ratings."""
    records = list(corpora.emobank(data, split))
    return read(session, [r.text for r in records], [r.dimensions for r in records])


def lessons(data: Path, session: Session, teacher: Path) -> Texts:
    """EmoBank's training texts with their ratings, then those that the teacher has labelled."""
    records = list(corpora.emobank(data, "train"))
    labelled = Labelled.read(teacher)
    texts = [r.text for r in records] + labelled.texts
    ratings = np.array([r.dimensions for r in records], np.float32)
    return read(session, texts, np.concatenate((ratings, labelled.dimensions)))


def loss_of(out: Tensor, want: Tensor, spread: Tensor) -> Tensor:
    """Squared error in units of the ratings' spread, and what the correlations of a batch lack."""
    error = (((out - want) / spread) ** 2).mean()
    a, b = out - out.mean(0), want - want.mean(0)
    agreement = (a * b).sum(0) / (a.norm(dim=0) * b.norm(dim=0) + 1e-6)
    return error + (1.0 - agreement).mean()


def fit(net: Dimensions, texts: Texts, dev: Texts, args: argparse.Namespace) -> Dimensions:
    """The mean of a network's weights in the second half of its training (Izmailov et al. 2018).

    Goes on from the last checkpoint in WORK.
    """
    layers = list(net.layers.parameters())
    known = {id(parameter) for parameter in layers}
    heads = [parameter for parameter in net.parameters() if id(parameter) not in known]
    groups = [{"params": layers, "lr": args.rate}, {"params": heads, "lr": 1e-3}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.05, fused=True)
    base = [group["lr"] for group in optimizer.param_groups]
    mean = AveragedModel(net)
    total = int(args.epochs * len(texts.lengths) / args.batch)
    spread = texts.dimensions.std(0)
    checkpoint, done = args.work / "checkpoint.pt", 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        net.load_state_dict(saved["net"])
        mean.load_state_dict(saved["mean"])
        optimizer.load_state_dict(saved["optimizer"])
        done = saved["step"]
    began = time.monotonic()
    steps = enumerate(_batches(texts, args.batch, args.seed, total), 1)
    for step, rows in islice(steps, done, None):
        torch.manual_seed(args.seed * 1_000_000 + step)
        warm = min(1.0, step / 300)
        scale = warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / total)))
        for group, rate in zip(optimizer.param_groups, base, strict=True):
            group["lr"] = rate * scale
        net.train()
        with torch.autocast("cpu", torch.bfloat16):
            out = net(*texts.rows(rows))
        loss = loss_of(out.float(), texts.dimensions[rows], spread)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step >= total / 2 and step % 10 == 0:
            mean.update_parameters(net)
        if step % EVERY == 0 or step == total:
            looked_at = {"last": net, "mean": mean.module} if step >= total / 2 else {"last": net}
            for name, one in looked_at.items():
                found = correlations(predict(one, dev), dev.dimensions.numpy())
                told = {measure: round(r, 4) for measure, r in found.items()}
                LOG.info("step %d/%d, %s weights, dev %s", step, total, name, told)
            LOG.info("%.0f texts/s", (step - done) * args.batch / (time.monotonic() - began))
            saved = {
                "net": net.state_dict(),
                "mean": mean.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": step,
            }
            torch.save(saved, checkpoint)
    averaged: Dimensions = mean.module
    return averaged


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


def write(args: argparse.Namespace, data: Path, session: Session) -> None:
    """The narrow network in int8, its ranges those of 500 training texts; batch and length free."""
    net = Dimensions()
    restore(net, torch.load(args.work / "slim.pt", weights_only=True))
    dev = rated(data, "dev", session)
    said, ratings = predict(net, dev), dev.dimensions.numpy()
    net.stretch(said, ratings)
    figures = correlations(said, ratings)
    texts = rated(data, "train", session)
    chosen = torch.arange(0, len(texts.lengths), len(texts.lengths) // 500)
    samples = [
        {"states": x.float().numpy(), "mask": mask.numpy()}
        for x, mask in map(texts.rows, chosen.split(1))
    ]
    lengths = {0: "batch", 1: "length"}
    (args.out / "1").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        single = Path(folder) / "float.onnx"
        torch.onnx.export(
            net,
            (torch.zeros(2, 12, WIDTH), torch.ones(2, 12)),
            str(single),
            input_names=["states", "mask"],
            output_names=["dimensions"],
            dynamic_axes={"states": lengths, "mask": lengths, "dimensions": {0: "batch"}},
            opset_version=20,
            dynamo=False,
        )
        write_int8(single, args.out / "1" / "model.onnx", samples)
    told = parameters("1.4.0", "EmoBank dev", figures) | {"run_tokens": str(RUN_TOKENS)}
    configuration.write(args.out, "text_dimensions", told)
    for name, value in figures.items():
        print(json.dumps({"measure": f"emobank_{name}_r", "value": round(value, 4)}))


def train(args: argparse.Namespace, data: Path, session: Session) -> None:
    """Trains the wide network."""
    kept = args.work / "states.pt"
    if not kept.exists():
        texts = lessons(data, session, args.teacher)
        torch.save((texts.states, texts.lengths, texts.dimensions), kept)
    texts = Texts(*torch.load(kept, weights_only=True, mmap=True))
    torch.manual_seed(args.seed)
    net = Dimensions()
    net.start(torch.load(args.start, weights_only=True))
    net = fit(net, texts, rated(data, "dev", session), args)
    torch.save(net.state_dict(), args.work / "final.pt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("train", "write"))
    parser.add_argument("--start", type=Path, default=Path("build/text/main/final.pt"))
    parser.add_argument("--model", type=Path, default=REPOSITORY / "text_affect")
    parser.add_argument("--teacher", type=Path, default=Path("build/text/teacher"))
    parser.add_argument("--work", type=Path, default=Path("build/text/dimensions"))
    parser.add_argument("--out", type=Path, default=REPOSITORY / "text_dimensions")
    parser.add_argument("--epochs", type=float, default=4.0)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=2e-4)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    data = start(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    {"train": train, "write": write}[args.what](args, data, Session(args.model, "states"))


if __name__ == "__main__":
    main()
