"""What verification says, what it lets pass, and what the file says of itself."""

from __future__ import annotations

import dataclasses

import pytest

from covey_export import model_info, verification
from covey_export.checkpoint import Checkpoint
from covey_export.datasets import Dataset
from covey_export.evaluation import Accuracy
from covey_export.networks import NETWORKS
from covey_export.publication import Published
from covey_export.trained_model import TrainedModel
from covey_export.verification_record import Disagreement
from covey_proto.resize import Resize
from covey_proto.v1.classifier_pb2 import ImageSpec

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
