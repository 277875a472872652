"""Narrow the feed-forward blocks of the finished models.

    DATA=../shared/data python -m models.training.text.slim --name main

Most of a run's time goes into these blocks. Layer by layer, numbers in their middle that the others
can stand in for are taken out (optimal brain surgeon, Hassibi and Stork 1993, for columns). Then
the second matrix is fitted anew by least squares, so that the layer's sum before its last norm is
that of the wide model, whatever the narrow layers before it have changed. Nothing is trained by
gradient. The dimensions model is fitted to EmoBank's training texts besides; the text model never
sees them.
"""

import argparse
import logging
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from models.training.text import corpora
from models.training.text.dimensions import Dimensions
from models.training.text.examples import Example, batches, collate
from models.training.text.network import AffectNet, Layer, padding_bias
from models.training.text.schema import REPOSITORY, STATE_DEPTH, WIDTH
from models.training.text.start import start
from models.training.text.templates import Templates
from services.text.tokens import TokenReader

LOG = logging.getLogger("slim")
SHARED, TEXT, DIMENSIONS = 1408, 1280, 1024
"""Numbers in the middle of a block, of 1,536: below the states that both models read, and above
them in either. Below, what is lost shows in the dimensions, whose texts the text model must not be
fitted to; in the text model it shows in aspect terms.
"""
COMMENTS, REVIEWS, ENTITIES, TWEETS, MADE, RATED = 3_000, 1_500, 1_000, 500, 500, 4_000
"""How many texts of each corpus are fitted to, as far as it has them."""
_AT_ONCE = 32
"""Numbers taken out between two looks at which are the least missed."""
_DAMPING = 1e-3
"""Of the mean square of the numbers, added to all of them."""


@dataclass(slots=True)
class Run:
    """A batch on its way through the wide and the narrow model: token states [B T, 384], what is
    added to the scores of attention, and which tokens are no padding."""

    wide: Tensor
    narrow: Tensor
    bias: Tensor
    real: Tensor


def runs(net: AffectNet, examples: Sequence[Example]) -> list[Run]:
    """The texts before the first layer."""
    found = []
    for rows in batches(examples, 64, random.Random(0)):
        batch = collate(rows)
        mask = (batch["ids"] != 0).float()
        x = net.embed(batch["ids"], batch["cases"]).view(-1, WIDTH)
        found.append(Run(x, x, padding_bias(mask), mask.flatten() > 0))
    return found


def narrow(layer: Layer, texts: Sequence[Run], inner: int) -> Layer:
    """The layer with `inner` numbers in the middle of its block; takes the runs past it."""
    wide = layer.up.out_features
    squares = torch.zeros(wide + 1, wide + 1, dtype=torch.float64)
    wanted = torch.zeros(wide + 1, WIDTH, dtype=torch.float64)
    sums = []
    for run in texts:
        theirs, ours = (layer.mixed(x, run.bias) for x in (run.wide, run.narrow))
        whole = theirs + layer.down(F.gelu(layer.up(theirs)))
        real = F.pad(F.gelu(layer.up(ours)), (0, 1), value=1.0)[run.real]
        squares += (real.T @ real).double()
        wanted += (real.T @ (whole - ours)[run.real]).double()
        sums.append((ours, whole))
    squares.diagonal()[:-1].add_(_DAMPING * squares.diagonal()[:-1].mean())
    left = _least_missed(squares, layer.down.weight.detach().double(), inner)
    with_bias = torch.cat((left, torch.tensor([wide])))
    solved = torch.linalg.solve(squares[with_bias][:, with_bias], wanted[with_bias]).float()
    made = Layer(WIDTH, layer.heads, inner, layer.dropout.p)
    made.load_state_dict(
        layer.state_dict()
        | {
            "up.weight": layer.up.weight[left],
            "up.bias": layer.up.bias[left],
            "down.weight": solved[:-1].T,
            "down.bias": solved[-1],
        }
    )
    off = total = 0.0
    for run, (ours, whole) in zip(texts, sums, strict=True):
        run.wide = layer.down_norm(whole)
        run.narrow = made.down_norm(ours + made.down(F.gelu(made.up(ours))))
        off += float((run.wide - run.narrow)[run.real].square().sum())
        total += float(run.wide[run.real].square().sum())
    LOG.info("%d of %d numbers left, states off by %.2f %%", inner, wide, 100 * off / total)
    made.eval()
    return made


