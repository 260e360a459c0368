"""Activation functions of one number, and how they are written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

FORMULAS = {
    "Relu": "max(x, 0)",
    "Sigmoid": "1 / (1 + exp(-x))",
    "Tanh": "tanh(x)",
    "LeakyRelu": "x where x > 0, else a small share of x",
    "PRelu": "x where x > 0, else a learned share of x",
    "Clip": "x, cut off at a lower and an upper limit",
    "HardSigmoid": "a line between 0 and 1",
    "HardSwish": "x * a line between 0 and 1",
    "SiLU": "x / (1 + exp(-x))",
    "Gelu": "x * P(X <= x), X normally distributed",
    "Elu": "x where x > 0, else exp(x) - 1",
    "Softplus": "log(1 + exp(x))",
    "Mish": "x * tanh(log(1 + exp(x)))",
    "Exp": "exp(x)",
}


def of(op: str, attributes: Mapping[str, Any], x: float) -> float | None:
    """The value of an activation function; None for functions that are not known here."""
    match op:
        case "Relu":
            return max(x, 0.0)
        case "Sigmoid":
            return _sigmoid(x)
        case "Tanh":
            return math.tanh(x)
        case "LeakyRelu":
            return x if x > 0 else x * float(attributes.get("alpha", 0.01))
        case "HardSigmoid":
            return _line(x, float(attributes.get("alpha", 0.2)), float(attributes.get("beta", 0.5)))
        case "HardSwish":
            return x * _line(x, 1 / 6, 0.5)
        case "SiLU":
            return x * _sigmoid(x)
        case "Gelu":
            if attributes.get("approximate") == "tanh":
                return x / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
            return x / 2 * (1 + math.erf(x / math.sqrt(2)))
        case "Elu":
            return x if x > 0 else float(attributes.get("alpha", 1.0)) * math.expm1(x)
        case "Softplus":
            return _softplus(x)
        case "Mish":
            return x * math.tanh(_softplus(x))
    return None


def _line(x: float, alpha: float, beta: float) -> float:
    return min(max(alpha * x + beta, 0.0), 1.0)


def _sigmoid(x: float) -> float:
    if x >= 0:
        return 1 / (1 + math.exp(-x))
    power = math.exp(x)
    return power / (1 + power)


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))
