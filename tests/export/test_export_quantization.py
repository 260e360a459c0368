"""Variants in int8 and float16: the same contract, smaller, held against PyTorch, and honest about what they gain."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper
from tests.export.recorded_report import RecordedReport, tree

from covey_export import image_classifier, onnx_graph, publication, sealing
from covey_export.checkpoint import Checkpoint
from covey_export.datasets import Dataset
from covey_export.errors import ExportError, VerificationFailed
from covey_export.evaluation import predict
from covey_export.networks import NETWORKS
from covey_export.publication import Published
from covey_export.quantization import float16, int8, normalisation
from covey_export.quantization.precision import Precision
from covey_export.trained_model import TrainedModel
from covey_export.training.recipes import find_recipe
from covey_export.verification_record import LISTED_DISAGREEMENTS
from covey_proto import metadata
from covey_proto.v1.classifier_pb2 import ImageSpec, ModelInfo
from covey_server.inference.devices import CPU
from covey_server.inference.engine import Engine
from covey_server.inference.model_loader import ModelLoader

MLP = NETWORKS["mlp"]
VARIANTS = (Precision.INT8, Precision.FLOAT16)


@dataclasses.dataclass(frozen=True)
class Variants:
    models: Path
    published: dict[Precision, Published]
    said: dict[Precision, str]


@pytest.fixture(scope="module")
def variants(trained_model: TrainedModel, tmp_path_factory: pytest.TempPathFactory) -> Variants:
    """`trained` as `mlp-int8` and `mlp-float16`. Not to be changed: copy them first."""
    models = tmp_path_factory.mktemp("variants")
    reports = {precision: RecordedReport() for precision in VARIANTS}
    found = {
        precision: publication.publish(trained_model, models, "mlp", report, precision=precision)
        for precision, report in reports.items()
    }
    return Variants(models, found, {precision: report.text for precision, report in reports.items()})


@pytest.mark.usefixtures("short_timing")
@pytest.mark.parametrize("precision", VARIANTS)
class TestVariant:
    def test_its_graph_is_the_contract(self, variants: Variants, precision: Precision) -> None:
        model = onnx.load(variants.published[precision].path)
        onnx.checker.check_model(model, full_check=True)
        (images,), (probabilities,) = model.graph.input, model.graph.output
        types = [value.type.tensor_type for value in (images, probabilities)]
        assert [value.name for value in (images, probabilities)] == ["images", "probabilities"]
        assert [each.elem_type for each in types] == [TensorProto.UINT8, TensorProto.FLOAT]
        assert [[d.dim_param or d.dim_value for d in each.shape.dim] for each in types] == [
            ["batch", 28, 28, 1],
            ["batch", 10],
        ]
        assert [entry.key for entry in model.metadata_props] == [metadata.KEY]

    def test_it_says_what_it_is(self, variants: Variants, precision: Precision) -> None:
        info = metadata.from_json(onnx.load(variants.published[precision].path).metadata_props[0].value)
        assert (info.name, info.version) == (f"mlp-{precision.value}", 1)
        assert info.build.precision == precision.value
        assert info.golden_set.reference == ("onnxruntime" if precision is Precision.INT8 else "pytorch")
        assert info.golden_set.tolerance == pytest.approx(precision.tolerance)

    def test_normalisation_and_softmax_stay_in_float32(self, variants: Variants, precision: Precision) -> None:
        model = onnx.shape_inference.infer_shapes(onnx.load(variants.published[precision].path), strict_mode=True)
        kind = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
        names = {node.name: node for node in model.graph.node}
        chain = [names[name] for name in normalisation.nodes(model.graph)]
        assert [node.op_type for node in chain][:2] == ["Transpose", "Cast"]
        (mul,) = (node for node in model.graph.node if node.op_type == "Mul")
        (softmax,) = (node for node in model.graph.node if node.op_type == "Softmax")
        assert kind[mul.input[0]] == kind[mul.output[0]] == kind[softmax.input[0]] == TensorProto.FLOAT
        assert softmax.output[0] == "probabilities"

    def test_its_folder_holds_the_model_and_the_verification(self, variants: Variants, precision: Precision) -> None:
        folder = variants.models / f"mlp-{precision.value}"
        assert tree(folder) == {"1", "1/model.onnx", "1/verification.json"}

    def test_it_is_smaller(self, variants: Variants, published: Published, precision: Precision) -> None:
        size, whole = (each.path.stat().st_size for each in (variants.published[precision], published))
        assert whole / size > (3.0 if precision is Precision.INT8 else 1.8)
        speed = variants.published[precision].verification.speed
        assert speed is not None
        assert speed.times_smaller == pytest.approx(whole / size, rel=0.01)

    def test_the_server_loads_checks_and_serves_it(
        self, variants: Variants, small: Dataset, published: Published, precision: Precision
    ) -> None:
        path = variants.models / f"mlp-{precision.value}" / "1" / "model.onnx"
        served = ModelLoader(CPU, threads=1, max_batch_size=8)(f"mlp-{precision.value}", 1, path)
        assert served.golden_difference <= precision.tolerance
        answers, float32 = served.run(small.test_images), Engine(published.path).run(small.test_images)
        assert 0 < np.abs(answers - float32).max() < 0.1  # another model, and nearly the same

    def test_its_verification_says_what_it_costs_and_gains(self, variants: Variants, precision: Precision) -> None:
        published, said = variants.published[precision], variants.said[precision]
        found = published.verification
        record = json.loads(published.path.with_name("verification.json").read_text())
        assert record["precision"] == precision.value
        assert record["accuracy_lost"] == found.torch_accuracy - found.onnxruntime_accuracy
        assert len(record["first_disagreements"]) == min(found.disagreements, LISTED_DISAGREEMENTS)
        assert record["difference_between_batch_sizes"] <= precision.tolerance
        assert record["problems"] == []
        assert found.speed is not None
        assert "1" in record["speed"]["times_the_speed"]
        assert record["speed"]["pays"] == found.speed.pays
        assert f"verified on 100 test images in {precision.value}: accuracy " in said
        assert f"top-1 disagreements {found.disagreements}" in said
        assert found.speed.sentence in said
        assert f"{precision.value} {'pays' if found.speed.pays else 'does not pay'} here" in said

    def test_the_next_version_is_its_own(
        self, trained_model: TrainedModel, variants: Variants, tmp_path: Path, precision: Precision
    ) -> None:
        (tmp_path / "mlp" / "7").mkdir(parents=True)
        (tmp_path / precision.model_name("mlp") / "2").mkdir(parents=True)
        found = publication.publish(trained_model, tmp_path, "mlp", RecordedReport(), precision=precision)
        assert found.path == tmp_path / f"mlp-{precision.value}" / "3" / "model.onnx"
        assert found.info.version == 3

    def test_it_can_be_verified_again(
        self, trained_model: TrainedModel, variants: Variants, tmp_path: Path, precision: Precision
    ) -> None:
        name = precision.model_name("mlp")
        shutil.copytree(variants.models, tmp_path / "models")
        record = tmp_path / "models" / name / "1" / "verification.json"
        record.unlink()
        publication.verify(trained_model, tmp_path / "models", name, None, RecordedReport())
        assert json.loads(record.read_text())["speed"]["sentence"].startswith(precision.value)

    def test_other_weights_are_found_out(
        self, trained_model: TrainedModel, variants: Variants, tmp_path: Path, precision: Precision
    ) -> None:
        name = precision.model_name("mlp")
        shutil.copytree(variants.models, tmp_path / "models")
        path = tmp_path / "models" / name / "1" / "model.onnx"
        model = onnx.load(path)
        weight = next(tensor for tensor in model.graph.initializer if tensor.dims in ([10, 256], [256, 10]))
        weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight)[::-1], weight.name))
        path.write_bytes(model.SerializeToString())
        with pytest.raises(VerificationFailed, match="the server refuses the model: golden set"):
            publication.verify(trained_model, tmp_path / "models", name, None, RecordedReport())


def _ruined(trained: Checkpoint, precision: Precision) -> Checkpoint:
    """The same answers in float32, by numbers that do not fit: for int8 one hidden value nobody takes is so large
    that all others round to 0; for float16 a layer's weights are too small to be told from each other.
    """
    changed = {name: tensor.clone() for name, tensor in trained.trained_weights.items()}
    first, bias, second, _ = changed.values()
    if precision is Precision.INT8:
        bias[0], second[:, 0] = 1e6, 0
    else:
        first.mul_(1e8)
        bias.mul_(1e8)
        second.mul_(1e-8)
    return dataclasses.replace(trained, model=changed, average=None)


@pytest.mark.parametrize("precision", VARIANTS)
def test_a_ruined_variant_is_refused_and_nothing_is_left(
    trained: Checkpoint, small: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: Precision
) -> None:
    models, scratch = tmp_path / "models", tmp_path / "scratch"
    (models / "mlp" / "1").mkdir(parents=True)
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    ruined = _ruined(trained, precision)
    expected = TrainedModel(MLP, ruined, small).probabilities
    assert (expected.argmax(axis=1) == small.test_labels).mean() > 0.5  # PyTorch still answers well
    message = (
        r"not good enough in int8: accuracy .*, in PyTorch .*, on 100 test images: \d+\.\d\d points lost, allowed are "
        r"0\.50\. Serve this network in float32"
        if precision is Precision.INT8
        else "the server refuses the model: golden set: probabilities differ from those of pytorch"
    )
    with pytest.raises(VerificationFailed, match=message):
        publication.publish(TrainedModel(MLP, ruined, small), models, "mlp", RecordedReport(), precision=precision)
    assert tree(models) == {"mlp", "mlp/1"}
    assert tree(scratch) == set()


@pytest.mark.usefixtures("short_timing")
def test_publishing_leaves_nothing_behind_in_the_process_or_the_temporary_folder(
    trained: Checkpoint,
    small: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    root = logging.getLogger()
    before = (list(sys.path), list(root.handlers), list(root.filters))
    model = TrainedModel(MLP, trained, small)  # which torch is to export in here
    for precision in VARIANTS:
        publication.publish(model, tmp_path / "models", "mlp", RecordedReport(), precision=precision)
    assert (sys.path, root.handlers, root.filters) == before
    assert tree(scratch) == set()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["cifar-net", "resnet"])
def test_convolutions_are_quantized_too(name: str, tmp_path: Path) -> None:
    """Of fresh weights: what matters is that every convolution takes integers, and that the answers stay near."""
    network = NETWORKS[name]
    height, width, channels = network.image_shape
    torch.manual_seed(0)
    recipe = dataclasses.replace(find_recipe(name, None), mean=(0.5,), std=(0.25,))
    model = image_classifier.build(network, 10, recipe).eval()
    info = ModelInfo(input=ImageSpec(height=height, width=width, channels=channels))
    path = tmp_path / "model.onnx"
    path.write_bytes(sealing.seal(onnx_graph.export(model, network.image_shape), info))
    images = np.random.default_rng(0).integers(0, 256, (8, *network.image_shape), dtype=np.uint8)
    expected = predict(model, torch.tensor(images))
    float32_size = path.stat().st_size

    quantized = int8.convert(path, images)
    producers = {node.output[0]: node.op_type for node in quantized.graph.node}
    taken = [producers[name] for node in quantized.graph.node if node.op_type == "Conv" for name in node.input]
    assert taken
    assert set(taken) == {"DequantizeLinear"}
    halved = float16.convert(onnx.load(path))
    for variant, smaller in ((quantized, 2.8), (halved, 1.8)):
        path.write_bytes(sealing.seal(variant, info))
        assert float32_size / path.stat().st_size > smaller
        assert np.abs(Engine(path).run(images) - expected).max() < 0.05


class TestCalibrationImages:
    def test_they_are_of_all_classes_alike_and_always_the_same(self, small: Dataset) -> None:
        few = int8.calibration_images(small.train_images, small.train_labels, 50)
        places = [int(np.flatnonzero((small.train_images == image).all(axis=(1, 2, 3)))[0]) for image in few]
        assert np.bincount(small.train_labels[places]).tolist() == [5] * 10
        assert np.array_equal(few, int8.calibration_images(small.train_images, small.train_labels, 50))

    def test_where_there_are_few_all_are_taken(self, small: Dataset) -> None:
        assert len(int8.calibration_images(small.train_images, small.train_labels, 10_000)) == len(small.train_images)


class TestPrecision:
    def test_a_name_that_gets_too_long_is_refused(
        self, trained_model: TrainedModel, tmp_path: Path, report: RecordedReport
    ) -> None:
        with pytest.raises(ExportError, match="-int8' cannot be a model's name"):
            publication.publish(trained_model, tmp_path, "x" * 60, report, precision=Precision.INT8)
        assert not tree(tmp_path)

    def test_what_no_version_of_covey_computes_in_is_refused(self) -> None:
        assert Precision.of_file("") is Precision.FLOAT32
        with pytest.raises(VerificationFailed, match="computes in 'int4', known are float32, float16, int8"):
            Precision.of_file("int4")