def _least_missed(squares: Tensor, down: Tensor, inner: int) -> Tensor:
    """Which numbers stay, after those have gone that change the product least once the others have
    taken over; squares [wide + 1, wide + 1] of the numbers and of a last one that is 1."""
    left = torch.arange(down.shape[1])
    while surplus := len(left) - inner:
        all_left = torch.cat((left, torch.tensor([len(squares) - 1])))
        inverse = torch.linalg.inv(squares[all_left][:, all_left])[:-1, :-1]
        missed = down.square().sum(0) / inverse.diagonal()
        count = min(_AT_ONCE, surplus)
        out, kept = missed.argsort().split((count, len(left) - count))
        kept = kept.sort().values
        part = torch.linalg.solve(inverse[out][:, out], inverse[out][:, kept])
        down = down[:, kept] - down[:, out] @ part
        left = left[kept]
    return left


def texts(data: Path, seed: int) -> Iterator[str]:
    """What the text model is fitted to, of its training texts."""
    rng = random.Random(seed)
    templates = Templates()
    made = [templates.make(rng).text for _ in range(MADE)]
    parts = (
        (corpora.comments(data), COMMENTS),
        ([record.text for record in corpora.mams(data, "train")], REVIEWS),
        ([record.text for record in corpora.wnut(data, "wnut17train")], ENTITIES),
        ([record.text for record, _ in corpora.isarcasm_kept(data)], TWEETS),
        (made, MADE),
    )
    for part, count in parts:
        yield from rng.sample(part, count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/text"))
    parser.add_argument("--name", default="main")
    parser.add_argument("--shared", type=int, default=SHARED)
    parser.add_argument("--text", type=int, default=TEXT)
    parser.add_argument("--dimensions", type=int, default=DIMENSIONS)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    data = start(args.threads)
    reader = TokenReader(REPOSITORY / "text_affect" / "tokenizer.json")

    def read(some: Iterable[str]) -> list[Example]:
        return [Example(t.ids, t.cases) for t in reader.read_all(list(some)) if len(t)]

    affect, dimensions = AffectNet().eval(), Dimensions().eval()
    affect.load_state_dict(torch.load(args.work / args.name / "final.pt", weights_only=True))
    dimensions.load_state_dict(torch.load(args.work / "dimensions" / "final.pt", weights_only=True))
    with torch.inference_mode():
        ours = runs(affect, read(texts(data, args.seed)))
        rated = [record.text for record in corpora.emobank(data, "train")]
        theirs = runs(affect, read(random.Random(args.seed).sample(rated, RATED)))
        for i, layer in enumerate(affect.layers[:STATE_DEPTH]):
            affect.layers[i] = narrow(layer, ours, args.shared)
            for run in theirs:
                run.wide = layer(run.wide, run.bias)
                run.narrow = affect.layers[i](run.narrow, run.bias)
        both = [replace(run) for run in ours] + theirs
        for i, layer in enumerate(affect.layers[STATE_DEPTH:], STATE_DEPTH):
            affect.layers[i] = narrow(layer, ours, args.text)
        for i, layer in enumerate(dimensions.layers):
            dimensions.layers[i] = narrow(layer, both, args.dimensions)
    torch.save(affect.state_dict(), args.work / args.name / "slim.pt")
    torch.save(dimensions.state_dict(), args.work / "dimensions" / "slim.pt")


if __name__ == "__main__":
    main()
