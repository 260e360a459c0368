"""Which activation turns the original's outputs into probabilities: by its last operator and its answers for real
images, unless the user says."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from covey_export.errors import InvalidSource

_SUM_ERROR = 0.02  # of a row, as the server's golden check allows
_PASSES = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Cast", "Transpose", "Dropout"})
_LINEAR = frozenset({"Gemm", "MatMul", "Conv", "Add", "Sub", "QLinearConv", "QLinearMatMul", "QGemm", "FusedMatMul"})

Scores = NDArray[np.float32]


class Activation(enum.Enum):
    """The function that is appended to the outputs."""

    SOFTMAX = "softmax"
    SIGMOID = "sigmoid"
    EXP = "exp"  # of logarithms
    NONE = "none"

    def apply(self, scores: Scores) -> Scores:
        """Computes in numpy what the graph computes: `[N, K]` to `[N, K] float32`."""
        values = scores.astype(np.float64)
        match self:
            case Activation.SOFTMAX:
                powers = np.exp(values - values.max(axis=1, keepdims=True))
                values = powers / powers.sum(axis=1, keepdims=True)
            case Activation.SIGMOID:
                values = 1 / (1 + np.exp(-values.clip(-700, 700)))
            case Activation.EXP:
                values = np.exp(values)
            case Activation.NONE:
                pass
        return values.astype(np.float32)


@dataclass(frozen=True)
class Answer:
    """What kind of answer the model gives. `independent`: each label has a probability of its own and belongs to the
    answer from one of `thresholds` on; otherwise one class is right. `description` is for people."""

    activation: Activation
    independent: bool
    description: str
    thresholds: tuple[float, ...] = ()  # one for all labels, or one each

    def probabilities(self, scores: Scores) -> Scores:
        """The probabilities as the imported graph gives them: `[N, K]`, or `[N, 2]` of a single score."""
        probabilities = self.activation.apply(scores)
        return (
            np.concatenate([1 - probabilities, probabilities], axis=1) if probabilities.shape[1] == 1 else probabilities
        )


def last_operator(graph: onnx.GraphProto, output: str) -> str:
    """The operator that computes the output, those that only move values passed over; empty where there is none."""
    makers = {name: node for node in graph.node for name in node.output}
    while (node := makers.get(output)) is not None:
        if node.op_type not in _PASSES:
            return node.op_type
        output = node.input[0]
    return ""


def decide(requested: str | None, last: str, scores: Scores, origin: str) -> Answer:
    """Decides on the activation. `last` is the last operator, `scores` `[N, K]` are the outputs for some images,
    `origin` names the file in errors.

    Raises InvalidSource for outputs that are no numbers, or do not fit what was asked for.
    """
    if not np.isfinite(scores).all():
        failed = int((~np.isfinite(scores)).any(axis=1).sum())
        raise InvalidSource(
            f"{origin}: expected scores, got NaN or infinity for {failed} of {len(scores)} images; the network's "
            f"weights or its preprocessing are wrong"
        )
    if scores.shape[1] == 1:
        return _decide_single_output(requested, last, scores, origin)
    state = _kind_of_outputs(last, scores)
    recognized = {
        "probabilities": (Activation.NONE, False, "its outputs are probabilities that add up to 1 (softmax)"),
        "logarithms": (Activation.EXP, False, "its outputs are logarithms of probabilities; exp is put behind them"),
        "independent": (Activation.NONE, True, "its outputs are probabilities of independent labels (sigmoid)"),
        "logits": (Activation.SOFTMAX, False, "its outputs are logits; a softmax is put behind them"),
    }[state]
    match requested, state:
        case None, _:
            return Answer(*recognized)
        case "softmax", "probabilities" | "logarithms":
            return Answer(*recognized)
        case "softmax", _:
            return Answer(Activation.SOFTMAX, False, "a softmax is put behind its outputs, as --activation says")
        case "sigmoid", "independent":
            return Answer(*recognized)
        case "sigmoid", "logits" | "logarithms":
            return Answer(
                Activation.SIGMOID,
                True,
                "a sigmoid is put behind each output, as --activation says: independent labels",
            )
        case "none", "probabilities" | "independent":
            return Answer(*recognized)
    low, high = float(scores.min()), float(scores.max())
    raise InvalidSource(
        f"{origin}: --activation {requested} does not fit: its outputs are {state}, numbers from {low:.3g} to "
        f"{high:.3g}. Omit it, or say {'softmax or sigmoid' if requested == 'none' else 'none'}"
    )


def _decide_single_output(requested: str | None, last: str, scores: Scores, origin: str) -> Answer:
    """Decides for a single score: how probable it is that the image is of the second class."""
    if requested == "softmax":
        raise InvalidSource(
            f"{origin}: has one output, of which a softmax is always 1; say --activation sigmoid, or none if it is a "
            f"probability"
        )
    is_probability = float(scores.min()) >= 0 and float(scores.max()) <= 1
    is_done = last in ("Sigmoid", "HardSigmoid") or (requested == "none" and is_probability)
    if requested == "none" and not is_done:
        raise InvalidSource(
            f"{origin}: --activation none does not fit: its output is no probability, but a number from "
            f"{scores.min():.3g} to {scores.max():.3g}; say --activation sigmoid"
        )
    addition = "" if is_done else "; a sigmoid is put behind it"
    return Answer(
        Activation.NONE if is_done else Activation.SIGMOID,
        False,
        f"its one output is the probability of the second of two classes{addition}",
    )


def _kind_of_outputs(last: str, scores: Scores) -> str:
    low, high = float(scores.min()), float(scores.max())
    sums = scores.sum(axis=1, dtype=np.float64)
    adds_up = bool((np.abs(sums - 1) <= _SUM_ERROR).all()) and low >= -_SUM_ERROR
    if last in ("Softmax", "SoftmaxCrossEntropyLoss") and adds_up:
        return "probabilities"
    if last == "LogSoftmax":
        return "logarithms"
    if last in ("Sigmoid", "HardSigmoid"):
        return "independent"
    if last in _LINEAR:
        return "logits"
    if adds_up:
        return "probabilities"
    if high <= 0 and bool((np.abs(np.exp(scores.astype(np.float64)).sum(axis=1) - 1) <= _SUM_ERROR).all()):
        return "logarithms"
    if low >= 0 and high <= 1 and last not in ("Relu", "Clip", "ReduceMean", "GlobalAveragePool", "AveragePool"):
        return "independent"
    return "logits"
