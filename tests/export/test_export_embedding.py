"""`--embedding`: the vector before the last layer is the file's second output, without a node more, and as PyTorch has
it; networks without such a vector are refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from tests.export.recorded_report import RecordedReport
from torch import nn

from covey_export import embedding, evaluation, image_classifier, onnx_graph, publication, sealing, verification
from covey_export.__main__ import main
from covey_export.datasets import Dataset
from covey_export.datasets.sample import Sample
from covey_export.errors import ExportError, InvalidNetwork
from covey_export.image_classifier import ImageClassifier
from covey_export.networks import NETWORKS, Output
from covey_export.quantization.precision import Precision
from covey_export.trained_model import TrainedModel
from covey_export.training.recipes import find_recipe
from covey_proto import metadata
from covey_server.explaining.inside import Inside
from covey_server.images.pixels import InputSpec
from covey_server.inference.engine import Engine
from covey_server.inference.served_model import ServedModel


def fresh(name: str) -> ImageClassifier:
    """A network with fresh weights."""
    torch.manual_seed(0)
    recipe = dataclasses.replace(find_recipe(name, None), mean=(0.5,), std=(0.25,))
    return image_classifier.build(NETWORKS[name], 10, recipe).eval()


@pytest.mark.parametrize(("name", "size"), [("mlp", 256), ("lenet", 84), ("googlenet", 256)])
def test_it_is_what_the_last_linear_layer_reads(name: str, size: int, tmp_path: Path) -> None:
    model, shape = fresh(name), NETWORKS[name].image_shape
    plain, published = onnx_graph.export(model, shape), onnx_graph.export(model, shape, with_embedding=True)
    sealing.require_valid(published)
    assert [node.op_type for node in published.graph.node] == [node.op_type for node in plain.graph.node]
    path = tmp_path / "model.onnx"
    onnx.save(published, path)
    engine = Engine(path)
    assert engine.embedding_size == size
    images = np.random.default_rng(0).integers(0, 256, (3, *shape), dtype=np.uint8)
    probabilities, found = engine.run_with_embedding(images)
    np.testing.assert_array_equal(probabilities, engine.run(images))
    expected = evaluation.embeddings(model, torch.tensor(images))
    assert embedding.compare(found, expected).largest_difference < 1e-5
    assert found.std() > 0


def test_a_calibrated_network_has_the_same_one() -> None:
    model = fresh("lenet").with_temperature(2.5)
    graph = onnx_graph.export(model, NETWORKS["lenet"].image_shape, with_embedding=True).graph
    assert [value.name for value in graph.output] == ["probabilities", "embedding"]


def test_a_network_that_ends_in_another_layer_is_refused() -> None:
    with pytest.raises(
        InvalidNetwork, match=r"NetworkInNetwork cannot .*: the network ends in \w+; expected a linear layer"
    ):
        onnx_graph.export(fresh("nin"), NETWORKS["nin"].image_shape, with_embedding=True)


def test_one_without_a_linear_module_is_refused() -> None:
    """Whose graph would do, but of which PyTorch's own vector is not known."""

    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3, 16))

        def forward(self, planes: torch.Tensor) -> torch.Tensor:
            return nn.functional.linear(planes.flatten(1).relu(), self.weight)

    model = ImageClassifier(Functional(), Output.LOGITS, torch.tensor(1.0), torch.tensor(0.0)).eval()
    with pytest.raises(InvalidNetwork, match=r"Functional runs no layer of the class torch\.nn\.Linear"):
        evaluation.embeddings(model, torch.zeros((1, 4, 4, 1), dtype=torch.uint8))


def graph_of(nodes: list[onnx.NodeProto], **weights: np.ndarray) -> onnx.ModelProto:
    """From `x` [N, 4] to `probabilities` [N, 3]."""
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


