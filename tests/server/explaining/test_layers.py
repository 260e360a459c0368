"""Layers: which there are, what they are called, and that their answers are those of the graph."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from tests.conftest import WriteModel
from tests.server.explaining import networks
from tests.server.explaining.networks import node, normal

from covey_proto import tensors
from covey_server.errors import EngineFailed, RequestTooLarge
from covey_server.explaining import inside as inside_module
from covey_server.explaining import layers, maps, onnx_graph
from covey_server.explaining.describing import describe
from covey_server.explaining.inside import Inside
from covey_server.inference.devices import CPU
from covey_server.inference.model_loader import ModelLoader
from covey_server.inference.served_model import ServedModel

Open = Callable[[str], tuple[ServedModel, Inside]]

CONV2 = "each over 3 channels, stride 1, padding 1"
PLAIN = [
    ("input", "input", (3, 20, 18), 0, (), "20 x 18 pixels, 3 channels, as prepared"),
    ("conv1", "convolution", (6, 16, 14), 456, (0,), "6 filters of 5 x 5 over 3 channels, stride 1, no padding"),
    ("relu_1", "activation", (6, 16, 14), 0, (1,), "max(x, 0)"),
    ("max_pool_1", "max_pooling", (6, 8, 7), 0, (2,), "the greatest of each 2 x 2, stride 2, no padding"),
    ("conv2", "convolution", (8, 8, 7), 216, (3,), f"8 filters of 3 x 3 in 2 groups, {CONV2}"),
    ("silu_1", "activation", (8, 8, 7), 0, (4,), "x / (1 + exp(-x))"),
    ("average_pool_1", "average_pooling", (8, 4, 4), 0, (5,), "the mean of each 3 x 3, stride 2, padding 1"),
    ("reshape_1", "flatten", (128,), 0, (6,), "8 x 4 x 4 as one row of 128"),
    ("fc1", "fully_connected", (12,), 1548, (7,), "each of 12 outputs reads all 128 inputs"),
    ("tanh_1", "activation", (12,), 0, (8,), "tanh(x)"),
    ("mat_mul_1", "fully_connected", (5,), 65, (9,), "each of 5 outputs reads all 12 inputs"),
    ("softmax_1", "softmax", (5,), 0, (10,), "5 scores become probabilities, which add up to 1"),
]  # fmt: skip


def test_layers_are_listed_in_order_with_names_shapes_and_parameters(open_model: Open) -> None:
    _, inside = open_model("plain")
    found = [
        (each.name, each.kind, inside.shapes[each.index], each.parameters, each.inputs, describe(each, inside.shapes))
        for each in inside.layers
    ]
    assert found == PLAIN
    assert all(each.kind in layers.KINDS for each in inside.layers)


def test_ways_that_part_and_meet_are_told(open_model: Open) -> None:
    _, inside = open_model("residual")
    by_output = {each.output: each for each in inside.layers}
    names = {index: each.output for index, each in enumerate(inside.layers)}
    assert [names[index] for index in by_output["sum"].inputs] == ["pooled", "b"]
    assert by_output["sum"].kind == "addition"
    assert by_output["bn"].kind == "normalization"
    assert describe(by_output["b"], inside.shapes).startswith("8 filters of 3 x 3 each over one channel")


def test_an_imported_model_begins_with_what_its_own_users_feed(open_model: Open) -> None:
    _, inside = open_model("imported")
    assert [each.kind for each in inside.layers] == [
        "input", "convolution", "activation", "average_pooling", "flatten", "fully_connected", "softmax",
    ]  # fmt: skip
    assert inside.shapes[0] == (3, 12, 12)


@pytest.mark.parametrize("name", ["plain", "residual", "imported", "detector-mean"])
def test_answers_are_those_of_the_same_graph_by_onnxruntime(open_model: Open, models: Path, name: str) -> None:
    model, inside = open_model(name)
    pixels = networks.images(1, model.input_shape)
    names = [*(each.output for each in inside.layers), tensors.PROBABILITIES]
    expected = networks.tensors(onnx.load(models / name / "1" / "model.onnx"), pixels, names)
    found = inside.run(pixels, names)
    for each in inside.layers:
        np.testing.assert_allclose(found[each.output], expected[each.output], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found[tensors.PROBABILITIES], model.run(pixels), atol=1e-6)


def test_operations_of_several_nodes_are_one_layer(tmp_path: Path) -> None:
    half, one, root = (np.array(number, np.float32) for number in (0.5, 1.0, np.sqrt(2)))
    path = networks.write(
        tmp_path,
        "patterns",
        [
            node("Div", ["input", "root"], "scaled_down"),
            node("Conv", ["input", "c.weight"], "c", pads=[1, 1, 1, 1]),
            node("Div", ["c", "root"], "d"),
            node("Erf", ["d"], "erf"),
            node("Add", ["erf", "one"], "more"),
            node("Mul", ["c", "more"], "times"),
            node("Mul", ["times", "half"], "gelu"),
            node("Softplus", ["gelu"], "plus"),
            node("Tanh", ["plus"], "tanh"),
            node("Mul", ["gelu", "tanh"], "mish"),
            node("HardSigmoid", ["mish"], "gate"),
            node("Mul", ["gate", "mish"], "hard"),
            node("ReduceMean", ["hard", "axes"], "means", keepdims=0),
            node("Gemm", ["means", "fc"], "scores"),
        ],
        {"half": half, "one": one, "root": root, "c.weight": normal(4, 3, 3, 3), "axes": np.array([2, 3]),
         "fc": normal(4, networks.CLASSES)},
    )  # fmt: skip
    found = layers.find(onnx_graph.read(path.read_bytes()))
    assert [each.op for each in found[1:]] == ["Conv", "Gelu", "Mish", "HardSwish", "ReduceMean", "Gemm", "Softmax"]
    assert [each.inputs for each in found[1:]] == [(0,), (1,), (2,), (3,), (4,), (5,), (6,)]


def test_an_error_function_of_a_product_is_no_gelu(tmp_path: Path) -> None:
    path = networks.write(
        tmp_path,
        "squared",
        [
            node("Conv", ["input", "c.weight"], "c", pads=[1, 1, 1, 1]),
            node("Sigmoid", ["c"], "s"),
            node("Mul", ["c", "s"], "product"),
            node("Erf", ["product"], "erf"),
            node("ReduceMean", ["erf", "axes"], "means", keepdims=0),
            node("Gemm", ["means", "fc"], "scores"),
        ],
        {"c.weight": normal(4, 3, 3, 3), "axes": np.array([2, 3]), "fc": normal(4, networks.CLASSES)},
    )
    found = layers.find(onnx_graph.read(path.read_bytes()))
    assert [each.op for each in found[1:]] == ["Conv", "SiLU", "Erf", "ReduceMean", "Gemm", "Softmax"]


def test_a_model_that_only_moves_numbers_has_hardly_a_layer(write_echo_model: WriteModel, tmp_path: Path) -> None:
    path = write_echo_model(tmp_path)
    inside = Inside(ModelLoader(CPU, 1, 1)("echo", 1, path))
    assert [(each.kind, inside.shapes[each.index]) for each in inside.layers] == [
        ("input", (1, 4, 4)),
        ("flatten", (16,)),
    ]


def test_a_file_that_is_another_one_now_is_not_explained(tmp_path: Path) -> None:
    path = networks.plain(tmp_path)
    model = ModelLoader(CPU, 1, 1)("plain", 1, path)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(EngineFailed, match="is not the one that was loaded any more"):
        Inside(model)


def test_networks_of_huge_answers_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inside_module, "MAX_ACTIVATION_BYTES", 10_000)
    with pytest.raises(RequestTooLarge, match=r"answer .* bytes for one image; models of up to 10,000"):
        Inside(ModelLoader(CPU, 1, 1)("plain", 1, networks.plain(tmp_path)))


def pictures(count: int, height: int, width: int) -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(0, 1, (count, height, width)).astype(np.float32)


def test_maps_are_averaged_down_exactly() -> None:
    answer = pictures(3, 12, 10)
    found = maps.choose(answer, 0, 5, 10_000, 4)
    assert found is not None
    assert found.values.shape == (3, 5, 5)
    rows = [answer[:, 12 * place // 5 : 12 * (place + 1) // 5].mean(axis=1) for place in range(5)]
    expected = np.stack(rows, axis=1).reshape(3, 5, 5, 2).mean(axis=3)
    np.testing.assert_allclose(found.values, expected, atol=1e-6)


def test_the_strongest_maps_are_chosen_within_the_bytes() -> None:
    answer = pictures(6, 4, 4)
    answer[[4, 1]] *= 10
    found = maps.choose(answer, 0, 64, 2 * 16 + 15, 1)
    assert found is not None
    assert found.channels == [1, 4]
    np.testing.assert_array_equal(found.values, answer[[1, 4]])
    assert maps.choose(answer, 1, 64, 10_000, 1).channels in ([1], [4])  # type: ignore[union-attr]
    assert maps.choose(answer, 0, 64, 15, 1) is None


def test_bytes_give_back_values_to_half_a_step() -> None:
    values = pictures(2, 5, 5)
    values[1] = 3  # of no range at all
    content, low, high = maps.to_bytes(values)
    steps = np.frombuffer(content, np.uint8).reshape(2, 5, 5)
    back = low[:, None, None] + (high - low)[:, None, None] * steps / 255
    assert np.abs(back - values).max() <= (high - low).max() / 510 + 1e-6


@pytest.mark.parametrize("shape", [(7,), (7, 1, 1)])
def test_one_number_for_each_channel_is_one_row(shape: tuple[int, ...]) -> None:
    found = maps.choose(np.arange(7, dtype=np.float32).reshape(shape), 0, 4, 100, 1)
    assert found is not None
    assert (found.channels, found.values.tolist()) == ([0], [[list(range(7))]])


def _small(models: Path, nodes: list[onnx.NodeProto], constants: networks.Constants) -> Inside:
    """A network whose `nodes` make `[N, 4]` `features`."""
    weights = {"conv.weight": normal(4, 3, 3, 3), "head.weight": normal(4, networks.CLASSES)}
    head = [node("MatMul", ["features", "head.weight"], "scores")]
    path = networks.write(models, "odd", [*nodes, *head], {**weights, **constants})
    return Inside(ModelLoader(CPU, threads=1, max_batch_size=1)("odd", 1, path))


CONV = node("Conv", ["input", "conv.weight"], "conv", kernel_shape=[3, 3])
MEANS = [node("GlobalAveragePool", ["seen"], "means"), node("Flatten", ["means"], "features")]


def test_what_a_branch_reads_from_outside_is_an_input_of_its_layer(tmp_path: Path) -> None:
    """`If` has the condition as its only input; its branches read what they like."""
    branches = {
        f"{name}_branch": onnx.helper.make_graph(
            [node(op, ["conv"], f"{name}_out")],
            name,
            [],
            [onnx.helper.make_tensor_value_info(f"{name}_out", onnx.TensorProto.FLOAT, None)],
        )
        for name, op in (("then", "Relu"), ("else", "Neg"))
    }
    branch = node("If", ["condition"], "seen", **branches)
    inside = _small(tmp_path, [CONV, branch, *MEANS], {"condition": np.array(True)})
    assert [each.op for each in inside.layers[1:4]] == ["Conv", "If", "GlobalAveragePool"]
    assert [each.inputs for each in inside.layers[1:4]] == [(0,), (1,), (2,)]
    assert inside.layers[-1].kind == "softmax"


def test_layers_that_answer_no_tensor_have_no_maps(tmp_path: Path) -> None:
    inside = Inside(ModelLoader(CPU, 1, 1)("sequence", 1, networks.sequence(tmp_path)))
    layer = inside.layers[2]
    assert (layer.op, inside.shapes[2]) == ("SplitToSequence", (0,))
    answer = inside.answer(layer, inside.run(networks.images(1), ["parts"])["parts"])
    assert maps.choose(answer, 0, 64, 10_000, 1) is None
    assert describe(layer, inside.shapes)


def test_outputs_that_nobody_reads_may_have_no_name(tmp_path: Path) -> None:
    """torch exports an LSTM whose last state alone is used in this way."""
    rows = [
        node("ReduceMean", ["input", "channels"], "grey", keepdims=0),
        node("Transpose", ["grey"], "rows", perm=[1, 0, 2]),
        onnx.helper.make_node("LSTM", ["rows", "w", "r"], ["", "last"], hidden_size=4),
        node("Squeeze", ["last", "first"], "features"),
    ]
    constants = {"channels": np.array([1]), "first": np.array([0]), "w": normal(1, 16, 18), "r": normal(1, 16, 4)}
    inside = _small(tmp_path, rows, constants)
    lstm = next(each for each in inside.layers if each.op == "LSTM")
    assert (lstm.output, inside.shapes[lstm.index]) == ("last", (1, 4))


def test_a_layer_that_found_nothing_has_no_maps() -> None:
    assert maps.choose(np.zeros((4, 0), np.float32), 0, 64, 10_000, 4) is None
