"""A network to an ONNX graph: exported by torch, and tried before training.

Writes no files; publication.py does.
"""

from __future__ import annotations

import io
import sys
import tempfile
from contextlib import redirect_stderr
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from covey_export import embedding, evaluation, image_classifier, sealing
from covey_export.errors import ConversionFailed, InvalidNetwork
from covey_export.image_classifier import ImageClassifier
from covey_export.networks import ImageShape, Network, Output
from covey_export.networks.blame import with_line
from covey_export.training.recipe import Recipe
from covey_proto import tensors
from covey_server.errors import EngineFailed, RefusedModel
from covey_server.inference.engine import Engine

OPSET = 20

_PROBABILITIES = ("Sigmoid", "HardSigmoid", "Softmax")
_MOVES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Cast", "Identity")  # the values stay
_EXAMPLE_BATCH = 2  # an example of one image would fix the batch axis at 1
_TRIED_BATCHES = (1, 2, 3)
_MAX_DIFFERENCE = 1e-3  # of probabilities of fresh weights; verification is stricter with trained ones


def require_convertible(network: Network, classes: int, recipe: Recipe) -> None:
    """Converts the network with fresh weights and compares the graph's answers with PyTorch's, to learn in seconds what
    would be learned after hours of training.

    Draws from torch's global generator. Raises ConversionFailed.
    """
    model = image_classifier.build(network, classes, recipe).eval()
    proto = export(model, network.image_shape)
    sealing.require_valid(proto)
    _require_logits(proto, network)
    with tempfile.TemporaryDirectory(prefix="covey-export-") as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(proto, path)
        try:
            engine = Engine(path)
            for count in _TRIED_BATCHES:
                images = np.random.default_rng(count).integers(0, 256, (count, *network.image_shape), dtype=np.uint8)
                difference = np.abs(engine.run(images) - evaluation.predict(model, torch.tensor(images))).max()
                if not difference <= _MAX_DIFFERENCE:
                    raise ConversionFailed(
                        f"{network.name} was exported, but for {count} image{'s' if count > 1 else ''} the ONNX graph "
                        f"gives other probabilities than PyTorch (difference {difference:.2g}, at most "
                        f"{_MAX_DIFFERENCE:g} expected): something in its forward() was fixed to a value when it was "
                        f"exported"
                    )
        except (RefusedModel, EngineFailed) as error:
            raise ConversionFailed(f"{network.name} was exported, but onnxruntime cannot run it: {error}") from error


def _require_logits(proto: onnx.ModelProto, network: Network) -> None:
    """Raises InvalidNetwork where the network ends in probabilities of its own, and another softmax would follow."""
    if network.output is Output.PROBABILITIES:
        return
    makers = {output: node for node in proto.graph.node for output in node.output}
    softmax = makers[proto.graph.output[0].name]  # the one behind the network
    node = makers.get(softmax.input[0])
    while node is not None and node.op_type in _MOVES:
        node = makers.get(node.input[0])
    if node is not None and node.op_type in _PROBABILITIES:
        raise InvalidNetwork(
            f"{network.name} ends in {node.op_type}; expected logits, since Covey's loss and its models put a softmax "
            f"behind them: leave it out, and load the same weights. Labels that do not exclude each other, which need "
            f"a sigmoid each, are not supported yet"
        )


def require_embedding(network: Network, classes: int, recipe: Recipe) -> None:
    """Learns before training whether the network's graph can publish its embedding. Leaves torch's global generator as
    it was. Raises ConversionFailed, InvalidNetwork."""
    with torch.random.fork_rng(devices=()):
        model = image_classifier.build(network, classes, replace(recipe, mean=(0.5,), std=(0.5,))).eval()
    export(model, network.image_shape, with_embedding=True)
    evaluation.embeddings(model, torch.zeros((1, *network.image_shape), dtype=torch.uint8))


def export(model: ImageClassifier, image_shape: ImageShape, *, with_embedding: bool = False) -> onnx.ModelProto:
    """The graph of `model`, for batches of any size, whose second output may be the embedding. Raises ConversionFailed,
    InvalidNetwork where the network has none."""
    example = torch.zeros((_EXAMPLE_BATCH, *image_shape), dtype=torch.uint8)
    name = type(model.network).__name__
    proto = convert(model, example, tensors.IMAGES, tensors.PROBABILITIES, name)
    if with_embedding:
        try:
            embedding.publish(proto)
        except InvalidNetwork as error:
            raise InvalidNetwork(f"{name} cannot publish an embedding: {error}; omit --embedding") from error
    return proto


def convert(
    module: nn.Module, example: torch.Tensor, input_name: str, output_name: str, name: str, *, any_batch: bool = True
) -> onnx.ModelProto:
    """The graph of `module`, which takes and gives one tensor, for batches of any size, or for as many as the example
    has. `name` is for people. Raises ConversionFailed."""
    program, warnings = None, io.StringIO()
    try:
        with redirect_stderr(warnings):  # where it fails, torch prints the whole graph, more than once
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                input_names=[input_name],
                output_names=[output_name],
                dynamic_shapes=({0: torch.export.Dim("batch", min=1)},) if any_batch else None,
                external_data=False,
                opset_version=OPSET,
                verbose=False,
            )
    except Exception as error:
        raise ConversionFailed(
            f"torch cannot export {name} to ONNX: {_reason(error)}. What a network computes may depend on the values "
            f"of its images, and on how many there are, by tensors alone: not by an `if`, a loop or .item()"
        ) from error
    sys.stderr.write(warnings.getvalue())
    if program is None:
        raise ConversionFailed("torch.onnx.export made no program; this is a bug")
    proto = program.model_proto
    for value in (*proto.graph.input, *proto.graph.output) if any_batch else ():
        if not value.type.tensor_type.shape.dim[0].dim_param:
            raise ConversionFailed(
                f"{name} can be exported for batches of {len(example)} images alone, a model must take any number: "
                f"let no loop and no fixed number in its forward() stand for how many images there are"
            )
    return proto


def _reason(error: BaseException) -> str:
    """What torch says at the root of the error, and the line of the network's own code that it is about."""
    while error.__cause__ is not None:
        error = error.__cause__
    return with_line(error)
