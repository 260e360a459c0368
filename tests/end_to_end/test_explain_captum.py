"""Heat maps against captum's, which has gradients: Grad-CAM, occlusion and integrated gradients of the same network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from covey_export.__main__ import main
from covey_export.datasets import find_entry
from covey_server.explaining import heat
from covey_server.explaining.inside import Inside
from covey_server.images.input_spec import InputSpec
from covey_server.inference.devices import CPU
from covey_server.inference.model_loader import ModelLoader
from covey_server.inference.served_model import ServedModel

captum = pytest.importorskip("captum.attr", reason="captum is not installed")

SIDE, CELLS = 28, heat.CELLS
LIKE_OCCLUSION, LIKE_GRADIENTS = 0.9, 0.3  # mean correlation with captum's; fixed before the first run
IMAGES = 10


class Net(nn.Module):
    """`[N, 1, 28, 28]` in 0..1 to scores of ten digits, by a pooled linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 12, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(12, 24, 5, padding=2), nn.ReLU()
        )
        self.classifier = nn.Linear(24, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.classifier(self.features(images).mean(dim=(2, 3)))
        return scores


class LogOdds(nn.Module):
    """Of each class against all others."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        chances = self.network(images).double().log_softmax(dim=1)
        others = torch.stack(
            [torch.cat([chances[:, :k], chances[:, k + 1 :]], dim=1).logsumexp(dim=1) for k in range(10)], dim=1
        )
        odds: torch.Tensor = chances - others
        return odds


class Trained:
    """The network, the same as a served model, and digits that it knows."""

    def __init__(self, folder: Path) -> None:
        torch.manual_seed(0)
        sample = find_entry("sample").load(InputSpec(SIDE, SIDE, 1), None)
        images = torch.from_numpy(np.asarray(sample.train_images).reshape(-1, 1, SIDE, SIDE).copy()).float() / 255
        labels = torch.from_numpy(np.asarray(sample.train_labels).copy()).long()
        self.network = Net()
        optimizer = torch.optim.Adam(self.network.parameters(), 0.01)
        for _ in range(2):
            for some in torch.split(torch.randperm(len(images)), 64):
                optimizer.zero_grad()
                nn.functional.cross_entropy(self.network(images[some]), labels[some]).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        self.network.eval()
        source = folder / "digits.onnx"
        torch.onnx.export(
            self.network, (images[:2],), str(source), dynamo=True, external_data=False, verbose=False,
            dynamic_shapes=({0: torch.export.Dim("N")},),
        )  # fmt: skip
        models = folder / "models"
        assert main(["import", str(source), "--name", "digits", "--models", str(models), "--like", "0..1"]) == 0
        self.model: ServedModel = ModelLoader(CPU, 1, 64)("digits", 1, models / "digits" / "1" / "model.onnx")
        self.inside = Inside(self.model)
        self.pixels = np.asarray(sample.test_images).reshape(-1, 1, SIDE, SIDE, 1)[:IMAGES]

    def cases(self) -> Iterator[tuple[NDArray[np.uint8], torch.Tensor, int]]:
        for pixels in self.pixels:
            image = torch.from_numpy(pixels.reshape(1, 1, SIDE, SIDE).copy()).float() / 255
            yield pixels, image, int(self.model.run(pixels)[0].argmax())

    def occluded(self, pixels: NDArray[np.uint8], index: int) -> NDArray[np.float32]:
        return heat.occlusion(self.model.run, pixels, index, [0.0]).values


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory.mktemp("captum"))


def cells(attributions: torch.Tensor) -> NDArray[np.float64]:
    """Per cell of the occlusion's grid."""
    values: NDArray[np.float64] = attributions.detach().double().numpy().reshape(SIDE, SIDE)
    return np.asarray(values.reshape(CELLS, SIDE // CELLS, CELLS, SIDE // CELLS).mean(axis=(1, 3)))


def correlation(one: NDArray[np.float32], other: NDArray[np.float64]) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def test_the_class_activation_map_is_grad_cam_without_gradients(trained: Trained) -> None:
    head = heat.find_head(trained.inside, 10)
    assert head is not None
    gradients = captum.LayerGradCam(trained.network, trained.network.features)
    for pixels, image, index in trained.cases():
        expected = gradients.attribute(image, target=index).detach().numpy()[0, 0]
        found = heat.class_activation(trained.inside, head, pixels, index)
        assert found is not None
        np.testing.assert_allclose(found.values / found.values.size, expected, rtol=1e-3, atol=1e-4)


def test_occlusion_is_that_of_captum(trained: Trained) -> None:
    """captum covers no parts that lie half outside: at the edges both differ."""
    size, step = heat._COVERED * SIDE // CELLS, SIDE // CELLS
    method = captum.Occlusion(LogOdds(trained.network))
    found = []
    for pixels, image, index in trained.cases():
        expected = method.attribute(
            image, (1, size, size), strides=(1, step, step), target=index, baselines=0, perturbations_per_eval=64
        )
        found.append(correlation(trained.occluded(pixels, index), cells(expected)))
    print(f"occlusion: correlation {np.mean(found):.3f}, at the least {np.min(found):.3f}")
    assert np.mean(found) > LIKE_OCCLUSION


def test_occlusion_agrees_with_integrated_gradients(trained: Trained) -> None:
    method = captum.IntegratedGradients(LogOdds(trained.network))
    found = []
    for pixels, image, index in trained.cases():
        expected = method.attribute(image, baselines=0, target=index, n_steps=50)
        found.append(correlation(trained.occluded(pixels, index), cells(expected)))
    print(f"integrated gradients: correlation {np.mean(found):.3f}, at the least {np.min(found):.3f}")
    assert np.mean(found) > LIKE_GRADIENTS
