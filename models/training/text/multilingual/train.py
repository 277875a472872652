"""Fit the heads of the multilingual model on English texts and write the whole model.

    DATA=../shared/data python -m models.training.text.multilingual.train --work build/multilingual

Needs WORK/trunk (see trunk.py). Labels are made as for the English model. The dimensions model,
fitted on EmoBank (CC BY-SA 4.0), is a file of its own. Embeddings are kept in WORK, so that a run
that is stopped goes on from there.
"""

import argparse
import json
import os
import random
import shutil
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor

from models.training import configuration
from models.training.text import corpora, templates
from models.training.text.dimensions import parameters
from models.training.text.examples import subjectivity_of
from models.training.text.metrics import Floats, correlations, tuned_f1
from models.training.text.multilingual.dimensions import Dimensions, Member, fit
from models.training.text.multilingual.features import features
from models.training.text.multilingual.network import Heads
from models.training.text.schema import (
    EMOTIONS,
    MULTILINGUAL_EMBEDDING,
    REPOSITORY,
    direction_of,
    polarity_of,
)
from models.training.text.train import losses
from services.text.model import MULTILINGUAL, sigmoid

EPOCHS = 12
BATCH = 128
MEMBERS = 5


def targets(
    comments: list[corpora.Record], made: list[templates.Made], lexicon: dict[str, float]
) -> dict[str, Tensor]:
    """Targets of comments and made sentences, in the form that `losses` takes."""
    emotions = np.zeros((len(comments) + len(made), EMOTIONS), np.float32)
    for i, one in enumerate(comments):
        emotions[i, list(one.emotions or ())] = 1.0
    polarity = [polarity_of(one.emotions or ()) for one in comments]
    opinion = [subjectivity_of(one.emotions or (), one.text, lexicon) for one in comments]
    nothing = torch.full((len(emotions),), torch.nan)
    return {
        "emotions": torch.from_numpy(emotions),
        "has_emotions": torch.tensor([1.0] * len(comments) + [0.0] * len(made)),
        "polarity": torch.tensor([*polarity, *(one.polarity for one in made)]),
        "polarity_weight": torch.ones(len(emotions)),
        "subjectivity": torch.tensor([*opinion, *(one.subjectivity for one in made)]),
        "sarcasm": nothing,
    }


def train(x: Tensor, wanted: dict[str, Tensor], seed: int) -> Heads:
    """Heads fitted to embeddings [N, 1152]."""
    torch.manual_seed(seed)
    heads = Heads(x.mean(0), x.std(0) + 1e-3)
    linear = list(heads.sentiment.parameters())
    deep = [p for name, p in heads.named_parameters() if not name.startswith("sentiment")]
    groups = [{"params": linear, "weight_decay": 0.3}, {"params": deep, "weight_decay": 0.02}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3)
    steps = EPOCHS * (len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps)
    none = torch.full((BATCH, 1), -100)
    for _ in range(EPOCHS):
        order = torch.randperm(len(x))
        for at in range(0, len(x) - BATCH + 1, BATCH):
            rows = order[at : at + BATCH]
            emotions, sentiment, subjectivity = heads(x[rows])
            out = {
                "emotions": emotions,
                "sentiment": sentiment,
                "subjectivity": subjectivity.squeeze(-1),
            }
            batch = {name: target[rows] for name, target in wanted.items()}
            batch |= dict.fromkeys(("aspect_tags", "aspect_polarity", "entity_tags"), none)
            loss = torch.stack(list(losses(out, batch, 1.0).values())).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    heads.eval()
    return heads


def write(heads: Heads, work: Path, out: Path) -> None:
    """The trunk with the heads above it, and the tokenizer."""
    path = work / "heads.onnx"
    names = ["emotions", "sentiment", "subjectivity"]
    torch.onnx.export(
        heads,
        (torch.zeros(2, MULTILINGUAL_EMBEDDING),),
        str(path),
        input_names=["embedding"],
        output_names=names,
        dynamic_axes={name: {0: "batch"} for name in ("embedding", *names)},
        opset_version=20,
        dynamo=False,
    )
    trunk, upper = onnx.load(str(work / "trunk" / "1" / "model.onnx")), onnx.load(str(path))
    upper.ir_version = trunk.ir_version
    upper.opset_import[0].CopyFrom(trunk.opset_import[0])
    upper = onnx.compose.add_prefix(upper, "heads/", rename_inputs=False, rename_outputs=False)
    upper.graph.input[0].name = "read"
    for node in upper.graph.node:
        for i, name in enumerate(node.input):
            if name == "embedding":
                node.input[i] = "read"
    whole = onnx.compose.merge_models(
        trunk, upper, [("embedding", "read")], outputs=[*names, "embedding"]
    )
    onnx.checker.check_model(whole)
    (out / "1").mkdir(parents=True, exist_ok=True)
    onnx.save(whole, str(out / "1" / "model.onnx"))
    shutil.copyfile(work / "trunk" / "tokenizer.json", out / "tokenizer.json")


