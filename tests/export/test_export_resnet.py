"""What makes resnet learn in few epochs: whitened patches, convolutions that begin as the identity, fast biases."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from tests.export.recorded_report import CPU, RecordedReport
from tests.export.trainings import RECIPE, InterruptingReport, assert_same
from torch import nn

from covey_export import checkpoint as checkpoints
from covey_export.checkpoint import Checkpoint
from covey_export.datasets import Dataset
from covey_export.errors import TrainingInterrupted
from covey_export.networks import NETWORKS
from covey_export.networks.resnet import ResNet, WhiteningStem
from covey_export.training.run import train
from covey_export.training.trainer import Trainer
from covey_export.weights import Weights

WIDTHS = (8, 12)
# Narrow: the widths are no part of what is tried here.
RESNET = dataclasses.replace(
    NETWORKS["resnet"].fitted_to("sample", (28, 28, 1)),
    build=lambda task: ResNet(task.image_shape[2], task.classes, task.dropout_or(0.0), WIDTHS),
)
SHORT = dataclasses.replace(RECIPE, batch_size=32, epochs=2, bias_rate=64.0, learning_rate=0.01)


@pytest.fixture(scope="module")
def few(small: Dataset) -> Dataset:
    """96 images."""
    return dataclasses.replace(small, train_images=small.train_images[:96], train_labels=small.train_labels[:96])


def _train(few: Dataset, folder: Path, report: RecordedReport, weights: Weights | None = None) -> Checkpoint:
    return train(RESNET, few, SHORT, folder, CPU, report, weights=weights)


def _smooth_images(count: int) -> torch.Tensor:
    """`[N, 3, 12, 12]` whose neighbours and channels resemble each other, as in photographs."""
    rough = torch.randn((count, 3, 14, 14), generator=torch.Generator().manual_seed(0))
    smooth = nn.functional.avg_pool2d(rough, 3, stride=1)
    return smooth + smooth.mean(dim=1, keepdim=True)


class OnApple(torch.Tensor):
    """On a device without float64, as mps is."""

    @classmethod
    def __torch_function__(
        cls, function: object, types: object, arguments: object = (), options: Mapping[str, object] | None = None
    ) -> object:
        result: object = super().__torch_function__(function, types, arguments, options or {})  # type: ignore[no-untyped-call]
        if not isinstance(result, torch.Tensor):
            return result
        if function is torch.Tensor.cpu:
            return result.as_subclass(torch.Tensor)
        if result.dtype is torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64")
        return result


class TestStem:
    def test_components_are_found_where_the_device_has_no_float64(self) -> None:
        images = _smooth_images(20)
        stem, same = WhiteningStem(3), WhiteningStem(3)
        stem.fit(images)
        same.fit(images.as_subclass(OnApple))
        assert torch.equal(stem.weight, same.weight)

    def test_components_of_patches_have_variance_one_and_nothing_in_common(self) -> None:
        stem = WhiteningStem(3)
        images = _smooth_images(200)
        stem.fit(images)
        seen = stem(images).permute(1, 0, 2, 3).flatten(1).detach()
        assert seen.shape[0] == 24
        assert torch.equal(seen[:12], -seen[12:])
        covariance = seen[:12] @ seen[:12].T / seen.shape[1]
        assert torch.allclose(covariance, covariance.diag().diag(), atol=1e-5)
        assert 0.95 < covariance.diag().min() <= covariance.diag().max() < 1  # below 1 by the least variance

    def test_what_varies_most_comes_first_and_what_never_varies_is_no_infinity(self) -> None:
        images = _smooth_images(50)
        images[:, 2] = 0
        stem = WhiteningStem(3)
        stem.fit(images)
        sizes = stem.weight[:12].flatten(1).norm(dim=1)
        assert (sizes.diff() > -1e-3).all()
        assert sizes.max() == pytest.approx(5e-4**-0.5, rel=1e-3)

    def test_comes_from_the_training_images_and_is_not_learned(
        self, few: Dataset, tmp_path: Path, report: RecordedReport
    ) -> None:
        trained = _train(few, tmp_path, report)
        pixels = Trainer(RESNET, few, trained.recipe, 0, CPU).model.normalise(torch.tensor(few.train_images))
        expected = WhiteningStem(1)
        expected.fit(pixels)
        assert torch.equal(trained.model["stem.weight"], expected.weight)
        assert trained.history[1].loss < trained.history[0].loss

    def test_given_weights_keep_their_own(self, few: Dataset, tmp_path: Path, report: RecordedReport) -> None:
        given = ResNet(1, 10, widths=WIDTHS).state_dict()
        trained = _train(few, tmp_path, report, Weights("given.pt", given))
        assert torch.equal(trained.model["stem.weight"], given["stem.weight"])


def test_an_interrupted_training_comes_to_the_same(few: Dataset, tmp_path: Path, report: RecordedReport) -> None:
    with pytest.raises(TrainingInterrupted):
        _train(few, tmp_path / "twice", InterruptingReport(2))
    assert checkpoints.load(tmp_path / "twice").step == 2
    assert_same(_train(few, tmp_path / "twice", report), _train(few, tmp_path / "once", report))


def test_width_is_a_parameter_and_residuals_add_to_what_came_in() -> None:
    built = ResNet(1, 7, widths=(8, 12)).eval()
    widths = [layer.out_channels for layer in built.modules() if isinstance(layer, nn.Conv2d)]
    assert widths == [8, 8, 8, 8, 12, 12, 12]
    residual = built.get_submodule("features.1.4")
    images = torch.rand(2, 8, 6, 6)
    changed = residual.get_submodule("path")(images)
    assert torch.equal(residual(images), nn.functional.gelu(images + changed))
    assert built(torch.rand(2, 1, 9, 13)).shape == (2, 7)


def test_convolutions_begin_as_the_identity() -> None:
    built = ResNet(1, 10)
    images = torch.rand(2, 64, 5, 5)
    same = built.get_submodule("features.1.4.path.0")
    assert torch.equal(same(images), images)
    wider = built.get_submodule("features.2.0")
    assert torch.equal(wider(images)[:, :64], images)
    assert wider(images)[:, 64:].std() > 0


def test_normalisation_has_no_factors_to_learn() -> None:
    normalisations = [layer for layer in ResNet(1, 10).modules() if isinstance(layer, nn.BatchNorm2d)]
    assert len(normalisations) == 9
    assert not any(layer.weight.requires_grad for layer in normalisations)
    assert all(layer.bias.requires_grad for layer in normalisations)
