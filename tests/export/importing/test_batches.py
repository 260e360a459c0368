"""Networks that were exported for a fixed number of images take any number, each image for itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tests.export.importing.imports import by_own_input, images, original, published, refused, softmax
from tests.export.importing.onnx_models import CLASSES, SIZE, model, save, small_cnn

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
SHAPE = (SIZE, SIZE, 3)
PATCHES, WIDTH, HEADS = 9, 8, 2


def imagenet(pixels: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(((pixels / 255 - MEAN) / STD).astype(np.float32).transpose(0, 3, 1, 2))


def expected(source: Path, pixels: np.ndarray, batch: int) -> np.ndarray:
    """Of the file itself, each image in a batch of copies of its own."""
    return np.concatenate(
        [softmax(original(source, np.repeat(imagenet(image[None]), batch, axis=0)))[:1] for image in pixels]
    )


def check(source: Path, models: Path, batch: int, *, max_batch: int = 0) -> None:
    served = published(source, models, "--like", "imagenet")
    pixels = images(7, SHAPE)
    probabilities = expected(source, pixels, batch)
    assert np.ptp(probabilities, axis=0).max() > 0.01  # else nothing would be compared
    for size in (1, 2, 3, 7):
        np.testing.assert_allclose(served.engine.run(pixels[:size]), probabilities[:size], atol=1e-5)
    assert served.description.info.source.max_batch == max_batch
    for size in (1, 7):
        own_scores = by_own_input(models, imagenet(pixels[:size]))
        np.testing.assert_allclose(softmax(own_scores), probabilities[:size], atol=1e-5)


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("flatten", ["Flatten", "Reshape", "Reshape -1"])
@pytest.mark.parametrize("keeps_maps", [False, True])
def test_fixed_in_shapes_and_reshapes(batch: int, flatten: str, keeps_maps: bool, tmp_path: Path) -> None:
    source = save(small_cnn(batch=batch, flatten=flatten, keeps_maps=keeps_maps), tmp_path)
    check(source, tmp_path / "models", batch)


@pytest.mark.parametrize("opset", [7, 9, 11])
def test_fixed_in_old_files(opset: int, tmp_path: Path) -> None:
    check(save(small_cnn(batch=1, flatten="Reshape", opset=opset), tmp_path), tmp_path / "models", 1)


def test_a_dynamic_axis_with_constants_of_one_image_behind_it(tmp_path: Path) -> None:
    source = save(small_cnn(batch="N", flatten="Reshape"), tmp_path)
    check(source, tmp_path / "models", 1)


def transformer(batch: int, *, batch_second: bool = False) -> onnx.ModelProto:
    """Patches, a class token and one layer of attention, with all shapes as numbers, as old exporters of PyTorch write
    a ViT. With `batch_second` attention has images on its second axis, merged with its heads."""
    chance = np.random.default_rng(9)

    def weights(*shape: int) -> np.ndarray:
        return chance.normal(0, 0.6, shape).astype(np.float32)

    tokens, head = PATCHES + 1, WIDTH // HEADS
    constants = {
        "kernel": weights(WIDTH, 3, 4, 4),
        "to_rows": np.array([batch, WIDTH, PATCHES]),
        "token": weights(1, 1, WIDTH),
        "token_shape": np.array([batch, 1, WIDTH]),
        "places": np.repeat(weights(1, tokens, WIDTH), batch, axis=0),
        "qkv": weights(WIDTH, 3 * WIDTH),
        "parts": np.array([WIDTH] * 3),
        "heads": np.array([tokens, batch * HEADS, head] if batch_second else [batch, tokens, HEADS, head]),
        "merged": np.array([tokens, batch, WIDTH] if batch_second else [batch, tokens, WIDTH]),
        "zero": np.array(0),
        "matrix": weights(WIDTH, CLASSES),
    }
    node = helper.make_node
    nodes = [
        node("Conv", ["data", "kernel"], ["patches"], kernel_shape=[4, 4], strides=[4, 4]),
        node("Reshape", ["patches", "to_rows"], ["columns"]),
        node("Transpose", ["columns"], ["rows"], perm=[0, 2, 1]),
        node("Expand", ["token", "token_shape"], ["tokens"]),
        node("Concat", ["tokens", "rows"], ["sequence"], axis=1),
        node("Add", ["sequence", "places"], ["placed"]),
    ]
    value = "placed"
    if batch_second:
        nodes.append(node("Transpose", [value], ["turned"], perm=[1, 0, 2]))
        value = "turned"
    nodes += [
        node("MatMul", [value, "qkv"], ["all"]),
        node("Split", ["all", "parts"], ["q", "k", "v"], axis=2),
    ]
    forward = [1, 0, 2] if batch_second else [0, 2, 1, 3]
    for name in "qkv":
        nodes.append(node("Reshape", [name, "heads"], [f"{name}_heads"]))
        nodes.append(node("Transpose", [f"{name}_heads"], [f"{name}_first"], perm=forward))
    nodes += [
        node("Transpose", ["k_first"], ["k_turned"], perm=[0, 2, 1] if batch_second else [0, 1, 3, 2]),
        node("MatMul", ["q_first", "k_turned"], ["scores"]),
        node("Softmax", ["scores"], ["attention"], axis=-1),
        node("MatMul", ["attention", "v_first"], ["mixed"]),
        node("Transpose", ["mixed"], ["mixed_back"], perm=forward),
        node("Reshape", ["mixed_back", "merged"], ["together"]),
    ]
    if batch_second:
        nodes.append(node("Transpose", ["together"], ["together_back"], perm=[1, 0, 2]))
    nodes += [
        node("Gather", ["together_back" if batch_second else "together", "zero"], ["first"], axis=1),
        node("MatMul", ["first", "matrix"], ["logits"]),
    ]
    return model(
        nodes,
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, [batch, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, CLASSES])],
        constants,
    )


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("batch_second", [False, True])
def test_transformers(batch: int, batch_second: bool, tmp_path: Path) -> None:
    check(save(transformer(batch, batch_second=batch_second), tmp_path), tmp_path / "models", batch)


def stubborn(batch: int) -> onnx.ModelProto:
    """Loses the batch axis and makes a new one (batch 1), or takes the images apart and joins them again."""
    model = small_cnn(batch=batch)
    nodes = [*model.graph.node]
    nodes[0].input[0] = "joined"
    if batch == 1:
        model.graph.initializer.append(helper.make_tensor("front", TensorProto.INT64, [1], [0]))
        first = [
            helper.make_node("Squeeze", ["data"], ["squeezed"]),
            helper.make_node("Unsqueeze", ["squeezed", "front"], ["joined"]),
        ]
    else:
        parts = [f"part{place}" for place in range(batch)]
        first = [
            helper.make_node("Split", ["data"], parts, axis=0),
            helper.make_node("Concat", parts, ["joined"], axis=0),
        ]
    for node in reversed(first):
        model.graph.node.insert(0, node)
    return model


def test_one_by_one_where_nothing_else_works(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(save(stubborn(1), tmp_path), tmp_path / "models", 1, max_batch=1)
    assert "images go through it one by one, and batches gain nothing" in capsys.readouterr().out


def test_in_groups_where_nothing_else_works(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(save(stubborn(4), tmp_path), tmp_path / "models", 4, max_batch=4)
    assert "groups of 4 go through it one after another" in capsys.readouterr().out


def test_old_files_one_by_one(tmp_path: Path) -> None:
    model = small_cnn(batch=1, opset=9)
    model.graph.node[0].input[0] = "joined"
    model.graph.node.insert(0, helper.make_node("Squeeze", ["data"], ["squeezed"]))
    model.graph.node.insert(1, helper.make_node("Unsqueeze", ["squeezed"], ["joined"], axes=[0]))
    check(save(model, tmp_path), tmp_path / "models", 1, max_batch=1)


def test_answers_that_depend_on_the_other_images_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for batch in (2, 8):
        model = small_cnn(batch=batch)
        model.graph.node.insert(0, helper.make_node("ReduceMean", ["data"], ["mean"], axes=[0], keepdims=1))
        model.graph.node.insert(1, helper.make_node("Sub", ["data", "mean"], ["centred"]))
        model.graph.node[2].input[0] = "centred"
        message = refused(save(model, tmp_path), tmp_path / "models", capsys)
        assert "the original gives an image other answers beside other images" in message


def test_random_numbers_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = small_cnn()
    noise = helper.make_node("RandomNormalLike", ["pooled"], ["noise"])
    model.graph.node.insert(3, noise)
    model.graph.node.insert(4, helper.make_node("Add", ["pooled", "noise"], ["noisy"]))
    model.graph.node[5].input[0] = "noisy"
    message = refused(save(model, tmp_path), tmp_path / "models", capsys)
    assert "gives other answers when it runs again on the same images" in message
    assert "model.eval()" in message


def test_training_mode_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = small_cnn(opset=15)
    for name, value in (("gain", 1.0), ("shift", 0.0), ("mean", 0.0), ("variance", 1.0)):
        model.graph.initializer.append(helper.make_tensor(name, TensorProto.FLOAT, [8], [value] * 8))
    model.graph.node.insert(
        1,
        helper.make_node(
            "BatchNormalization", ["conv", "gain", "shift", "mean", "variance"], ["normal", "new_mean", "new_variance"],
            training_mode=1,
        ),
    )  # fmt: skip
    model.graph.node[2].input[0] = "normal"
    message = refused(save(model, tmp_path), tmp_path / "models", capsys)
    assert "exported in training mode" in message
    assert "model.eval()" in message
