"""Turns logits into probabilities that mean what they say."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def fit_temperature(logits: Tensor, truth: Tensor) -> float:
    """The temperature under which the majority votes ``truth [N]`` are likeliest (Guo et al. 2017).

    ``logits`` are ``[N, C]``; probabilities are ``softmax(logits / temperature)``.
    """
    scale = torch.zeros(1, requires_grad=True)
    optimiser = torch.optim.LBFGS([scale], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = F.cross_entropy(logits * scale.exp(), truth)
        loss.backward()
        return loss

    optimiser.step(closure)
    return float((-scale).exp())
