"""Train the expression net on FER+ soft votes.

    python -m models.training.face.train --out RUN [--start WEIGHTS] [--epochs 22] …

Resumable: a run that was stopped goes on from the last whole epoch. One thread, bfloat16 where the
processor has it. ``RUN/last.pt`` holds everything, ``RUN/ema.pt`` the averaged weights that
``models.training.face.export`` turns into the served model.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.training.face import data
from models.training.face.augmentation import augment
from models.training.face.network import ExpressionNet

BATCH = 128
WARMUP_EPOCHS = 1.5
WEIGHT_DECAY = 5e-4
EMA_DECAY = 0.998


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="weights to begin with")
    parser.add_argument("--epochs", type=int, default=22)
    parser.add_argument("--rate", type=float, default=0.1, help="highest learning rate")
    parser.add_argument("--power", type=float, default=0.5, help="see data.class_sampling")
    parser.add_argument("--gentle", type=float, default=0.0, help="see augmentation.augment")
    parser.add_argument("--aligned", type=Path, help="what models.training.face.aligned wrote")
    parser.add_argument("--seed", type=int, default=20)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    train(arguments)


def train(arguments: argparse.Namespace) -> None:
    out, epochs, seed = arguments.out, arguments.epochs, arguments.seed
    torch.manual_seed(seed)
    images, votes = data.load("train")
    aligned = images.copy()
    if arguments.aligned:
        with np.load(arguments.aligned) as archive:
            aligned[archive["rows"]] = archive["crops"]
    kinds = torch.from_numpy(np.stack([images, aligned]))
    targets = torch.from_numpy(votes)
    chances = torch.from_numpy(data.class_sampling(votes, arguments.power)[0])
    net = ExpressionNet().to(memory_format=torch.channels_last)
    if arguments.start:
        net.load_state_dict(torch.load(arguments.start, weights_only=True))
    average = copy.deepcopy(net).eval()
    decayed = [p for p in net.parameters() if p.ndim > 1]
    plain = [p for p in net.parameters() if p.ndim <= 1]
    optimiser = torch.optim.SGD(
        [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": plain}],
        lr=arguments.rate,
        momentum=0.9,
        nesterov=True,
    )
    first = 0
    checkpoint = out / "last.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        net.load_state_dict(saved["net"])
        average.load_state_dict(saved["average"])
        optimiser.load_state_dict(saved["optimiser"])
        first = saved["epoch"]
    steps = len(images) // BATCH
    for epoch in range(first, epochs):
        rng = torch.Generator().manual_seed(seed * 1000 + epoch)
        rows = torch.multinomial(chances, steps * BATCH, replacement=True, generator=rng)
        started, total = time.perf_counter(), 0.0
        net.train()
        for step in range(steps):
            for group in optimiser.param_groups:
                group["lr"] = arguments.rate * _rate(epoch + step / steps, epochs)
            chosen = rows[step * BATCH : (step + 1) * BATCH]
            kind = torch.randint(2, chosen.shape, generator=rng) if arguments.aligned else 0
            x = augment(kinds[kind, chosen].float().unsqueeze(1), rng, arguments.gentle)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logits = net(x.to(memory_format=torch.channels_last))
            loss = F.cross_entropy(logits.float(), targets[chosen])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            total += float(loss.detach())
            done = epoch * steps + step
            _follow(average, net, min(EMA_DECAY, (1 + done) / (10 + done)))
        row = {"epoch": epoch + 1, "loss": round(total / steps, 4), **score(average)}
        row["seconds"] = round(time.perf_counter() - started)
        print(json.dumps(row), flush=True)
        torch.save(
            {
                "net": net.state_dict(),
                "average": average.state_dict(),
                "optimiser": optimiser.state_dict(),
                "epoch": epoch + 1,
            },
            out / "last.tmp",
        )
        (out / "last.tmp").rename(checkpoint)
        torch.save(average.state_dict(), out / "ema.pt")


def _rate(epoch: float, epochs: int) -> float:
    """Share of the highest rate: linear warm-up, then half a cosine down to zero."""
    if epoch < WARMUP_EPOCHS:
        return (epoch + 0.02) / WARMUP_EPOCHS
    progress = (epoch - WARMUP_EPOCHS) / (epochs - WARMUP_EPOCHS)
    return 0.5 * (1 + math.cos(math.pi * progress))


@torch.no_grad()
def _follow(average: ExpressionNet, net: ExpressionNet, decay: float) -> None:
    for slow, fast in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
        if slow.is_floating_point():
            slow.lerp_(fast, 1 - decay)
        else:
            slow.copy_(fast)


@torch.no_grad()
def logits_of(net: ExpressionNet, images: data.Images) -> Tensor:
    """Mean logits of each crop and its mirror image, ``[N, 8]``."""
    net.eval()
    parts = []
    for start in range(0, len(images), 256):
        x = torch.from_numpy(images[start : start + 256]).float().unsqueeze(1)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            parts.append(((net(x) + net(x.flip(3))) / 2).float())
    return torch.cat(parts)


def score(net: ExpressionNet) -> dict[str, float]:
    """Accuracy and balanced accuracy against the majority vote of the valid split."""
    images, votes = data.load("valid")
    truth = votes.argmax(1)
    guess = logits_of(net, images).argmax(1).numpy()
    recalls = [float((guess[truth == c] == c).mean()) for c in np.unique(truth)]
    return {
        "accuracy": round(float((guess == truth).mean()), 4),
        "balanced": round(float(np.mean(recalls)), 4),
    }


if __name__ == "__main__":
    main()
