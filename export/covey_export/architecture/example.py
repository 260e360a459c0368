"""One image on its way through a model: the numbers of each small layer, and the loss computed by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from covey_export.architecture.steps import Step
from covey_export.datasets.dataset import Images
from covey_proto import tensors
from covey_server.explaining import layers, onnx_graph

_MAX_NUMBERS = 64  # of a layer whose numbers are shown
_MAX_TERMS = 9  # of a kernel whose products are written out
_MAX_CLASSES = 12  # of a table of scores; of more the likeliest, and the true one

Array = NDArray[np.float32]
Array64 = NDArray[np.float64]


@dataclass(frozen=True)
class Score:
    """One class: exp(score - largest score), divided by the sum of all, is the probability."""

    label: str
    score: float | None  # None: the model's last layer is no softmax
    exponential: float | None
    probability: float
    is_true: bool


@dataclass(frozen=True)
class Example:
    """What a model computes for one image. `values` are `[C, H, W]` or `[F]`, by the index of the step."""

    values: dict[int, Array]
    products: str  # of the first convolution's kernel with the image's first window; empty where it is large
    scores: tuple[Score, ...]
    label: str
    loss: float  # -ln(probability of the true class)


def run(model: bytes, steps: Sequence[Step], image: Images, label: int, labels: Sequence[str]) -> Example:
    """Sends one image `[H, W, C] uint8`, which is of class `label`, through a model."""
    model_layers = layers.find(onnx_graph.read(model))
    names = {layer.index: layer.output for layer in model_layers if layer.output not in ("", tensors.IMAGES)}
    requested = dict.fromkeys([tensors.PROBABILITIES, *names.values()])
    proto = onnx.load_from_string(model)
    declared = {value.name for value in proto.graph.output}
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in requested if name not in declared)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    answers = dict(zip(requested, session.run(list(requested), {tensors.IMAGES: image[None]}), strict=True))
    values = {
        index: np.asarray(answers[name][0], np.float32).reshape(steps[index].output)
        for index, name in names.items()
        if steps[index].numbers <= _MAX_NUMBERS
    }
    probabilities = np.asarray(answers[tensors.PROBABILITIES][0], np.float64)
    softmax = steps[-1] if steps[-1].kind == "softmax" else None
    logits = np.asarray(answers[names[softmax.inputs[0]]][0], np.float64) if softmax and softmax.inputs else None
    return Example(
        values=values,
        products=_products(proto, model_layers, steps, answers),
        scores=_scores(probabilities, logits, label, labels),
        label=labels[label],
        loss=-math.log(max(probabilities[label], 1e-300)),
    )


def chance_loss(classes: int) -> float:
    """The loss of an answer that gives each class the same probability."""
    return math.log(classes)


def _products(
    proto: onnx.ModelProto, model_layers: Sequence[layers.Layer], steps: Sequence[Step], answers: dict[str, Array]
) -> str:
    """ "3*0 + 3*1 + ... = 12" for the top left place of the first convolution."""
    layer = next((layer for layer in model_layers if layer.kind == "convolution"), None)
    if layer is None or not layer.inputs or math.prod(layer.weight_shape[1:]) > _MAX_TERMS:
        return ""
    source = model_layers[layer.inputs[0]]
    attributes = layer.node.attributes
    is_plain = (
        all(dilation == 1 for dilation in attributes.get("dilations") or [])
        and (attributes.get("auto_pad") or "NOTSET") == "NOTSET"
    )
    if source.index or any(attributes.get("pads") or []) or not is_plain:
        return ""
    initializers = {tensor.name: tensor for tensor in proto.graph.initializer}
    if layer.weight not in initializers or source.output not in answers:
        return ""
    kernel = onnx.numpy_helper.to_array(initializers[layer.weight])[0]
    image = np.asarray(answers[source.output][0], np.float32).reshape(steps[0].output)
    window = image[:, : kernel.shape[1], : kernel.shape[2]]
    terms = " + ".join(f"{pixel:g}*{weight:g}" for pixel, weight in zip(window.flat, kernel.flat, strict=True))
    return f"{terms.replace('+ -', '- ')} = {float((window * kernel).sum()):g}"


def _scores(probabilities: Array64, logits: Array64 | None, label: int, labels: Sequence[str]) -> tuple[Score, ...]:
    indices = list(range(len(labels)))
    if len(indices) > _MAX_CLASSES:
        likeliest = np.argsort(-probabilities, kind="stable")[:_MAX_CLASSES].tolist()
        indices = sorted({*likeliest, label}, key=lambda index: -probabilities[index])
    exponentials = None if logits is None else np.exp(logits - logits.max())
    return tuple(
        Score(
            labels[index],
            None if logits is None else float(logits[index]),
            None if exponentials is None else float(exponentials[index]),
            float(probabilities[index]),
            index == label,
        )
        for index in indices
    )
