"""Lion: every weight moves by the same length at each step, only the direction is the gradients'.

After Chen et al.: Symbolic discovery of optimization algorithms (2023). PyTorch has none. Since the sign of a momentum
is longer than Adam's steps, the paper takes a learning rate 3 to 10 times smaller, and a weight decay as many times
larger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

_BETAS = (0.9, 0.99)  # of the momentum that moves, and of the one that is kept


class Lion(torch.optim.Optimizer):
    """`weight_decay` is decoupled, as AdamW's: a step shrinks a weight by `lr * weight_decay` of itself."""

    def __init__(self, params: Iterable[dict[str, Any]], lr: float, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "betas": _BETAS})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Moves all parameters that have a gradient. A closure is not called."""
        del closure
        for group in self.param_groups:
            step_beta, momentum_beta = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                momentum = state["momentum"]
                direction = momentum.lerp(parameter.grad, 1 - step_beta).sign_()
                parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(direction, alpha=-group["lr"])
                momentum.lerp_(parameter.grad, 1 - momentum_beta)
