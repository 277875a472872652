"""Refit the sarcasm head on the finished encoder.

    DATA=../shared/data python -m models.training.text.sarcasm --work build/text --name main

iSarcasmEval holds nothing but tweets, a quarter of them sarcastic: a head trained on it alone takes
plain praise for sarcasm. Here it also sees made sentences, which are sincere by construction, and
GoEmotions comments, nearly all sincere, at a low weight. Only the head's own weights change.
"""

import argparse
import json
import os
import random
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from models.training.text import corpora
from models.training.text.examples import Example, collate
from models.training.text.metrics import tuned_f1
from models.training.text.network import AffectNet
from models.training.text.templates import Templates
from models.training.text.train import minilm_folder
from services.text.model import sigmoid
from services.text.tokens import TokenReader

MADE, COMMENTS = 2000, 2500
WEIGHTS = {"tweet": 1.0, "made": 0.5, "comment": 0.25}


def states(net: AffectNet, reader: TokenReader, texts: list[str]) -> list[Tensor]:
    """Last token states of each text, [tokens + 2, 384] in bfloat16."""
    tokens = reader.read_all(texts)
    order = sorted(range(len(texts)), key=lambda i: len(tokens[i]))
    found: list[Tensor] = [torch.empty(0)] * len(texts)
    for at in range(0, len(order), 64):
        part = order[at : at + 64]
        batch = collate([Example(tokens[i].ids, tokens[i].cases) for i in part])
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            depths, mask = net.encode(batch["ids"], batch["cases"])
        for row, i in enumerate(part):
            found[i] = depths[-1][row, : int(mask[row].sum())].to(torch.bfloat16).clone()
    return found


def padded(rows: list[Tensor]) -> tuple[Tensor, Tensor]:
    """States and mask of a batch."""
    x = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).float()
    lengths = torch.tensor([len(row) for row in rows])
    return x, (torch.arange(x.shape[1])[None] < lengths[:, None]).float()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/text"))
    parser.add_argument("--name", default="main")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    rng = random.Random(args.seed)
    data = Path(os.environ.get("DATA", "../shared/data"))
    reader = TokenReader(minilm_folder() / "tokenizer.json")
    net = AffectNet(dropout=0.2)
    net.load_state_dict(torch.load(args.work / args.name / "best.pt", weights_only=True))
    net.eval()

    texts: list[tuple[str, float, float]] = []
    for record, rephrase in corpora.isarcasm_kept(data):
        texts.append((record.text, float(record.sarcasm or 0), WEIGHTS["tweet"]))
        if rephrase is not None:
            texts.append((rephrase.text, 0.0, WEIGHTS["tweet"]))
    templates = Templates()
    texts += [(templates.make(rng).text, 0.0, WEIGHTS["made"]) for _ in range(MADE)]
    comments = rng.sample(list(corpora.goemotions(data, "train")), COMMENTS)
    texts += [(record.text, 0.0, WEIGHTS["comment"]) for record in comments]
    x = states(net, reader, [text for text, _, _ in texts])
    target = torch.tensor([label for _, label, _ in texts])
    weight = torch.tensor([w for _, _, w in texts])

    held = corpora.isarcasm_held_out(data)
    held_x = states(net, reader, [r.text for r in held])
    held_y = np.array([[r.sarcasm or 0] for r in held], np.float32)
    head = [*net.sarcasm.parameters(), *net.sarcasm_pool.parameters()]
    optimizer = torch.optim.AdamW(head, lr=1e-3, weight_decay=0.05)
    total = args.epochs * (len(x) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=total)
    for epoch in range(args.epochs):
        net.head_dropout.train()
        order = list(range(len(x)))
        rng.shuffle(order)
        for at in range(0, len(order) - 63, 64):
            rows = order[at : at + 64]
            logits = net.sarcastic(*padded([x[i] for i in rows]))
            each = F.binary_cross_entropy_with_logits(logits, target[rows], reduction="none")
            loss = (each * weight[rows]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        net.eval()
        with torch.inference_mode():
            score = sigmoid(net.sarcastic(*padded(held_x)).numpy())
        print(json.dumps({"epoch": epoch, "held_out_f1": tuned_f1(score[:, None], held_y)}))
    torch.save(net.state_dict(), args.work / args.name / "final.pt")


if __name__ == "__main__":
    main()
