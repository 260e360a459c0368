"""A trained network to the bytes of one self-contained ONNX file: graph, weights, ModelInfo, golden set.

Writes no files; publication.py does.
"""

from __future__ import annotations

import io
import sys
import tempfile
import traceback
from contextlib import redirect_stderr
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import torch

import covey_proto
from covey_export import served_model
from covey_export.checkpoint import Checkpoint
from covey_export.datasets import Dataset
from covey_export.datasets.dataset import Labels
from covey_export.errors import ConversionFailed
from covey_export.evaluation import accuracy, predict
from covey_export.networks import ImageShape, Network
from covey_export.networks.trial import first_line
from covey_export.quantization.precision import Precision
from covey_export.served_model import ServedModel
from covey_export.training.recipe import Recipe
from covey_proto import metadata
from covey_proto.v1.classifier_pb2 import Build, GoldenSet, ImageSpec, ModelInfo, Training
from covey_server.errors import EngineFailed, RefusedModel
from covey_server.images.pixels import Resize
from covey_server.inference.engine import Engine

INPUT = "images"
OUTPUT = "probabilities"
OPSET = 20

_EXAMPLE_BATCH = 2  # an example of one image would fix the batch axis at 1
_TRIED_BATCHES = (1, 2, 3)
_MAX_DIFFERENCE = 1e-3  # of probabilities of fresh weights; verification is stricter with trained ones
_GOLDEN_PER_CLASS = 2
_GOLDEN_AT_MOST = 32
_RESIZES = {Resize.STRETCH: ImageSpec.RESIZE_STRETCH, Resize.CENTER_CROP: ImageSpec.RESIZE_CENTER_CROP}


def restore(network: Network, checkpoint: Checkpoint) -> ServedModel:
    """The trained network as it will be served, on the CPU, in evaluation mode. Raises InvalidCheckpoint."""
    model = served_model.build(network, len(checkpoint.labels), checkpoint.recipe)
    checkpoint.load_weights_into(model.network, trained=True)
    return model.eval()


def require_convertible(network: Network, classes: int, recipe: Recipe) -> None:
    """Converts the network with fresh weights and compares the graph's answers with PyTorch's, to learn in seconds what
    would be learned after hours of training.

    Draws from torch's global generator. Raises ConversionFailed.
    """
    model = served_model.build(network, classes, recipe).eval()
    proto = _export(model, network.image_shape)
    _require_valid(proto)
    with tempfile.TemporaryDirectory(prefix="covey-export-") as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(proto, path)
        try:
            engine = Engine(path)
            for count in _TRIED_BATCHES:
                images = np.random.default_rng(count).integers(0, 256, (count, *network.image_shape), dtype=np.uint8)
                difference = np.abs(engine.run(images) - predict(model, torch.tensor(images))).max()
                if not difference <= _MAX_DIFFERENCE:
                    raise ConversionFailed(
                        f"{network.name} was exported, but for {count} image{'s' if count > 1 else ''} the ONNX graph "
                        f"gives other probabilities than PyTorch (difference {difference:.2g}, at most "
                        f"{_MAX_DIFFERENCE:g} expected): something in its forward() was fixed to a value when it was "
                        f"exported"
                    )
        except (RefusedModel, EngineFailed) as error:
            raise ConversionFailed(f"{network.name} was exported, but onnxruntime cannot run it: {error}") from error


def convert(model: ServedModel, info: ModelInfo) -> bytes:
    """The model file. Raises ConversionFailed where torch cannot export the network, or what it made is no valid ONNX
    for batches of any size.
    """
    return seal(_export(model, (info.input.height, info.input.width, info.input.channels)), info)


