"""torchvision's networks: found by name, built for other sizes, and eight families of them converted and served."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.models
from bench.processes import covey_server
from numpy.typing import NDArray
from PIL import Image
from tests.export.recorded_report import CPU, RecordedReport
from torch import nn

import covey
from covey_export import head, publication, weights
from covey_export.datasets import Dataset, find_entry
from covey_export.errors import InvalidDataset, InvalidNetwork, InvalidWeights, UnknownName
from covey_export.networks import Network, Task, find_network
from covey_export.trained_model import TrainedModel
from covey_export.training.recipes import find_recipe
from covey_export.training.run import train
from covey_proto.resize import Resize
from covey_server.images.pixels import decode
from covey_server.inference.engine import Engine

FAMILIES = {"squeezenet1_1": 64}
# Converted by `make test-recipes` only: they take most of the time.
LARGE_FAMILIES = {
    "resnet18": 64,
    "mobilenet_v3_small": 64,
    "shufflenet_v2_x0_5": 64,
    "efficientnet_b0": 64,
    "densenet121": 64,
    "convnext_tiny": 64,
    "vit_b_16": 32,
}
CLASSES = ("blue", "green", "red")
MEAN, STD = 0.4, 0.25
# One small network of each family, and the smallest image it takes.
SMALLEST = {
    "alexnet": 63,
    "convnext_tiny": 32,
    "densenet121": 32,
    "efficientnet_b0": 32,
    "efficientnet_v2_s": 33,
    "googlenet": 32,
    "inception_v3": 75,
    "maxvit_t": 224,
    "mnasnet0_5": 32,
    "mobilenet_v2": 32,
    "mobilenet_v3_small": 32,
    "regnet_x_400mf": 32,
    "regnet_y_400mf": 32,
    "resnet18": 32,
    "resnext50_32x4d": 32,
    "shufflenet_v2_x0_5": 32,
    "squeezenet1_0": 32,
    "swin_t": 32,
    "swin_v2_t": 32,
    "vgg11": 32,
    "vit_b_16": 32,
    "vit_b_32": 32,
    "wide_resnet50_2": 32,
}
# These run on real numbers; of the others torch computes the shapes alone, but for `make test-recipes`.
RUN = (
    "alexnet",
    "googlenet",
    "mnasnet0_5",
    "regnet_x_400mf",  # computes its widths by tensors
    "regnet_y_400mf",
    "resnet18",
    "shufflenet_v2_x0_5",
    "squeezenet1_0",
    "swin_t",
    "vit_b_16",
)
WITHOUT_DROPOUT = ("convnext", "maxvit", "regnet", "resnet", "resnext", "shufflenet", "wide_resnet")


def test_every_classification_network_of_torchvision_is_found() -> None:
    names = torchvision.models.list_models(module=torchvision.models)
    assert len(names) >= 80
    for name in names:
        network = find_network(f"torchvision:{name}")
        height, width, channels = network.image_shape
        assert (network.name, network.model_name) == (f"torchvision:{name}", f"torchvision-{name}")
        assert height == width >= 224
        assert channels == 3
        assert network.only_rgb
        assert network.resize is Resize.CENTER_CROP
        assert 0.85 < network.crop <= 1
        assert network.smallest_side is not None
        assert 32 <= network.smallest_side <= height
        assert network.takes_dropout == (not name.startswith(WITHOUT_DROPOUT)), name


def test_size_and_crop_are_those_of_torchvisions_own_weights() -> None:
    resnet, inception = find_network("torchvision:resnet18"), find_network("torchvision:inception_v3")
    assert (resnet.image_shape, resnet.crop) == ((224, 224, 3), 0.875)
    assert (inception.image_shape, inception.smallest_side) == ((299, 299, 3), 75)
    assert inception.crop == pytest.approx(299 / 342)


def test_an_unknown_name_gets_the_nearest_ones() -> None:
    expected = r"no torchvision network is named 'resnet81'. Did you mean resnet18\? There are: resnet18, .*vit_b_16"
    with pytest.raises(UnknownName, match=expected):
        find_network("torchvision:resnet81")


@pytest.mark.parametrize(
    ("name", "device"),
    [
        *((name, "cpu" if name in RUN else "meta") for name in SMALLEST),
        *(pytest.param(name, "cpu", marks=pytest.mark.recipes) for name in SMALLEST if name not in RUN),
    ],
)
def test_each_family_is_built_for_its_smallest_image(name: str, device: str) -> None:
    network = find_network(f"torchvision:{name}")
    side = SMALLEST[name]
    assert network.smallest_side == side
    torch.manual_seed(0)
    fitted = network.fitted_to("pictures", (side, side, 3))
    with torch.device(device):
        module = fitted.build(Task(fitted.image_shape, 5, dropout=0.37 if network.takes_dropout else None))
        outputs = module.train()(torch.zeros(2, 3, side, side))
    assert outputs.shape == (2, 5), "training must not give other outputs"
    assert module.get_submodule(head.find(module, 5)) is not None
    if network.takes_dropout:
        shares = [getattr(part, "drop_rate", getattr(part, "p", None)) for part in module.modules()]
        assert 0.37 in shares


def test_images_that_are_too_small_or_grey_are_refused() -> None:
    network = find_network("torchvision:inception_v3")
    with pytest.raises(InvalidDataset, match=r"takes RGB images from 75x75 up, cifar10 has 32x32 RGB; use folder:PATH"):
        network.fitted_to("cifar10", (32, 32, 3))
    with pytest.raises(InvalidDataset, match=r"resnet18 takes RGB images from 32x32 up, pages has 64x64 grey"):
        find_network("torchvision:resnet18").fitted_to("pages", (64, 64, 1))


@pytest.mark.parametrize("shape", [(40, 40, 3), (32, 64, 3)])
def test_a_transformer_says_which_sizes_it_takes(shape: tuple[int, int, int]) -> None:
    network = find_network("torchvision:vit_b_16").fitted_to("pictures", shape)
    with pytest.raises(InvalidNetwork, match=rf"patches of 16x16.*multiple of 16, got {shape[0]}x{shape[1]} RGB"):
        network.build(Task(shape, 2))


def test_a_size_that_torchvision_refuses_is_explained() -> None:
    network = find_network("torchvision:maxvit_t").fitted_to("pictures", (240, 240, 3))
    with pytest.raises(InvalidNetwork, match="maxvit_t cannot be built for images of 240x240 RGB: ValueError: "):
        network.build(Task(network.image_shape, 2))


def test_weights_that_cannot_be_downloaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # a closed port
    monkeypatch.setattr(urllib.request, "_opener", None)  # urlopen remembers the proxies of its first call
    monkeypatch.delenv("no_proxy", raising=False)
    expected = r"resnet18 could not be downloaded \(.*\); fetch https://.*resnet18.*\.pth on a machine with internet"
    with pytest.raises(InvalidWeights, match=expected):
        weights.download("torchvision:resnet18")
    with pytest.raises(
        InvalidWeights, match=r"--weights torchvision is for networks of torchvision's .*, not for lenet"
    ):
        weights.download("lenet")


def test_downloaded_weights_bring_their_normalisation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # A file in PyTorch's cache stands for the download: what is tested is what is done with it.
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    for name in ("squeezenet1_1", "googlenet"):
        file = Path(torchvision.models.get_model_weights(name).DEFAULT.url).name
        options = {"init_weights": False} if name == "googlenet" else {}  # 1,000 classes, heads for training and all
        module = torchvision.models.get_model(name, weights=None, **options)
        torch.save(module.state_dict(), tmp_path / "hub" / "checkpoints" / file)
    found = weights.download("torchvision:squeezenet1_1")
    assert found.name == "torchvision:SqueezeNet1_1_Weights.IMAGENET1K_V1"
    assert (found.mean, found.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    module = find_network("torchvision:squeezenet1_1").build(Task((64, 64, 3), 3))
    assert found.load_into(module, 3).endswith("its last layer is for other classes and starts anew")
    assert torch.equal(module.get_parameter("features.0.weight"), found.tensors["features.0.weight"])
    # torchvision turns ImageNet's normalisation into -1..1 inside this one; here that is the normalisation.
    found = weights.download("torchvision:googlenet")
    assert (found.mean, found.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    found.load_into(find_network("torchvision:googlenet").build(Task((64, 64, 3), 3)), 3)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of JPEGs of odd sizes: noise around a colour, brighter towards one side."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(7)
    for part, count in (("train", 6), ("test", 5)):
        for channel, name in enumerate(reversed(CLASSES)):
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                height, width = 70 + 7 * number, 120 - 11 * number
                pixels = random.integers(0, 140, (height, width, 3))
                pixels[:, :, channel] += np.linspace(0, 110, width, dtype=np.int64)
                Image.fromarray(pixels.astype(np.uint8)).save(folder / part / name / f"{number}.jpg", quality=95)
    return folder


def _fitted(name: str) -> Network:
    side = {**FAMILIES, **LARGE_FAMILIES}[name]
    return find_network(f"torchvision:{name}").fitted_to("pictures", (side, side, 3))


def _load(pictures: Path, network: Network) -> Dataset:
    return find_entry(f"folder:{pictures}").load(network.spec, None)


def _save_lively_weights(network: Network, dataset: Dataset, file: Path) -> None:
    """Random weights with which every image gets another answer: fresh ones give all images nearly the same."""
    torch.manual_seed(1)
    module = network.build(Task(network.image_shape, len(CLASSES)))
    images = (torch.tensor(dataset.train_images).permute(0, 3, 1, 2) / 255 - MEAN) / STD
    last = module.get_submodule(head.find(module, len(CLASSES)))
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.reset_running_stats()
            part.momentum = None  # the plain mean of what comes
    with torch.no_grad():
        for _ in range(3):
            module.train()(images)
        assert isinstance(last.weight, torch.Tensor)
        assert isinstance(last.bias, torch.Tensor)
        last.weight.normal_()
        last.weight.mul_(2 / module.eval()(images).std(dim=0).mean().clamp(min=1e-3))
        last.bias.sub_(module(images).mean(dim=0))
    torch.save(module.state_dict(), file)


def _publish(name: str, pictures: Path, folder: Path) -> NDArray[np.float32]:
    """Converts and verifies one with random weights; PyTorch's answers to the test images."""
    network, dataset = _fitted(name), _load(pictures, _fitted(name))
    _save_lively_weights(network, dataset, folder / "weights.pth")
    checkpoint = train(
        network,
        dataset,
        find_recipe(network.name, "fine-tune"),
        folder / "checkpoints",
        CPU,
        RecordedReport(),
        changes={"epochs": 0, "mean": (MEAN,), "std": (STD,)},
        weights=weights.load(folder / "weights.pth"),
    )
    trained = TrainedModel(network, checkpoint, dataset)
    published = publication.publish(trained, folder / "models", name, RecordedReport())
    assert published.verification.disagreements == 0
    return trained.probabilities


