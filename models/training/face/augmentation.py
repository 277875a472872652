"""Random changes to a batch of grey crops, so that the net meets what cameras and detectors do."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

GENTLE = 0.4
"""How far a gentle change moves, as a share of a full one."""


def augment(x: Tensor, rng: Generator, gentle: float = 0.0) -> Tensor:
    """A changed copy of ``x`` (float ``[N, 1, S, S]``, 0 to 255), same shape and range.

    The first ``gentle`` of the batch, a share in [0, 1], is only moved, and that a little.
    """
    count = round(gentle * len(x))
    little, x = x[:count], x[count:]
    if count:
        little = _move(little, rng, GENTLE)
    if not len(x):
        return little
    x = _soften(_move(x, rng), rng)
    x = _light(x / 255.0, rng)
    x = _occlude(x, rng)
    noise = torch.randn(x.shape, generator=rng) * _uniform(len(x), 0.0, 0.025, rng)
    return torch.cat([little, (x + noise).clamp(0.0, 1.0) * 255.0])


def _uniform(count: int, low: float, high: float, rng: Generator) -> Tensor:
    return torch.rand(count, 1, 1, 1, generator=rng) * (high - low) + low


def _move(x: Tensor, rng: Generator, strength: float = 1.0) -> Tensor:
    """Mirror, rotate (±20 degrees), scale (0.82 to 1.2), stretch and shift (±10 %), all but the
    mirror by ``strength`` times that."""
    count = len(x)
    angle = _uniform(count, -1, 1, rng).flatten() * math.radians(20) * strength
    zoom = torch.exp(_uniform(count, math.log(0.82), math.log(1.2), rng) * strength).flatten()
    stretch = torch.exp(_uniform(count, -0.06, 0.06, rng) * strength).flatten()
    mirror = torch.where(torch.rand(count, generator=rng) < 0.5, -1.0, 1.0)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0] = torch.cos(angle) * zoom * stretch * mirror
    theta[:, 0, 1] = -torch.sin(angle) * zoom
    theta[:, 1, 0] = torch.sin(angle) * zoom * mirror
    theta[:, 1, 1] = torch.cos(angle) * zoom / stretch
    theta[:, :, 2] = (torch.rand(count, 2, generator=rng) * 0.4 - 0.2) * strength
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)


def _soften(x: Tensor, rng: Generator) -> Tensor:
    """A quarter of the batch at a lower resolution (16 to 40 px), a further sixth blurred."""
    count, size = len(x), x.shape[-1]
    order = torch.randperm(count, generator=rng)
    for rows in order[: count // 4].chunk(4):
        small = int(torch.randint(16, 41, (1,), generator=rng))
        low = F.interpolate(x[rows], (small, small), mode="area")
        x[rows] = F.interpolate(low, (size, size), mode="bilinear", align_corners=False)
    rows = order[count // 4 : count // 4 + count // 6]
    x[rows] = F.avg_pool2d(F.pad(x[rows], (1, 1, 1, 1), mode="reflect"), 3, 1)
    return x


def _light(x: Tensor, rng: Generator) -> Tensor:
    """Gamma, contrast and a ramp of light from a random side."""
    count, size = len(x), x.shape[-1]
    x = x.clamp(1e-3, 1.0) ** torch.exp(_uniform(count, -0.5, 0.5, rng))
    ramp = torch.linspace(-1, 1, size)
    angle = _uniform(count, 0, 2 * math.pi, rng)
    strength = _uniform(count, 0, 0.3, rng)
    side = torch.cos(angle) * ramp.view(1, 1, 1, size) + torch.sin(angle) * ramp.view(1, 1, size, 1)
    return x * (1 + strength * side) * _uniform(count, 0.6, 1.3, rng)


def _occlude(x: Tensor, rng: Generator) -> Tensor:
    """A rectangle of one grey level over three tenths of the batch (random erasing)."""
    size = x.shape[-1]
    for row in torch.nonzero(torch.rand(len(x), generator=rng) < 0.3).flatten().tolist():
        height, width = torch.randint(size // 8, size * 2 // 5, (2,), generator=rng).tolist()
        top = int(torch.randint(0, size - height, (1,), generator=rng))
        left = int(torch.randint(0, size - width, (1,), generator=rng))
        level = float(torch.rand(1, generator=rng))
        x[row, :, top : top + height, left : left + width] = level
    return x
