"""Train the dimensions model on EmoBank: valence, arousal and dominance from the text embedding.

    DATA=../shared/data python -m models.training.text.dimensions

With `--teacher build/text/teacher/dimensions` it also learns what the teacher (teach.py) says of
further texts. EmoBank is CC BY-SA 4.0, so these weights are a model of their own under that
licence; the text model never sees EmoBank. Reads the exported text model; writes text_dimensions
beside it.
"""

import argparse
import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.training import configuration
from models.training.text import corpora
from models.training.text.lessons import Labelled
from models.training.text.metrics import correlations
from models.training.text.schema import EMBEDDING, REPOSITORY
from models.training.text.session import Session, stack

Floats = NDArray[np.float32]
NAMES = ("valence", "arousal", "dominance")
MEMBERS = 4
HIDDEN = 128


class Member(nn.Module):
    """One small network over the standardised embedding."""

    def __init__(self, width: int, dropout: float = 0.3) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(width, HIDDEN),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(HIDDEN, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return out


class Dimensions(nn.Module):
    """Mean of several members, stretched to the spread of the ratings, in [-1, 1]."""

    def __init__(self, mean: Tensor, scale: Tensor, members: Iterable[Member]) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)
        self.register_buffer("gain", torch.ones(3))
        self.register_buffer("offset", torch.zeros(3))
        self.members = nn.ModuleList(members)

    def forward(self, embedding: Tensor) -> Tensor:
        x = (embedding - self.get_buffer("mean")) / self.get_buffer("scale")
        out = torch.stack([member(x) for member in self.members]).mean(0)
        return (out * self.get_buffer("gain") + self.get_buffer("offset")).clamp(-1.0, 1.0)


def fit(member: Member, x: Tensor, y: Tensor, seed: int, epochs: int = 30) -> None:
    """Train a member to agree with the ratings: squared error and correlation of each batch."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(member.parameters(), lr=1e-3, weight_decay=0.05)
    steps = epochs * (len(x) // 256)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps)
    spread = y.std(0)
    member.train()
    for _ in range(epochs):
        order = torch.randperm(len(x), generator=generator)
        for at in range(0, len(x) - 255, 256):
            rows = order[at : at + 256]
            out, want = member(x[rows]), y[rows]
            error = (((out - want) / spread) ** 2).mean()
            a, b = out - out.mean(0), want - want.mean(0)
            agreement = (a * b).sum(0) / (a.norm(dim=0) * b.norm(dim=0) + 1e-6)
            loss = error + (1.0 - agreement).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    member.eval()


def read(data: Path, session: Session, split: str) -> tuple[Floats, Floats]:
    """Embeddings [N, 3072] and ratings [N, 3] in [-1, 1] of a split of EmoBank."""
    records = list(corpora.emobank(data, split))
    _, rows = session.read([r.text for r in records])
    ratings = np.array([r.dimensions for r in records], np.float32)
    return stack(rows, "embedding"), ratings


def taught(folder: Path, session: Session) -> tuple[Floats, Floats]:
    """Embeddings [N, 3072] of the texts a teacher has labelled, and its dimensions [N, 3]."""
    labels = Labelled.read(folder)
    embeddings = []
    for at in range(0, len(labels.texts), 2_000):
        _, rows = session.read(labels.texts[at : at + 2_000])
        embeddings.append(stack(rows, "embedding"))
    return np.concatenate(embeddings), labels.outputs["dimensions"]


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
    parser.add_argument("--out", type=Path, default=REPOSITORY / "text_dimensions")
    parser.add_argument("--teacher", type=Path, help="folder of a teacher's labels")
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    data = Path(os.environ.get("DATA", "../shared/data"))
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    session = Session(args.model)
    x_train, y_train = read(data, session, "train")
    x_dev, y_dev = read(data, session, "dev")
    if args.teacher:
        x_more, y_more = taught(args.teacher, session)
        x_train, y_train = np.concatenate((x_train, x_more)), np.concatenate((y_train, y_more))
    x, y = torch.from_numpy(x_train), torch.from_numpy(y_train)
    members = [Member(EMBEDDING, dropout=0.4) for _ in range(MEMBERS)]
    net = Dimensions(x.mean(0), x.std(0) + 1e-3, members)
    inputs = (x - net.get_buffer("mean")) / net.get_buffer("scale")
    for i, member in enumerate(members):
        fit(member, inputs, y, args.seed + i, epochs=20)
    net.eval()
    with torch.inference_mode():
        first = net(torch.from_numpy(x_dev)).numpy()
    gain = y_dev.std(0) / first.std(0)
    net.get_buffer("gain").copy_(torch.from_numpy(gain))
    net.get_buffer("offset").copy_(torch.from_numpy(y_dev.mean(0) - first.mean(0) * gain))
    figures = correlations(first, y_dev)
    (args.out / "1").mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        net,
        (torch.zeros(2, EMBEDDING),),
        str(args.out / "1" / "model.onnx"),
        input_names=["embedding"],
        output_names=["dimensions"],
        dynamic_axes={"embedding": {0: "batch"}, "dimensions": {0: "batch"}},
        opset_version=17,
        dynamo=False,
    )
    configuration.write(args.out, "text_dimensions", parameters("1.1.0", "EmoBank dev", figures))
    for name, value in figures.items():
        print(json.dumps({"measure": f"emobank_{name}_r", "value": round(value, 4)}))


if __name__ == "__main__":
    main()
