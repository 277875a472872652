"""Turns logits into probabilities that mean what they say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Calibration:
    """``softmax(logits / temperature + strength * log(natural / sampled class shares))``."""

    temperature: float
    strength: float

    def bias(self, natural: Tensor, sampled: Tensor) -> Tensor:
        """The part of the correction that undoes class-balanced sampling, ``[8]``."""
        return self.strength * (natural.log() - sampled.log())

    def apply(self, logits: Tensor, natural: Tensor, sampled: Tensor) -> Tensor:
        """Probabilities ``[N, 8]``."""
        return F.softmax(logits / self.temperature + self.bias(natural, sampled), dim=1)


def fit(logits: Tensor, truth: Tensor, natural: Tensor, sampled: Tensor) -> Calibration:
    """The two numbers that make the majority votes ``truth [N]`` likeliest."""
    parameters = torch.tensor([0.0, 0.5], requires_grad=True)
    optimiser = torch.optim.LBFGS([parameters], max_iter=200, line_search_fn="strong_wolfe")
    correction = natural.log() - sampled.log()

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = F.cross_entropy(logits * parameters[0].exp() + parameters[1] * correction, truth)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call, arg-type]
    scale, strength = parameters.detach().tolist()
    return Calibration(float(np.exp(-scale)), float(strength))
