"""Conversion and publication: what is in the file, that it is whole or absent, and that a wrong one is refused."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from tests.export.recorded_report import RecordedReport, tree

from covey_export import checkpoint as checkpoints
from covey_export import image_classifier, model_info, onnx_graph, publication, sealing, verification
from covey_export.__main__ import main
from covey_export.checkpoint import Checkpoint
from covey_export.datasets import Dataset
from covey_export.errors import ConversionFailed, ExportError, InvalidCheckpoint, MissingModel, VerificationFailed
from covey_export.networks import NETWORKS
from covey_export.publication import Published
from covey_export.quantization.precision import Precision
from covey_export.trained_model import TrainedModel
from covey_export.training.recipes import find_recipe
from covey_proto import metadata
from covey_proto.v1.classifier_pb2 import ImageSpec, ModelInfo
from covey_server.inference.engine import Engine

MLP = NETWORKS["mlp"]


class TestModelFile:
    def test_its_graph_is_the_contract(self, published: Published) -> None:
        model = onnx.load(published.path)
        onnx.checker.check_model(model, full_check=True)
        (images,), (probabilities,) = model.graph.input, model.graph.output
        assert (images.name, images.type.tensor_type.elem_type) == ("images", onnx.TensorProto.UINT8)
        assert (probabilities.name, probabilities.type.tensor_type.elem_type) == (
            "probabilities",
            onnx.TensorProto.FLOAT,
        )
        assert [(d.dim_param, d.dim_value) for d in images.type.tensor_type.shape.dim] == [
            ("batch", 0),
            ("", 28),
            ("", 28),
            ("", 1),
        ]
        assert model.opset_import[0].version == onnx_graph.OPSET
        assert all(not tensor.external_data for tensor in model.graph.initializer)

    @pytest.mark.parametrize(("mean", "adds"), [(0.1307, 1), (0.0, 0)])
    def test_normalisation_is_one_multiply_and_one_add_and_there_is_one_softmax(self, mean: float, adds: int) -> None:
        """No add where the recipe takes no mean from the pixels: it would add 0."""
        torch.manual_seed(0)
        recipe = dataclasses.replace(find_recipe("mlp", "tutorial"), mean=(mean,), std=(0.25,))
        model = image_classifier.build(MLP, 10, recipe).eval()
        info = ModelInfo(input=ImageSpec(height=28, width=28, channels=1))
        proto = onnx_graph.export(model, MLP.image_shape)
        kinds = [node.op_type for node in onnx.load_from_string(sealing.seal(proto, info)).graph.node]
        assert kinds[: 3 + adds] == ["Transpose", "Cast", "Mul", "Add"][: 3 + adds]
        assert [kinds.count(kind) for kind in ("Mul", "Add", "Sub", "Div", "Softmax")] == [1, adds, 0, 0, 1]

    def test_a_graph_that_is_no_valid_onnx_is_refused(
        self, trained_model: TrainedModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """None is known that the exporter would make; so the checker is told to find one."""

        def find(model: onnx.ModelProto, *, full_check: bool) -> None:
            assert full_check
            raise onnx.checker.ValidationError("a node without a name")

        monkeypatch.setattr(onnx.checker, "check_model", find)
        with pytest.raises(ConversionFailed, match="the exported graph is no valid ONNX: a node without a name"):
            sealing.seal(trained_model.graph, ModelInfo())

    def test_a_softmax_of_the_networks_own_is_not_doubled(self, published: Published) -> None:
        kinds = [node.op_type for node in onnx.load(published.path).graph.node]
        assert kinds.count("Softmax") == 1

    def test_it_says_all_of_itself(self, published: Published, trained: Checkpoint, small: Dataset) -> None:
        info = metadata.from_json(Engine(published.path).metadata[metadata.KEY])
        assert info == published.info
        assert (info.name, info.version, list(info.labels)) == ("mlp", 1, list(small.labels))
        assert (info.input.height, info.input.width, info.input.channels) == (28, 28, 1)
        assert info.input.resize == ImageSpec.RESIZE_STRETCH
        assert (info.training.network, info.training.dataset, info.training.recipe) == ("mlp", "sample", "tutorial")
        assert (info.training.epochs, info.training.seed, info.training.test_images) == (3, 0, 100)
        assert info.training.parameters == 203_530
        assert info.training.test_accuracy == trained.history[-1].test_accuracy
        assert info.build.torch_version == torch.__version__
        assert info.build.created.ToDatetime().year > 2000

    def test_its_golden_set_is_two_real_images_of_each_class(self, published: Published, small: Dataset) -> None:
        golden = published.info.golden_set
        pixels = np.frombuffer(golden.pixels, np.uint8).reshape(-1, 28, 28, 1)
        assert len(pixels) == 20
        places = [int(np.flatnonzero((small.test_images == image).all(axis=(1, 2, 3)))[0]) for image in pixels]
        assert np.bincount(small.test_labels[places]).tolist() == [2] * 10
        assert len(golden.probabilities) == 200

    def test_it_says_what_it_answers_on_the_test_images(self, published: Published, small: Dataset) -> None:
        answers = Engine(published.path).run(small.test_images)
        usual = published.info.usual_answers
        assert usual.images == len(small.test_images)
        assert list(usual.classes) == np.bincount(answers.argmax(axis=1), minlength=10).tolist()
        assert sum(usual.confidence) == usual.images
        assert sum(usual.confidence[:5]) == (answers.max(axis=1) <= 0.5).sum()

    def test_it_tells_nothing_of_the_machine_it_was_made_on(self, published: Published) -> None:
        content = published.path.read_bytes()
        assert str(Path(onnx_graph.__file__).parent).encode() not in content
        assert str(published.path.parent.parent.parent).encode() not in content

    def test_many_classes_leave_a_golden_set_of_32(self) -> None:
        places = model_info._golden_places(np.repeat(np.arange(100), 5))
        assert len(places) == 32


@contextmanager
def _files_end_at(size_bytes: int) -> Iterator[None]:
    """A limit on the size of files, which fails a write as a full disk does."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, usual[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)


