"""Train the teacher of the dimensions, and have it label texts for its student.

    DATA=../shared/data python -m models.training.text.teach train
    DATA=../shared/data python -m models.training.text.teach label

Training resumes after the last whole epoch.
"""

import argparse
import json
import logging
import math
import random
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models.training.text import corpora
from models.training.text.dimensions import loss_of
from models.training.text.examples import batches, collate
from models.training.text.lessons import Labelled, Lessons, to_label
from models.training.text.metrics import correlations
from models.training.text.scores import read
from models.training.text.session import stack
from models.training.text.start import start
from models.training.text.teacher import Teacher, mpnet_folder
from models.training.text.train import losses, minilm_folder, parameter_groups
from services.text.tokens import TokenReader

LOG = logging.getLogger("teach")


def rated_loss(out: Tensor, want: Tensor, spread: Tensor) -> Tensor:
    """The loss of the texts of a batch that have ratings; 0 where they are too few to correlate."""
    known = ~want[:, 0].isnan()
    if int(known.sum()) < 4:
        return out.sum() * 0.0
    return loss_of(out[known].float(), want[known], spread)


def scores(net: Teacher, data: Path, reader: TokenReader) -> dict[str, float]:
    """Correlations on EmoBank dev."""
    rated = list(corpora.emobank(data, "dev"))
    _, rows = read(net, reader, [r.text for r in rated])
    ratings = np.array([r.dimensions for r in rated], np.float32)
    return correlations(stack(rows, "dimensions"), ratings)


def train(args: argparse.Namespace, data: Path, reader: TokenReader) -> None:
    """Trains; saves at the end of each epoch."""
    args.work.mkdir(parents=True, exist_ok=True)
    lessons = Lessons(data, reader, args.seed)
    spread = torch.tensor([r.dimensions for r in corpora.emobank(data, "train")]).std(0)
    net = Teacher()
    net.load_mpnet(mpnet_folder(args.work))
    net.tokens.weight.requires_grad_(False)
    groups = parameter_groups(net, args.rate, args.decay)
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)
    base = [group["lr"] for group in optimizer.param_groups]
    per_epoch = math.ceil(len(lessons.epoch(0)) / args.batch)
    total, step, first = per_epoch * args.epochs, 0, 0
    checkpoint = args.work / "checkpoint.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        net.load_state_dict(saved["net"])
        optimizer.load_state_dict(saved["optimizer"])
        first = saved["epoch"] + 1
        step = per_epoch * first
    for epoch in range(first, args.epochs):
        sums: dict[str, float] = {}
        began, seen = time.monotonic(), 0
        shuffler = random.Random(f"{args.seed}-order-{epoch}")
        for rows in batches(lessons.epoch(epoch), args.batch, shuffler):
            scale = min(1.0, (step + 1) / (0.08 * total)) * (1.0 - step / (1.02 * total))
            for group, rate in zip(optimizer.param_groups, base, strict=True):
                group["lr"] = rate * scale
            net.train()
            batch = collate(rows)
            with torch.autocast("cpu", torch.bfloat16):
                out = net(batch["ids"], batch["cases"])
            parts = losses(out, batch, 1.0)
            parts["dimensions"] = rated_loss(out["dimensions"], batch["dimensions"], spread)
            loss = torch.stack(list(parts.values())).sum()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            seen += len(rows)
            for name, value in parts.items():
                sums[name] = sums.get(name, 0.0) + value.item()
            if step % 25 == 0:
                told = {name: round(value / 25, 3) for name, value in sums.items()}
                speed = seen / (time.monotonic() - began)
                LOG.info("step %d/%d %.1f texts/s %s", step, total, speed, told)
                sums.clear()
        found = {name: round(r, 4) for name, r in scores(net, data, reader).items()}
        LOG.info("epoch %d dev %s", epoch, json.dumps(found))
        saved = {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}
        torch.save(saved, checkpoint)
    torch.save(net.state_dict(), args.work / "final.pt")


def label(args: argparse.Namespace, data: Path, reader: TokenReader) -> None:
    """Writes what the trained teacher says of the texts of `to_label`."""
    net = Teacher()
    net.load_state_dict(torch.load(args.work / "final.pt", weights_only=True))
    texts = to_label(data, args.seed)
    found = []
    for at in range(0, len(texts), 2_000):
        _, rows = read(net, reader, texts[at : at + 2_000])
        found.append(stack(rows, "dimensions"))
        LOG.info("%d of %d texts", at + len(rows), len(texts))
    Labelled(texts, np.concatenate(found)).write(args.work)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("train", "label"))
    parser.add_argument("--work", type=Path, default=Path("build/text/teacher"))
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=6e-5)
    parser.add_argument("--decay", type=float, default=0.9)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    data = start(args.threads)
    torch.manual_seed(args.seed)
    work = train if args.what == "train" else label
    work(args, data, TokenReader(minilm_folder() / "tokenizer.json"))


if __name__ == "__main__":
    main()