class TestGraphs:
    """Of imported networks, which may have other nodes than PyTorch's exporter makes."""

    W = np.ones((4, 3), np.float32)

    def test_a_product_with_its_bias_behind_it(self) -> None:
        nodes = [
            helper.make_node("Relu", ["x"], ["hidden"]),
            helper.make_node("MatMul", ["hidden", "w"], ["product"]),
            helper.make_node("Add", ["b", "product"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"]),
        ]
        model = graph_of(nodes, w=self.W, b=np.ones(3, np.float32))
        assert embedding.publish(model) == 4
        assert model.graph.node[0].output[0] == model.graph.node[1].input[0] == "embedding"
        onnx.checker.check_model(model, full_check=True)

    @pytest.mark.parametrize(
        ("nodes", "weight", "message"),
        [
            ([helper.make_node("MatMul", ["x", "w"], ["probabilities"])], W, "reads the image itself"),
            (
                [
                    helper.make_node("Relu", ["x"], ["embedding"]),
                    helper.make_node("Neg", ["embedding"], ["hidden"]),
                    helper.make_node("MatMul", ["hidden", "w"], ["probabilities"]),
                ],
                W,
                "is named 'embedding' already",
            ),
            (
                [
                    helper.make_node("Relu", ["x"], ["hidden"]),
                    helper.make_node("MatMul", ["hidden", "w"], ["probabilities"]),
                ],
                W.astype(np.float16),
                "computes in float16",
            ),
            (
                [
                    helper.make_node("MatMul", ["x", "w"], ["scores"]),
                    helper.make_node("Relu", ["scores"], ["probabilities"]),
                ],
                W,
                "ends in Relu; expected a linear layer last",
            ),
        ],
    )
    def test_what_has_none_is_refused(self, nodes: list[onnx.NodeProto], weight: np.ndarray, message: str) -> None:
        with pytest.raises(InvalidNetwork, match=message):
            embedding.publish(graph_of(nodes, w=weight))

    def test_a_name_that_is_kept_is_not_taken(self) -> None:
        nodes = [
            helper.make_node("Relu", ["x"], ["entry"]),
            helper.make_node("MatMul", ["entry", "w"], ["probabilities"]),
        ]
        with pytest.raises(InvalidNetwork, match="reads the image itself"):
            embedding.publish(graph_of(nodes, w=self.W), frozenset(("entry",)))


def test_the_comparison() -> None:
    expected = np.array([[3, 4], [0, 0], [0, 2]], np.float32)
    found = np.array([[3, 4], [1, 0], [2, 0]], np.float32)
    assert embedding.compare(found, expected) == embedding.Comparison(2, 0.5, 0.5)
    assert embedding.compare(expected, expected) == embedding.Comparison(2, 0.0, 1.0)
    nothing = np.zeros((2, 2), np.float32)
    assert embedding.compare(nothing, nothing) == embedding.Comparison(2, 0.0, 1.0)


class TestVerification:
    def test_another_vector_than_pytorchs_is_found(self, trained_model: TrainedModel, tmp_path: Path) -> None:
        model = dataclasses.replace(trained_model, embedding=True)
        path = publication.publish(model, tmp_path, "mlp", RecordedReport()).path
        assert verification.verify(path, model).problems == ()
        changed = onnx.load(path)
        for node in changed.graph.node:
            node.output[:] = ["real" if name == "embedding" else name for name in node.output]
            node.input[:] = ["real" if name == "embedding" else name for name in node.input]
        changed.graph.node.append(helper.make_node("Mul", ["real", "factor"], ["embedding"]))
        changed.graph.initializer.append(numpy_helper.from_array(np.array(1.01, np.float32), "factor"))
        onnx.save(changed, path)
        (problem,) = verification.verify(path, model).problems
        assert problem == "embeddings differ by up to 0.01 of the largest number, allowed are 0.0001"

    def test_its_layers_can_be_explained(self, trained_model: TrainedModel, tmp_path: Path) -> None:
        """Which makes outputs of all layers, of which this one is an output already."""
        model = dataclasses.replace(trained_model, embedding=True)
        served = ServedModel("mlp", 1, Engine(publication.publish(model, tmp_path, "mlp", RecordedReport()).path))
        inside = Inside(served)
        pixels = model.dataset.test_images[:1]
        (layer,) = [each for each in inside.layers if each.output == "embedding"]
        found = inside.answer(layer, inside.run(pixels, ["embedding"])["embedding"])
        np.testing.assert_allclose(found, served.run_with_embedding(pixels)[1][0], rtol=1e-5)

    @pytest.mark.parametrize("precision", [Precision.INT8, Precision.FLOAT16])
    def test_variants_have_nearly_the_same(
        self, trained_model: TrainedModel, tmp_path: Path, precision: Precision, short_timing: None
    ) -> None:
        model = dataclasses.replace(trained_model, embedding=True)
        published = publication.publish(model, tmp_path, "mlp", RecordedReport(), precision=precision)
        compared = published.verification.embedding
        assert compared is not None
        assert compared.size == Engine(published.path).embedding_size == 256
        assert compared.mean_cosine > 0.99


class TestCommandLine:
    MLP = ("mlp", "--dataset", "sample")

    @pytest.fixture(autouse=True)
    def _on_few_images(self, small: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)

        def load(self: Sample, spec: InputSpec, data_dir: Path | None) -> Dataset:
            return small

        monkeypatch.setattr(Sample, "load", load)

    def test_it_is_said_everywhere(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["all", *self.MLP, "--epochs", "2", "--embedding"]) == 0
        assert "embedding of 256 numbers: largest difference" in capsys.readouterr().out
        info = metadata.from_json(Engine(Path("models/mlp/1/model.onnx")).metadata[metadata.KEY])
        assert info.embedding_size == 256
        assert json.loads(Path("models/mlp/1/verification.json").read_text())["embedding"]["size"] == 256
        assert "embedding of 256 numbers" in Path("models/mlp/1/report.html").read_text()

        assert main(["all", *self.MLP, "--embedding"]) == 0
        assert "it is verified once more" in capsys.readouterr().out
        assert main(["convert", *self.MLP]) == 0
        assert main(["verify", *self.MLP, "--version", "1"]) == 0
        assert "embedding of 256 numbers" in capsys.readouterr().out
        assert main(["verify", *self.MLP, "--version", "2"]) == 0
        assert "embedding" not in capsys.readouterr().out

    @pytest.mark.parametrize("command", ["all", "train"])
    def test_a_network_without_one_is_refused_before_it_is_trained(
        self, command: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main([command, "nin", "--dataset", "sample", "--embedding"]) == ExportError.exit_code
        assert "cannot publish an embedding" in capsys.readouterr().err
        assert not Path("checkpoints").exists()