def dimensions(data: Path, work: Path, seed: int) -> tuple[Dimensions, dict[str, float]]:
    """The dimensions model, and its correlations with EmoBank's development split."""
    splits = []
    for split in ("train", "dev"):
        records = list(corpora.emobank(data, split))
        ratings = np.array([r.dimensions for r in records], np.float32)
        splits.append((features(work / "trunk", [r.text for r in records]), ratings))
    (x_train, y_train), (x_dev, y_dev) = splits
    x = torch.from_numpy(x_train)
    members = [Member(MULTILINGUAL_EMBEDDING) for _ in range(MEMBERS)]
    net = Dimensions(x.mean(0), x.std(0) + 1e-3, members)
    inputs = (x - net.get_buffer("mean")) / net.get_buffer("scale")
    for i, member in enumerate(members):
        fit(member, inputs, torch.from_numpy(y_train), seed + i)
    net.eval()
    with torch.inference_mode():
        first: Floats = net(torch.from_numpy(x_dev)).numpy()
    gain = y_dev.std(0) / first.std(0)
    net.get_buffer("gain").copy_(torch.from_numpy(gain))
    net.get_buffer("offset").copy_(torch.from_numpy(y_dev.mean(0) - first.mean(0) * gain))
    return net, correlations(first, y_dev)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/multilingual"))
    parser.add_argument("--out", type=Path, default=REPOSITORY)
    parser.add_argument("--comments", type=int, default=43_410, help="of GoEmotions, at random")
    parser.add_argument("--made", type=int, default=4_000)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    data = Path(os.environ.get("DATA", "../shared/data"))
    rng = random.Random(args.seed)
    comments = list(corpora.goemotions(data, "train"))
    rng.shuffle(comments)
    comments = comments[: args.comments]
    source = templates.Templates()
    made = [source.make(rng) for _ in range(args.made)]
    read = [corpora.with_names(one.text, one.text) for one in comments]
    trunk = args.work / "trunk"
    x = np.concatenate((features(trunk, read), features(trunk, [one.text for one in made])))
    wanted = targets(comments, made, templates.subjectivity_words())
    heads = train(torch.from_numpy(x), wanted, args.seed)
    write(heads, args.work, args.out / MULTILINGUAL.affect)
    dev = list(corpora.goemotions(data, "dev"))
    with torch.inference_mode():
        emotions, sentiment, _ = heads(torch.from_numpy(features(trunk, [one.text for one in dev])))
    truth = np.zeros((len(dev), EMOTIONS), np.float32)
    for i, one in enumerate(dev):
        truth[i, list(one.emotions or ())] = 1.0
    found = np.sign(sentiment.numpy().argmax(-1) - 2) + 1
    right = found == np.array([direction_of(polarity_of(one.emotions or ())) for one in dev])
    print(json.dumps({"goemotions_macro_f1": tuned_f1(sigmoid(emotions.numpy()), truth)}))
    print(json.dumps({"goemotions_direction": float(right.mean())}))
    net, figures = dimensions(data, args.work, args.seed)
    print(json.dumps(figures))
    folder = args.out / MULTILINGUAL.dimensions
    (folder / "1").mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        net,
        (torch.zeros(2, MULTILINGUAL_EMBEDDING),),
        str(folder / "1" / "model.onnx"),
        input_names=["embedding"],
        output_names=["dimensions"],
        dynamic_axes={"embedding": {0: "batch"}, "dimensions": {0: "batch"}},
        opset_version=17,
        dynamo=False,
    )
    told = parameters("1.2.0", "EmoBank dev (English)", figures)
    configuration.write(folder, MULTILINGUAL.dimensions, told)


if __name__ == "__main__":
    main()