def _export(model: ServedModel, image_shape: ImageShape) -> onnx.ModelProto:
    name = type(model.network).__name__
    program, said = None, io.StringIO()
    try:
        with redirect_stderr(said):  # where it fails, torch prints the whole graph, more than once
            program = torch.onnx.export(
                model,
                (torch.zeros((_EXAMPLE_BATCH, *image_shape), dtype=torch.uint8),),
                dynamo=True,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes={INPUT: {0: torch.export.Dim("batch", min=1)}},
                external_data=False,
                opset_version=OPSET,
                verbose=False,
            )
    except Exception as error:
        raise ConversionFailed(
            f"torch cannot export {name} to ONNX: {_reason(error)}. What a network computes may depend on the values "
            f"of its images, and on how many there are, by tensors alone: not by an `if`, a loop or .item()"
        ) from error
    sys.stderr.write(said.getvalue())
    if program is None:
        raise ConversionFailed("torch.onnx.export made no program; this is a bug")
    proto = program.model_proto
    for value in (*proto.graph.input, *proto.graph.output):
        if not value.type.tensor_type.shape.dim[0].dim_param:
            raise ConversionFailed(
                f"{name} can be exported for batches of {_EXAMPLE_BATCH} images alone, a model must take any number: "
                f"let no loop and no fixed number in its forward() stand for how many images there are"
            )
    return proto


def _reason(error: BaseException) -> str:
    """What torch says at the root of the error, and the line of the network's own code that it is about."""
    while error.__cause__ is not None:
        error = error.__cause__
    others = (str(Path(torch.__file__).parent), str(Path(__file__).parent))
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.name == "forward" and not frame.filename.startswith(others)
    ]
    where = f" ({Path(own[-1].filename).name}, line {own[-1].lineno}: {own[-1].line})" if own else ""
    return first_line(error) + where


def seal(proto: onnx.ModelProto, info: ModelInfo) -> bytes:
    """The bytes of the file, with `info` as its only metadata. Raises ConversionFailed where it is no valid ONNX."""
    # The exporter notes on each node the lines of source it came from, with this machine's paths.
    for node in proto.graph.node:
        del node.metadata_props[:]
    del proto.metadata_props[:]
    proto.metadata_props.add(key=metadata.KEY, value=metadata.to_json(info))
    _require_valid(proto)
    data: bytes = proto.SerializeToString()
    return data


def _require_valid(proto: onnx.ModelProto) -> None:
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ConversionFailed(f"the exported graph is no valid ONNX: {error}") from error


def describe(
    network: Network, checkpoint: Checkpoint, model: ServedModel, dataset: Dataset, name: str, version: int
) -> ModelInfo:
    """All that the file says of itself, measured on the data set's test images."""
    height, width, channels = network.image_shape
    resize = _RESIZES[network.resize]
    found = accuracy(predict(model, torch.tensor(dataset.test_images)), dataset.test_labels)
    info = ModelInfo(
        name=name,
        version=version,
        labels=checkpoint.labels,
        input=ImageSpec(
            height=height,
            width=width,
            channels=channels,
            resize=resize,
            crop=network.crop,
            background=network.background,
            mean=checkpoint.recipe.mean or (),
            std=checkpoint.recipe.std or (),
        ),
        training=Training(
            network=network.name,
            dataset=dataset.name,
            recipe=checkpoint.recipe.name,
            epochs=len(checkpoint.history),
            seed=checkpoint.seed,
            test_accuracy=found.overall,
            test_images=found.images,
            parameters=sum(parameter.numel() for parameter in model.network.parameters()),
            started_from=checkpoint.started_from,
        ),
        build=Build(
            covey_version=covey_proto.__version__,
            torch_version=torch.__version__,
            onnx_version=onnx.__version__,
            opset=OPSET,
            precision=Precision.FLOAT32.value,
        ),
        golden_set=_golden_set(model, dataset),
    )
    info.build.created.FromDatetime(datetime.now(UTC).replace(microsecond=0))
    return info


def _golden_set(model: ServedModel, dataset: Dataset) -> GoldenSet:
    images = dataset.test_images[_golden_places(dataset.test_labels)]
    return GoldenSet(
        pixels=images.tobytes(),
        probabilities=predict(model, torch.tensor(images)).ravel().tolist(),
        tolerance=Precision.FLOAT32.tolerance,
        reference="pytorch",
    )


def _golden_places(labels: Labels) -> Labels:
    """The first image of each class, then the second: where there are many classes, one of as many as fit."""
    places = [np.flatnonzero(labels == label)[:_GOLDEN_PER_CLASS] for label in np.unique(labels)]
    by_turns = [found[turn] for turn in range(_GOLDEN_PER_CLASS) for found in places if turn < len(found)]
    return np.array(by_turns[:_GOLDEN_AT_MOST], np.int64)
