"""Owns the models under attack: small ones that answer quickly, but for an input that is the attack itself."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx.parser
from onnx import numpy_helper
from PIL import Image

from covey_proto import metadata
from covey_proto.v1 import classifier_pb2 as pb

SIDE = 28
GUILTY_PIXEL = 255  # where the first four of an image are that: it makes `faulty` fail and `slow` count
WIDE_CLASSES = 100_000
_GUILTY_PIXELS = 4  # a single one would be met by chance: one of covey load's 64 random images has it
_TURNS = 6_000_000  # about three seconds of onnxruntime's Loop


def write(folder: Path, names: Iterable[str]) -> Path:
    """Writes models, of `small`, `faulty`, `slow` and `wide`, into a models folder, and returns it."""
    for name in names:
        path = folder / name / "1" / "model.onnx"
        path.parent.mkdir(parents=True)
        path.write_bytes(_model(name, WIDE_CLASSES if name == "wide" else 10).SerializeToString())
    return folder


def image(seed: int, *, guilty: bool = False) -> bytes:
    """The pixels of an image for any of them."""
    pixels = np.random.default_rng(seed).integers(0, GUILTY_PIXEL, SIDE * SIDE, dtype=np.uint8)
    if guilty:
        pixels[:_GUILTY_PIXELS] = GUILTY_PIXEL
    return pixels.tobytes()


def picture(seed: int) -> bytes:
    """The same as a PNG file."""
    buffer = io.BytesIO()
    Image.frombytes("L", (SIDE, SIDE), image(seed)).save(buffer, "PNG")
    return buffer.getvalue()


# What each makes of the probabilities. `met` says for each image whether it is guilty.
_ENDS = {
    "small": "probabilities = Identity(soft)",
    "wide": "probabilities = Identity(soft)",
    # An index out of range: the run fails.
    "faulty": """
        table = Constant <value = float[1, 1] {0}> ()
        beyond = Constant <value_int = 9> ()
        within = Constant <value_int = 0> ()
        index = Where(met, beyond, within)
        indices = Squeeze(index)
        nothing = Gather <axis = 0> (table, indices)
        probabilities = Add(soft, nothing)
    """,
    "slow": f"""
        turns = Constant <value_int = {_TURNS}> ()
        never = Constant <value_int = 0> ()
        unit = Constant <value_int = 1> ()
        go = Constant <value = bool {{1}}> ()
        met_number = Cast <to = 7> (met)
        any = ReduceMax <keepdims = 0> (met_number)
        count = Mul(any, turns)
        counted = Loop (count, go, never) <body = add (int64 turn, bool go_in, int64 sum_in)
            => (bool go_out, int64 sum_out) {{ go_out = Identity(go_in) sum_out = Add(sum_in, unit) }}>
        negative = Less(counted, never)
        nothing = Cast <to = 1> (negative)
        probabilities = Add(soft, nothing)
    """,
}


def _model(name: str, classes: int) -> onnx.ModelProto:
    weights = np.random.default_rng(7).normal(0, 0.2, (16, classes)).astype(np.float32)
    model = onnx.parser.parse_model(
        f"""
        <ir_version: 9, opset_import: ["" : 18]>
        {name} (uint8[N, {SIDE}, {SIDE}, 1] images) => (float[N, {classes}] probabilities) {{
            flat = Constant <value_ints = [0, -1]> ()
            begin = Constant <value_ints = [0]> ()
            end = Constant <value_ints = [16]> ()
            four = Constant <value_ints = [{_GUILTY_PIXELS}]> ()
            axis = Constant <value_ints = [1]> ()
            scale = Constant <value_float = {1 / 255}> ()
            guilty = Constant <value = uint8 {{{GUILTY_PIXEL}}}> ()
            rows8 = Reshape(images, flat)
            few8 = Slice(rows8, begin, end, axis)
            few = Cast <to = 1> (few8)
            scaled = Mul(few, scale)
            logits = MatMul(scaled, weights)
            soft = Softmax <axis = 1> (logits)
            first_four = Slice(rows8, begin, four, axis)
            first = ReduceMin <keepdims = 1> (first_four, axis)
            met = Equal(first, guilty)
            {_ENDS[name]}
        }}
        """
    )
    model.graph.initializer.append(numpy_helper.from_array(weights, "weights"))
    pixels = np.frombuffer(image(1), np.uint8)
    logits = (pixels[:16].astype(np.float32) / 255) @ weights
    soft = np.exp(logits - logits.max())
    info = pb.ModelInfo(
        name=name,
        version=1,
        labels=[f"class {index}" for index in range(classes)],
        input=pb.ImageSpec(height=SIDE, width=SIDE, channels=1, resize=pb.ImageSpec.RESIZE_STRETCH),
        training=pb.Training(network=name, dataset="none", test_accuracy=1.0),
        golden_set=pb.GoldenSet(pixels=pixels.tobytes(), probabilities=(soft / soft.sum()).tolist(), tolerance=1e-4),
    )
    model.metadata_props.add(key=metadata.KEY, value=metadata.to_json(info))
    return model
