"""What verification says, what it lets pass, and what the file says of itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.export.recorded_report import RecordedReport

from covey_export import model_info, publication, verification
from covey_export.checkpoint import Checkpoint
from covey_export.datasets import Dataset
from covey_export.errors import InvalidCheckpoint, VerificationFailed
from covey_export.evaluation import Accuracy
from covey_export.networks import NETWORKS
from covey_export.publication import Published
from covey_export.quantization.precision import Precision
from covey_export.trained_model import TrainedModel
from covey_export.verification_record import Disagreement
from covey_proto.resize import Resize
from covey_proto.v1.classifier_pb2 import ImageSpec
from covey_server.images import pixels
from covey_server.inference.engine import Engine

MLP = NETWORKS["mlp"]


class TestAccuracyGate:
    """At most half a point of the test set; of few images one may always be lost."""

    @pytest.mark.parametrize(
        ("images", "lost", "passes"), [(1000, 5, True), (1000, 6, False), (10, 1, True), (10, 2, False)]
    )
    def test_its_limit(self, images: int, lost: int, passes: bool) -> None:
        expected = Accuracy(1.0, (), images)
        found = Accuracy(1.0 - lost / images, (), images)
        assert (verification._variant_problems(found, expected, 0.0, 0.05) == []) is passes

    @pytest.mark.parametrize("difference", [0.06, float("nan")])
    def test_answers_that_depend_on_the_batch_are_a_problem(self, difference: float) -> None:
        same = Accuracy(1.0, (), 100)
        (problem,) = verification._variant_problems(same, same, difference, 0.05)
        assert problem.startswith("the same image's probabilities differ by up to")


Answers = NDArray[np.float32]


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Answers], Answers]], None]:
    """Lets the engine's answers be changed, as a device that computes wrongly would change them."""
    run = Engine.run

    def change(how: Callable[[Answers], Answers]) -> None:
        monkeypatch.setattr(Engine, "run", lambda engine, images: how(run(engine, images)))

    return change


class TestWhatIsCompared:
    """Each of these files would be refused, and nothing of it is published."""

    def publish(self, trained_model: TrainedModel, models: Path, text: str) -> None:
        with pytest.raises(VerificationFailed, match=text):
            publication.publish(trained_model, models, "mlp", RecordedReport())
        assert not list(models.rglob("*.onnx"))

    def test_answers_to_all_test_images(
        self, trained_model: TrainedModel, tmp_path: Path, answers: Callable[..., None]
    ) -> None:
        answers(lambda found: found + np.float32(0.01) * (len(found) == 100 % 64))  # what is left of batches of 64
        self.publish(trained_model, tmp_path, "probabilities differ by up to 0.01, allowed are")

    @pytest.mark.parametrize("size", verification.BATCH_SIZES)
    def test_answers_to_batches_of_each_size(
        self, trained_model: TrainedModel, tmp_path: Path, answers: Callable[..., None], size: int
    ) -> None:
        golden = trained_model.checkpoint.labels  # of the golden set's size, which would be refused before
        answers(lambda found: found + np.float32(0.01) * (len(found) == size != len(golden)))
        self.publish(trained_model, tmp_path, "probabilities differ by up to 0.01, allowed are")

    def test_pixels_of_png_files(
        self, trained_model: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        decode = pixels.decode
        monkeypatch.setattr(pixels, "decode", lambda *given: decode(*given) ^ 1)
        self.publish(trained_model, tmp_path, "PNG files of test images do not decode to the same pixels")

    def test_answers_to_png_files(
        self, trained_model: TrainedModel, tmp_path: Path, answers: Callable[..., None]
    ) -> None:
        runs = 0

        def change(found: Answers) -> Answers:
            nonlocal runs
            runs += 1
            return found + np.float32(1e-7) * (runs % 2)  # less than is allowed

        answers(change)
        self.publish(trained_model, tmp_path, "PNG files of test images get other answers than their pixels")

    def test_answers_of_a_variant_to_batches_of_each_size(
        self, trained_model: TrainedModel, tmp_path: Path, answers: Callable[..., None]
    ) -> None:
        answers(lambda found: found + np.float32(0.06) * (len(found) == 2))
        with pytest.raises(VerificationFailed, match=r"the same image's probabilities differ by up to 0\.06"):
            publication.publish(trained_model, tmp_path, "mlp", RecordedReport(), precision=Precision.FLOAT16)


def test_a_training_on_other_images_is_not_published(trained: Checkpoint, small: Dataset) -> None:
    others = dataclasses.replace(small, train_images=small.train_images[::-1])
    with pytest.raises(InvalidCheckpoint, match="and not the same ones"):
        TrainedModel(MLP, trained, others)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("network", "lenet"),
        ("dataset", "mnist"),
        ("image_shape", (32, 32, 1)),
        ("resize", "center-crop"),
        ("crop", 0.5),
        ("background", "#000000"),
        ("labels", tuple("abcdefghij")),
        ("images_digest", "0" * 64),
        ("seed", 5),
        ("started_from", "torchvision"),
        ("history", ()),
    ],
)
def test_the_digest_of_a_training_is_that_of_all_it_was_made_from(
    trained: Checkpoint, field: str, value: object
) -> None:
    assert getattr(trained, field) != value
    assert dataclasses.replace(trained, **{field: value}).digest != trained.digest  # type: ignore[arg-type]
    assert dataclasses.replace(trained).digest == trained.digest