def _answers(classified: list[covey.Classification]) -> NDArray[np.float64]:
    rows = np.zeros((len(classified), len(CLASSES)))
    for row, each in zip(rows, classified, strict=True):
        for found in each.classes:
            row[found.index] = found.probability
    return rows


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [*FAMILIES, *(pytest.param(name, marks=pytest.mark.recipes) for name in LARGE_FAMILIES)]
)
def test_each_family_is_served_as_pytorch_computes_it(name: str, pictures: Path, tmp_path: Path) -> None:
    expected = _publish(name, pictures, tmp_path)
    assert expected.std(axis=0).max() > 0.01, "images must differ in their answers, else equal answers prove nothing"
    files = sorted((pictures / "test").glob("*/*.jpg"))
    dataset = _load(pictures, _fitted(name))
    pixels = np.stack([decode(file.read_bytes(), _fitted(name).spec) for file in files])
    assert np.array_equal(pixels, dataset.test_images)
    engine = Engine(tmp_path / "models" / name / "1" / "model.onnx")
    with (
        covey_server(tmp_path / "models", "auto", tmp_path / "server.log") as server,
        covey.Client(server.target) as client,
    ):
        together = _answers(client.classify(pixels, model=name, top_k=3))
        alone = _answers([client.classify([each], model=name, top_k=3)[0] for each in pixels])
        encoded = _answers(client.classify(list(files), model=name, top_k=3))
    for size in (1, 2, 5, len(pixels)):
        np.testing.assert_allclose(engine.run(pixels[:size]), expected[:size], atol=1e-4)
    for found in (together, alone, encoded):
        np.testing.assert_allclose(found, expected, atol=1e-4)
        assert found.argmax(axis=1).tolist() == expected.argmax(axis=1).tolist()
