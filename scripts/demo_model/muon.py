"""Muon (Jordan et al. 2024) in float32: momentum, made orthogonal.

`torch.optim.Muon` computes in bfloat16 only, which a processor without such instructions does
twenty times as slowly as float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

A, B, C = 3.4445, -4.7750, 2.0315  # Newton-Schulz coefficients of the paper, as in torch.optim.Muon
STEPS, MOMENTUM = 5, 0.95


def orthogonal(matrix: Tensor) -> Tensor:
    """The matrix with its singular values brought near one."""
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(STEPS):
        gram = x @ x.T
        x = A * x + torch.addmm(gram, gram, gram, beta=B, alpha=C) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


class Muon(torch.optim.Optimizer):
    """For matrices [m, n]; `lr` is scaled so that updates have the size of AdamW's."""

    def __init__(self, params: Iterable[Tensor], lr: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:
        """Update every matrix once."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                mean = self.state[p].setdefault("momentum", torch.zeros_like(p))
                mean.lerp_(p.grad, 1 - MOMENTUM)
                update = orthogonal(p.grad.lerp(mean, MOMENTUM))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update, alpha=-group["lr"] * 0.2 * max(p.shape) ** 0.5)
