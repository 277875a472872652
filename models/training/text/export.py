"""Write the trained network as one int8 ONNX file with its tokenizer, beside config.pbtxt.

    DATA=../shared/data python -m models.training.text.export --work build/text --name main

The layers are quantised, the heads stay in float (int8.py). calibrate.py must run next: it fits on
the very file written here.
"""

import argparse
import copy
import json
import logging
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from models.training.text import corpora
from models.training.text.int8 import Inputs, write_int8
from models.training.text.network import AffectNet, restore
from models.training.text.schema import CLS, MAX_TOKENS, REPOSITORY, SEP
from models.training.text.train import minilm_folder
from services.text.tokens import TokenReader

OUTPUTS = (
    "emotions", "sentiment", "subjectivity", "sarcasm", "aspect_tags", "aspect_polarity",
    "entity_tags", "states",
)  # fmt: skip
TOKEN_OUTPUTS = ("aspect_tags", "aspect_polarity", "entity_tags", "states")


class _Table(torch.nn.Module):
    """Token embeddings in eight bits, in steps between the least and the greatest number."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.least = float(weight.min())
        self.step = float(weight.max() - weight.min()) / 255.0
        steps = ((weight - self.least) / self.step).round().to(torch.uint8)
        self.register_buffer("steps", steps)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.get_buffer("steps")[ids].float() * self.step + self.least


class _Flat(torch.nn.Module):
    """The network with its tokens in eight bits and its outputs as a tuple, for the exporter."""

    def __init__(self, net: AffectNet) -> None:
        super().__init__()
        self.net = copy.deepcopy(net)
        self.net.add_module("tokens", _Table(net.tokens.weight.detach()))

    def forward(self, ids: torch.Tensor, cases: torch.Tensor) -> tuple[torch.Tensor, ...]:
        out = self.net(ids, cases)
        for name in ("subjectivity", "sarcasm"):
            out[name] = out[name].unsqueeze(-1)
        return tuple(out[name] for name in OUTPUTS)


def write_float(net: AffectNet, path: Path) -> None:
    """The network in float32, opset 20, batch and length free."""
    axes = {name: {0: "batch"} for name in OUTPUTS}
    for name in ("ids", "cases", *TOKEN_OUTPUTS):
        axes[name] = {0: "batch", 1: "length"}
    ids = torch.randint(1000, 20000, (2, 12))
    torch.onnx.export(
        _Flat(net),
        (ids, torch.zeros_like(ids)),
        str(path),
        input_names=["ids", "cases"],
        output_names=list(OUTPUTS),
        dynamic_axes=axes,
        opset_version=20,
        dynamo=False,
    )


def text_inputs(data: Path, reader: TokenReader) -> Iterator[Inputs]:
    """Training texts, one at a time."""
    corpus = (
        (corpora.goemotions(data, "train"), 250),
        (corpora.mams(data, "train"), 100),
        (corpora.wnut(data, "wnut17train"), 100),
        ((record for record, _ in corpora.isarcasm(data)), 50),
    )
    texts = [record.text for records, count in corpus for record in islice(records, count)]
    for tokens in filter(len, reader.read_all(texts)):
        ids = [CLS, *tokens.ids[:MAX_TOKENS], SEP]
        cases = [0, *tokens.cases[:MAX_TOKENS], 0]
        yield {"ids": np.array([ids]), "cases": np.array([cases])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/text"))
    parser.add_argument("--name", default="main")
    parser.add_argument("--weights", default="slim.pt", help="final.pt for the wide network")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "text_affect")
    args = parser.parse_args()
    logging.disable(logging.INFO)
    net = AffectNet()
    restore(net, torch.load(args.work / args.name / args.weights, weights_only=True))
    (args.out / "1").mkdir(parents=True, exist_ok=True)
    single = args.work / args.name / "float.onnx"
    write_float(net, single)
    data = Path(os.environ.get("DATA", "../shared/data"))
    samples = list(text_inputs(data, TokenReader(minilm_folder() / "tokenizer.json")))
    write_int8(single, args.out / "1" / "model.onnx", samples)
    tokenizer = json.loads((minilm_folder() / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["truncation"] = tokenizer["padding"] = None
    (args.out / "tokenizer.json").write_text(
        json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":")), encoding="utf-8"
    )
    size = (args.out / "1" / "model.onnx").stat().st_size
    print(json.dumps({"float_mb": single.stat().st_size / 1e6, "int8_mb": size / 1e6}))


if __name__ == "__main__":
    main()
