"""The multilingual dimensions model: small networks over the embedding of a text."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from models.training.text.dimensions import loss_of

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
            loss = loss_of(member(x[rows]), y[rows], spread)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    member.eval()
