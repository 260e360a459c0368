"""A temperature (`--calibrate`) and a threshold for unknown images (`--abstain`): fitted to images kept from training,
and said wherever the model is described."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from tests.export.recorded_report import CPU, RecordedReport
from torch import nn

from covey_export import evaluation, publication
from covey_export.__main__ import main
from covey_export.datasets import Dataset
from covey_export.datasets.sample import Sample
from covey_export.errors import InvalidCheckpoint
from covey_export.examination import temperature, unknown
from covey_export.examination.answers import Scorer, log_softmax
from covey_export.image_classifier import ImageClassifier
from covey_export.networks import NETWORKS
from covey_export.networks.network import Output as NetworkOutput
from covey_export.quantization.precision import Precision
from covey_export.trained_model import TrainedModel
from covey_export.training.recipes import find_recipe
from covey_export.training.run import train
from covey_proto import metadata
from covey_proto.v1 import classifier_pb2 as pb
from covey_server.batching.output import Output
from covey_server.images.pixels import InputSpec
from covey_server.inference.engine import Engine
from covey_server.inference.served_model import ServedModel
from covey_server.protocols.classifier.responses import ResponseWriter


@pytest.fixture(scope="module", params=["mlp", "lenet"])
def pair(
    request: pytest.FixtureRequest, small: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TrainedModel, TrainedModel]:
    """A network with a softmax of its own (mlp) and one without, as trained and calibrated."""
    network, kept = NETWORKS[request.param], small.keeping_validation()
    recipe = find_recipe(network.name, "tutorial")
    folder = tmp_path_factory.mktemp(request.param)
    checkpoint = train(
        network,
        kept,
        recipe,
        folder,
        CPU,
        RecordedReport(),
        changes={"epochs": 4, "learning_rate": 0.01, "batch_size": 32},
    )
    return TrainedModel(network, checkpoint, kept), TrainedModel(network, checkpoint, kept, calibrate=True)


class TestKept:
    def test_nothing_is_trained_with_them_and_the_test_images_stay(self, small: Dataset) -> None:
        found, split = small.keeping_validation(), small.with_validation()
        assert found.kept is not None
        assert (found.kept.images == split.test_images).all()
        assert (found.kept.labels == split.test_labels).all()
        assert (found.train_images == split.train_images).all()
        assert found.test_digest == small.test_digest
        assert found.kept_images == len(small.train_labels) - len(found.train_labels) == 61

    def test_they_are_the_same_whatever_the_order_of_the_classes(self, small: Dataset) -> None:
        turned = small.in_order(small.labels[::-1]).keeping_validation()
        found = small.keeping_validation()
        assert turned.kept is not None
        assert found.kept is not None
        assert (turned.kept.images == found.kept.images).all()
        assert (turned.kept.labels == 9 - found.kept.labels).all()


class TestTemperature:
    def test_it_is_fitted_to_the_kept_images_alone(self, pair: tuple[TrainedModel, TrainedModel]) -> None:
        _, calibrated = pair
        dataset, scaling = calibrated.dataset, calibrated.scaling
        assert dataset.kept is not None
        assert scaling is not None
        scores = evaluation.scores(calibrated.classifier, torch.tensor(dataset.kept.images))
        assert scaling.temperature == pytest.approx(temperature.fit(scores, dataset.kept.labels), rel=1e-6)
        assert temperature.loss(scores, dataset.kept.labels, scaling.temperature) < temperature.loss(
            scores, dataset.kept.labels
        )

    def test_without_kept_images_there_is_none(self, trained_model: TrainedModel) -> None:
        with pytest.raises(InvalidCheckpoint, match="kept none; train anew with --keep-validation --restart"):
            _ = dataclasses.replace(trained_model, calibrate=True).classifier


class TestClasses:
    @pytest.mark.parametrize("divisor", [0.05, 0.7, 1.3, 20.0])
    def test_no_class_changes_whatever_the_temperature(self, divisor: float) -> None:
        """Scores of all sizes, close ones too."""
        random = np.random.default_rng(0)
        rows = random.normal(0, random.choice([0.1, 1, 30], (3_000, 1)), (3_000, 10)).astype(np.float32)
        plain = ImageClassifier(_Given(rows), NetworkOutput.LOGITS, torch.tensor(1.0), torch.tensor(0.0)).eval()
        images = torch.zeros((3_000, 1, 1, 1), dtype=torch.uint8)
        before, after = plain(images), plain.with_temperature(divisor)(images)
        assert (before.argmax(dim=1) == after.argmax(dim=1)).all()
        assert (after - before).abs().max() > 0.01
        assert (after.sum(dim=1) - 1).abs().max() < 1e-5

    def test_no_class_of_a_published_model_changes(
        self, pair: tuple[TrainedModel, TrainedModel], tmp_path: Path
    ) -> None:
        plain, calibrated = pair
        name, report = plain.network.name, RecordedReport()
        files = [publication.publish(each, tmp_path, name, report).path for each in (plain, calibrated)]
        images = np.concatenate([plain.dataset.train_images, plain.dataset.test_images])
        before, after = (Engine(path).run(images) for path in files)
        assert (before.argmax(axis=1) == after.argmax(axis=1)).all()
        assert np.abs(before - after).max() > 1e-3
        scaling = calibrated.scaling
        assert scaling is not None
        # The graph's last step but one is the division, and all that it does.
        scores = Scorer(files[0]).scores(images)
        assert np.abs(np.exp(log_softmax(scores, scaling.temperature)) - after).max() < 1e-5
        kinds = [[node.op_type for node in onnx.load(path).graph.node] for path in files]
        assert "Div" not in kinds[0]
        assert kinds[1][-2:] == ["Div", "Softmax"]

    @pytest.mark.usefixtures("short_timing")
    @pytest.mark.parametrize("precision", [Precision.INT8, Precision.FLOAT16])
    def test_a_variant_has_it_too(
        self, pair: tuple[TrainedModel, TrainedModel], precision: Precision, tmp_path: Path
    ) -> None:
        _, calibrated = pair
        found = publication.publish(calibrated, tmp_path, "model", RecordedReport(), precision=precision)
        assert np.abs(Engine(found.path).run(calibrated.dataset.test_images) - calibrated.probabilities).mean() < 0.01
        assert found.info.HasField("calibration")


class _Given(nn.Module):
    """Answers with the rows that it was given."""

    def __init__(self, rows: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> None:
        super().__init__()
        self._rows = torch.tensor(rows)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self._rows[: len(images)]


class TestThreshold:
    @pytest.mark.parametrize(("rate", "value"), [(0.05, 0.25), (0.25, 0.5), (0.3, 0.5), (0.5, 0.75)])
    def test_it_is_the_largest_that_no_more_than_the_rate_lie_below(self, rate: float, value: float) -> None:
        kept = np.array([[0.25], [0.5], [0.75], [1.0]], np.float32)
        tested = np.array([[0.1, 0.2], [0.9, 0.1], [0.75, 0.25], [0.3, 0.5]], np.float32)
        found = unknown.fit(kept, tested, rate)
        assert (found.value, found.images, found.false_alarms) == (value, 4, rate)
        assert found.test_false_alarms == (tested.max(axis=1) < value).mean()

    def test_it_is_fitted_to_the_calibrated_probabilities_of_the_kept_images(
        self, pair: tuple[TrainedModel, TrainedModel]
    ) -> None:
        for model in pair:
            found = dataclasses.replace(model, abstain=0.1).threshold
            assert found is not None
            assert model.dataset.kept is not None
            largest = evaluation.predict(model.classifier, torch.tensor(model.dataset.kept.images)).max(axis=1)
            assert 0.08 < (largest < found.value - 1e-6).mean() <= 0.1
            assert found.images == 61

    def test_a_server_calls_as_many_unknown(self, pair: tuple[TrainedModel, TrainedModel], tmp_path: Path) -> None:
        model = dataclasses.replace(pair[1], abstain=0.25)
        path = publication.publish(model, tmp_path, "wary", RecordedReport()).path
        served = ServedModel("wary", 1, Engine(path))
        images, threshold = model.dataset.test_images, model.threshold
        assert threshold is not None
        writer = ResponseWriter.of(served)
        rows = writer.results(Output(served.run(images)), 1, 0, len(images))
        results = pb.ClassifyResponse.FromString(b"".join(rows)).results
        share = np.mean([not result.known for result in results])
        assert share == pytest.approx(threshold.test_false_alarms, abs=0.011)
        assert share == pytest.approx(0.25, abs=0.15)


class TestCommandLine:
    @pytest.fixture(autouse=True)
    def _on_few_images(self, small: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)

        def load(entry: Sample, spec: InputSpec, data_dir: Path | None) -> Dataset:
            return small

        monkeypatch.setattr(Sample, "load", load)

    MLP = ("mlp", "--dataset", "sample")
    TRAINING = ("--epochs", "4", "--device", "cpu")

    def test_all_says_it_everywhere_and_does_nothing_twice(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["all", *self.MLP, *self.TRAINING, "--calibrate"]) == 0
        said = capsys.readouterr().out
        assert "539 training and 100 test images" in said
        info = metadata.from_json(Engine(Path("models/mlp/1/model.onnx")).metadata[metadata.KEY])
        calibration = info.calibration
        assert calibration.images == 61
        assert 0 < calibration.temperature != 1
        line = f"scores divided by a temperature of {calibration.temperature:.3f}"
        assert f"{line}: expected calibration error {calibration.error_before:.2%} before" in said
        record = json.loads(Path("models/mlp/1/verification.json").read_text())
        assert record["calibration"]["temperature"] == calibration.temperature
        assert record["calibration"]["error_after"] == calibration.error_after
        for file in ("MODEL_CARD.md", "report.html"):
            assert line in Path("models/mlp/1", file).read_text()

        assert main(["all", *self.MLP, "--calibrate"]) == 0
        assert "was made from this very checkpoint: it is verified once more" in capsys.readouterr().out
        assert [path.name for path in Path("models/mlp").iterdir()] == ["1"]
        assert main(["all", *self.MLP]) == 0  # another model of the same checkpoint
        info = metadata.from_json(Engine(Path("models/mlp/2/model.onnx")).metadata[metadata.KEY])
        assert not info.HasField("calibration")
        assert "calibrated" not in Path("models/mlp/2/MODEL_CARD.md").read_text()

    def test_a_threshold_is_said_everywhere_too(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["all", *self.MLP, *self.TRAINING, "--abstain", "0.1"]) == 0
        said = capsys.readouterr().out
        info = metadata.from_json(Engine(Path("models/mlp/1/model.onnx")).metadata[metadata.KEY])
        assert (info.unknown.false_alarms, info.unknown.images) == (0.1, 61)
        assert not info.HasField("calibration")
        line = f"images are unknown where no class reaches a probability of {info.unknown.threshold:.6g}, as on 10.00%"
        record = json.loads(Path("models/mlp/1/verification.json").read_text())["unknown"]
        assert record["value"] == info.unknown.threshold  # a float32 both
        assert record["images"] == 61
        card = Path("models/mlp/1/MODEL_CARD.md").read_text()
        for text in (said, card, Path("models/mlp/1/report.html").read_text()):
            assert line in text
        assert "marked as unknown" in card

        assert main(["all", *self.MLP, "--abstain", "0.1"]) == 0
        assert "it is verified once more" in capsys.readouterr().out
        assert main(["convert", *self.MLP, "--abstain", "0.2"]) == 0
        assert main(["verify", *self.MLP]) == 0
        assert main(["verify", *self.MLP, "--version", "1"]) == 0
        again = capsys.readouterr().out
        assert (again.count("as on 20.00%"), again.count("as on 10.00%")) == (2, 1)

    @pytest.mark.parametrize("rate", ["0", "1", "-0.1", "nan", "many"])
    def test_a_rate_is_a_share(self, rate: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit, match="2"):
            main(["convert", *self.MLP, f"--abstain={rate}"])
        assert "expected a number above 0, to below 1" in capsys.readouterr().err

    def test_each_step_alone(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["train", *self.MLP, *self.TRAINING, "--keep-validation"]) == 0
        assert main(["convert", *self.MLP, "--calibrate"]) == 0
        assert main(["verify", *self.MLP]) == 0
        assert main(["report", *self.MLP]) == 0
        assert capsys.readouterr().out.count("scores divided by a temperature of") == 2

    def test_a_training_that_kept_none_cannot_be_calibrated(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["train", *self.MLP, *self.TRAINING]) == 0
        for command in (["convert", *self.MLP, "--calibrate"], ["train", *self.MLP, "--keep-validation"]):
            assert main(command) == 2
            assert "train anew with --keep-validation --restart" in capsys.readouterr().err
        assert main(["train", *self.MLP, *self.TRAINING, "--keep-validation", "--restart"]) == 0
        assert main(["convert", *self.MLP, "--calibrate"]) == 0

    def test_what_learns_nothing_is_not_calibrated(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["all", "conv-demo", "--calibrate"]) == 2
        assert "conv-demo has nothing to learn; omit --calibrate" in capsys.readouterr().err
        assert main(["all", "conv-demo", "mlp", "--dataset", "demo", "--calibrate"]) == 2
        assert "note: conv-demo has nothing to learn; --calibrate does not apply" in capsys.readouterr().out