def test_the_digest_of_a_training_is_that_of_its_weights_and_recipe(trained: Checkpoint) -> None:
    other = {name: tensor + 1e-3 for name, tensor in trained.model.items()}
    renamed = {f"other.{name}": tensor for name, tensor in trained.model.items()}
    recipe = dataclasses.replace(trained.recipe, learning_rate=0.123)
    found = [
        trained.digest,
        dataclasses.replace(trained, model=other).digest,
        dataclasses.replace(trained, model=renamed).digest,
        dataclasses.replace(trained, recipe=recipe).digest,
    ]
    assert len(set(found)) == len(found)


def test_disagreements_of_a_float32_model_are_listed_with_their_margin(published: Published) -> None:
    listed = tuple(Disagreement(place, "3", "5", 2e-5) for place in (4, 9))
    found = dataclasses.replace(published.verification, disagreements=25, first_disagreements=listed)
    assert found.lines()[1:] == [
        "  test image 4: 3 in PyTorch, 5 in the file, margin 2.0e-05",
        "  test image 9: 3 in PyTorch, 5 in the file, margin 2.0e-05",
        "  and 23 more",
    ]
    assert len(published.verification.lines()) == 1


@pytest.mark.parametrize(("dataset", "background"), [("folder:photos", ""), ("mnist", "#ffffff")])
def test_a_checkpoint_from_before_backgrounds_goes_on_with_what_its_images_were(
    trained: Checkpoint, small: Dataset, dataset: str, background: str
) -> None:
    """Alpha was dropped then; published data sets have none."""
    fields = {field.name: getattr(trained, field.name) for field in dataclasses.fields(trained)}
    fields |= {
        "dataset": dataset,
        "recipe": dataclasses.asdict(trained.recipe),
        "history": [dataclasses.asdict(epoch) for epoch in trained.history],
    }
    del fields["background"]
    earlier = Checkpoint.from_fields(fields)
    network = earlier.of_same_images(MLP)
    assert network.spec.background == ((255, 255, 255) if background else None)
    renamed = dataclasses.replace(small, name=dataset)
    info = model_info.describe(TrainedModel(network, earlier, renamed), "mlp", 1)
    assert info.input.background == background


def test_the_file_says_how_images_are_brought_to_it_and_where_its_weights_began(
    trained: Checkpoint, small: Dataset
) -> None:
    network = dataclasses.replace(MLP, resize=Resize.CENTER_CROP, crop=0.875)
    begun = dataclasses.replace(trained, started_from="torchvision", resize="center_crop", crop=0.875)
    info = model_info.describe(TrainedModel(network, begun, small), "mlp", 1)
    assert info.input.resize == ImageSpec.RESIZE_CENTER_CROP
    assert info.input.crop == 0.875
    assert info.input.background == "#ffffff"
    assert info.training.started_from == "torchvision"
    assert (info.build.precision, info.golden_set.reference) == ("float32", "pytorch")
