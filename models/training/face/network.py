"""The expression network: a small residual net over grey 48 x 48 face crops."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LABELS = (
    "neutral",
    "happiness",
    "surprise",
    "sadness",
    "anger",
    "disgust",
    "fear",
    "contempt",
)
SIZE = 48


class Block(nn.Module):
    """Basic residual block (He et al. 2016): two 3 x 3 convolutions and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class ExpressionNet(nn.Module):
    """Logits over ``LABELS`` for grey crops.

    Input: float ``[N, 1, 48, 48]``, grey levels 0 to 255. Each crop is standardised to mean 0 and
    variance 1 first, so overall brightness and contrast do not matter. Output: ``[N, 8]``.
    """

    def __init__(self, dropout: float = 0.3) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(1, 16, 3, 1, 1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
        ]
        width = 16
        for outputs, count in ((32, 2), (64, 2), (128, 2), (256, 1)):
            for index in range(count):
                layers.append(Block(width, outputs, 2 if index == 0 else 1))
                width = outputs
        self.features = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, len(LABELS))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(dim=(1, 2, 3), keepdim=True)
        centred = x - mean
        deviation = (centred * centred).mean(dim=(1, 2, 3), keepdim=True).sqrt()
        features = self.features(centred / (deviation + 4.0))
        logits: Tensor = self.head(self.dropout(features.mean(dim=(2, 3))))
        return logits


class ServedNet(nn.Module):
    """What is exported: mean of the nets on the crop and its mirror image, then calibrated
    probabilities.

    ``softmax(mean logits / temperature)``; the temperature comes from
    :func:`models.training.face.calibration.fit_temperature`.
    """

    def __init__(self, nets: Sequence[ExpressionNet], temperature: float) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)
        self.temperature = temperature

    def forward(self, x: Tensor) -> Tensor:
        both = torch.cat([x, x.flip(3)])
        logits = torch.stack([net(both) for net in self.nets]).mean(0)
        mean = logits.reshape(2, -1, len(LABELS)).mean(0)
        return F.softmax(mean / self.temperature, dim=1)