class TestNothingIsLeftBehind:
    """A version that did not come to its end leaves the models folder as it was."""

    def test_by_ctrl_c(self, trained_model: TrainedModel, tmp_path: Path) -> None:
        class InterruptingReport(RecordedReport):
            def line(self, text: str = "") -> None:
                super().line(text)
                if text.startswith("verifying"):
                    written.extend(tree(tmp_path))
                    os.kill(os.getpid(), signal.SIGINT)

        written: list[str] = []
        with pytest.raises(KeyboardInterrupt):
            publication.publish(trained_model, tmp_path / "models", "mlp", InterruptingReport())
        assert any(path.endswith("model.onnx") for path in written)
        assert not tree(tmp_path)

    def test_by_a_full_disk(
        self,
        trained: Checkpoint,
        sample: Dataset,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        whole = dataclasses.replace(trained, train_images=6000, images_digest=sample.digest)
        checkpoints.save(whole, tmp_path / "checkpoint")
        (tmp_path / "models" / "mlp" / "1").mkdir(parents=True)
        before = tree(tmp_path)
        monkeypatch.chdir(tmp_path)
        with _files_end_at(100_000):
            places = ["--dataset", "sample", "--checkpoint", "checkpoint", "--models", "models"]
            assert main(["convert", "mlp", *places]) == 2
        said = capsys.readouterr().err
        assert "cannot write the model into models: File too large; nothing was left there" in said
        assert "Traceback" not in said
        assert tree(tmp_path) == before

    def test_by_a_full_temporary_folder(
        self, trained_model: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Which is then to blame, not the models folder."""
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        message = f"cannot write temporary files into {tmp_path}: File too large"
        with _files_end_at(100_000), pytest.raises(ConversionFailed, match=message):
            publication.publish(trained_model, tmp_path / "models", "mlp", RecordedReport(), precision=Precision.INT8)
        assert not tree(tmp_path)

    def test_by_a_failed_verification(
        self, trained_model: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        right = sealing.seal

        def wrong(proto: onnx.ModelProto, info: ModelInfo) -> bytes:
            return _with_other_weights(right(proto, info))

        monkeypatch.setattr(sealing, "seal", wrong)
        with pytest.raises(VerificationFailed, match="golden set: probabilities differ"):
            publication.publish(trained_model, tmp_path / "models", "mlp", RecordedReport())
        assert not tree(tmp_path)

    def test_by_a_models_folder_that_is_a_file(self, trained_model: TrainedModel, tmp_path: Path) -> None:
        (tmp_path / "models").write_text("")
        with pytest.raises(ExportError, match="cannot write the model"):
            publication.publish(trained_model, tmp_path / "models", "mlp", RecordedReport())
        assert tree(tmp_path) == {"models"}


def _with_other_weights(data: bytes) -> bytes:
    """The same model with its last bias moved: still a valid file, with other answers."""
    model = onnx.load_from_string(data)
    bias = next(tensor for tensor in model.graph.initializer if list(tensor.dims) == [10])
    moved = numpy_helper.to_array(bias) + np.linspace(0, 1, 10, dtype=np.float32)
    bias.CopyFrom(numpy_helper.from_array(moved, bias.name))
    changed: bytes = model.SerializeToString()
    return changed


def _with_a_tie(trained: Checkpoint, above: int) -> Checkpoint:
    """Classes 3 and 5 get the same weights, and `above` of the two a bias that is larger by a hair."""
    weight, bias = trained.model["classifier.3.weight"].clone(), trained.model["classifier.3.bias"].clone()
    weight[5], bias[5] = weight[3], bias[3]
    bias[above] += 2e-5
    return dataclasses.replace(
        trained, model={**trained.model, "classifier.3.weight": weight, "classifier.3.bias": bias}
    )


class TestVerification:
    @pytest.fixture
    def models(self, published: Published, tmp_path: Path) -> Path:
        models = tmp_path / "models"
        shutil.copytree(published.path.parent.parent.parent, models)
        return models

    def _verify(self, model: TrainedModel, models: Path, version: int | None = None) -> None:
        publication.verify(model, models, "mlp", version, RecordedReport())

    def test_its_record_lies_beside_the_model(self, published: Published, small: Dataset) -> None:
        record = json.loads(published.path.with_name("verification.json").read_text())
        assert record["images"] == len(small.test_images)
        assert record["torch_accuracy"] == record["onnxruntime_accuracy"] == published.info.training.test_accuracy
        assert record["largest_difference"] <= record["tolerance"] == pytest.approx(1e-4)
        assert set(record["difference_by_batch_size"]) == {"1", "2", "3", "7", "64"}
        assert record["disagreements"] == 0
        assert record["problems"] == []
        assert set(record["per_class_accuracy"]) == set(small.labels)
        assert {"torch", "onnxruntime", "covey"} <= record["versions"].keys()

    def test_it_can_be_done_again(self, models: Path, trained_model: TrainedModel) -> None:
        record = models / "mlp" / "1" / "verification.json"
        record.unlink()
        self._verify(trained_model, models)
        assert json.loads(record.read_text())["problems"] == []

    def test_a_file_of_other_weights_is_found_out(self, models: Path, trained_model: TrainedModel) -> None:
        path = models / "mlp" / "1" / "model.onnx"
        path.write_bytes(_with_other_weights(path.read_bytes()))
        with pytest.raises(VerificationFailed, match="the server refuses the model: golden set"):
            self._verify(trained_model, models)

    def test_a_checkpoint_trained_otherwise_is_found_out(
        self, models: Path, trained: Checkpoint, small: Dataset
    ) -> None:
        other = {name: tensor.flip(0) for name, tensor in trained.model.items()}
        with pytest.raises(VerificationFailed, match=r"probabilities differ by up to .*; \d+ test images get another"):
            self._verify(TrainedModel(MLP, dataclasses.replace(trained, model=other), small), models)
        # The record is of the checkpoint that the file was made from, and stays.
        assert json.loads((models / "mlp" / "1" / "verification.json").read_text())["problems"] == []

    def test_a_tie_may_go_either_way(self, trained: Checkpoint, small: Dataset, tmp_path: Path) -> None:
        """Two classes of the same weights, one a hair above the other: in the file one, in PyTorch the other."""
        three_above, five_above = (_with_a_tie(trained, above) for above in (3, 5))
        path = publication.publish(TrainedModel(MLP, three_above, small), tmp_path, "mlp", RecordedReport()).path
        found = verification.verify(path, TrainedModel(MLP, five_above, small))
        assert found.disagreements > 0
        assert {(each.torch_class, each.file_class) for each in found.first_disagreements} == {("5", "3")}
        assert all(0 < each.margin <= found.tolerance for each in found.first_disagreements)
        assert 0 < found.largest_difference <= found.tolerance
        assert found.problems == ()

    def test_a_version_knows_the_checkpoint_it_was_made_from(
        self, trained_model: TrainedModel, models: Path, trained: Checkpoint, small: Dataset, report: RecordedReport
    ) -> None:
        """Another one that verifies it, with the same answers, does not become it."""
        other = TrainedModel(MLP, dataclasses.replace(trained, seed=1), small)
        self._verify(other, models)
        assert publication.verify_made_from(other, models, "mlp", report) is None
        assert publication.verify_made_from(trained_model, models, "mlp-int8", report) is None
        assert not report.text
        found = publication.verify_made_from(trained_model, models, "mlp", report)
        assert found is not None
        assert (found.path, found.info.version) == (models / "mlp" / "1" / "model.onnx", 1)
        assert "mlp version 1 was made from this very checkpoint" in report.text
        weights = {**trained.model, "classifier.3.bias": trained.model["classifier.3.bias"] + 1e-6}
        assert dataclasses.replace(trained, model=weights).digest != trained.digest
        assert dataclasses.replace(trained, seconds=0.0, optimizer=None).digest == trained.digest

    def test_a_version_that_is_not_there_is_named(self, models: Path, trained_model: TrainedModel) -> None:
        with pytest.raises(MissingModel, match=r"no version 7 \(there: 1\)"):
            self._verify(trained_model, models, version=7)
        with pytest.raises(MissingModel, match=r"no version \(there: none\)"):
            self._verify(trained_model, models / "elsewhere")

    def test_another_networks_checkpoint_is_refused(self, models: Path, trained: Checkpoint, small: Dataset) -> None:
        with pytest.raises(InvalidCheckpoint, match="is of mlp on sample, not of lenet on sample"):
            publication.verify(TrainedModel(NETWORKS["lenet"], trained, small), models, "mlp", None, RecordedReport())


def test_a_next_version_with_other_labels_is_pointed_out(
    trained_model: TrainedModel, trained: Checkpoint, small: Dataset, tmp_path: Path, report: RecordedReport
) -> None:
    for _ in range(2):
        publication.publish(trained_model, tmp_path, "digits", report)
    assert "differs from" not in report.text
    labels = tuple(f"class {name}" for name in small.labels)
    renamed = dataclasses.replace(small, labels=labels)
    again = dataclasses.replace(trained, labels=labels, images_digest=renamed.digest)
    publication.publish(TrainedModel(MLP, again, renamed), tmp_path, "digits", report)
    text = " ".join(report.text.split())
    assert "digits version 3 differs from version 2: labels: 10 of 10 differ, first: class 0 'class 0' was '0'" in text
