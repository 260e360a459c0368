"""`covey show`: sizes, parameters, cost and views of layers, against PyTorch and against arithmetic by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from covey_export import onnx_graph
from covey_export.__main__ import main
from covey_export.architecture import command, notes, steps, subject
from covey_export.architecture.steps import Step, View
from covey_export.image_classifier import ImageClassifier
from covey_export.networks import NETWORKS, Output, Task
from covey_export.publication import Published


def _steps(network: str) -> dict[str, Step]:
    shown = subject.of_network(network, dataset=None, data_dir=None, image_size=None, is_grey=False)
    return {step.name: step for step in steps.read(shown.model)}


@pytest.fixture(scope="module")
def lenet() -> dict[str, Step]:
    return _steps("lenet")


@pytest.fixture(scope="module")
def vgg() -> dict[str, Step]:
    return _steps("vgg")


def test_the_layers_of_lenet(lenet: dict[str, Step]) -> None:
    found = [(step.output, step.size_formula, step.parameters, step.multiply_adds) for step in lenet.values()]
    assert [row for row in found if row[2] or row[1]] == [
        ((6, 24, 24), "(28 - 5) / 1 + 1 = 24", 156, 5 * 5 * 6 * 24 * 24),
        ((6, 12, 12), "(24 - 2) / 2 + 1 = 12", 0, 0),
        ((16, 8, 8), "(12 - 5) / 1 + 1 = 8", 2_416, 5 * 5 * 6 * 16 * 8 * 8),
        ((16, 4, 4), "(8 - 2) / 2 + 1 = 4", 0, 0),
        ((256,), "16 * 4 * 4 = 256", 0, 0),
        ((120,), "", 30_840, 256 * 120),
        ((84,), "", 10_164, 120 * 84),
        ((10,), "", 850, 84 * 10),
    ]
    assert sum(step.parameters for step in lenet.values()) == NETWORKS["lenet"].parameters()
    assert lenet["features.3"].parameters_formula == "(5 * 5 * 6 + 1) * 16"


def test_what_a_number_sees_is_what_changes_it(vgg: dict[str, Step]) -> None:
    """The pixels by which the middle number of each convolution has a gradient."""
    network = NETWORKS["vgg"]
    module = network.build(Task(network.image_shape, network.classes)).eval()
    seen: dict[str, torch.Tensor] = {}
    for name, part in module.named_modules():
        if isinstance(part, nn.Conv2d):
            part.register_forward_hook(lambda _, __, output, name=name: seen.__setitem__(name, output))
    side = 128  # larger than any view: none is cut off by the image's edge
    image = torch.rand(1, 1, side, side, requires_grad=True)
    features = module.get_submodule("features")
    features(image)
    for name, output in seen.items():
        middle = output.shape[-1] // 2
        (gradient,) = torch.autograd.grad(output[0, :, middle, middle].sum(), image, retain_graph=True)
        rows = gradient[0, 0].abs().sum(dim=1).nonzero().flatten()
        view = vgg[name].view
        assert view is not None
        assert int(rows[-1] - rows[0]) + 1 == view.size[0], name


def test_padding_and_rounding_are_in_the_formula() -> None:
    found = _steps("conv-demo")
    assert found["max_pool_1"].size_formula == "floor((3 + 1 + 1 - 2) / 2) + 1 = 2"
    assert found["convolution"].dense_parameters == 25 * 9
    assert found["max_pool_1"].view == View((4, 4), (2, 2))


class Shapes(nn.Module):
    """Layers whose arithmetic is easily got wrong."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.first = nn.Conv2d(1, 6, 3, padding=1)
        self.other = nn.Conv2d(1, 6, 3, padding=1)
        self.up = nn.ConvTranspose2d(6, 4, 2, stride=2)
        self.wide = nn.Conv2d(6, 6, 3, padding=2, dilation=2)
        self.apart = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.same = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1))
        self.group = nn.GroupNorm(2, 6)
        self.linear = nn.Linear(6, 12)
        self.last = nn.LazyLinear(10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.first(images)
        if self.kind == "parallel":
            x = x + self.other(images)
        elif self.kind == "up":
            x = self.up(x)
        elif self.kind == "wide":
            x = self.apart(self.wide(x))
        elif self.kind == "row":
            x = self.same(x)
        elif self.kind == "group":
            x = self.group(x)
        elif self.kind == "linear":
            x = torch.relu(self.linear(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        logits: torch.Tensor = self.last(x.flatten(1))
        return logits


def _of_shapes(kind: str) -> list[Step]:
    module = Shapes(kind)
    module(torch.zeros(1, 1, 14, 14))
    model = ImageClassifier(module, Output.LOGITS, torch.tensor(1 / 255), torch.tensor(0.0))
    return steps.read(onnx_graph.export(model.eval(), (14, 14, 1)).SerializeToString())


class TestUnusualLayers:
    def test_a_transposed_convolution(self) -> None:
        up = next(step for step in _of_shapes("up") if step.name == "up")
        assert (up.output, up.parameters) == ((4, 28, 28), 2 * 2 * 6 * 4 + 4)
        assert up.parameters_formula == "(2 * 2 * 6 + 1) * 4"
        assert up.multiply_adds == 6 * 4 * 2 * 2 * 14 * 14
        assert up.view is None

    def test_parallel_dilated_and_grouped_kernels_are_no_row(self) -> None:
        for kind in ("parallel", "wide"):
            assert not any("in a row" in said for said in notes.find(_of_shapes(kind)))

    def test_a_row_begins_where_the_kernels_are_alike(self) -> None:
        (said,) = (said for said in notes.find(_of_shapes("row")) if "in a row" in said)
        assert said.startswith("first, same.0, same.2: 3 kernels of 3x3 in a row see as much as one of 7x7")

    def test_a_group_s_mean_is_of_the_whole_map(self) -> None:
        normalised = next(step for step in _of_shapes("group") if "Normalization" in step.name or step.view is None)
        assert normalised.kind == "normalization"

    def test_a_linear_layer_on_maps_works_place_by_place(self) -> None:
        linear = next(step for step in _of_shapes("linear") if step.kind == "fully_connected")
        assert linear.output == (12, 14, 14)
        assert linear.multiply_adds == 6 * 12 * 14 * 14
        assert linear.parameters_formula == "(6 + 1) * 12"
        assert linear.view == View((3, 3), (1, 1))


def test_a_network_s_name_goes_before_a_folder_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lenet").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(["show", "lenet"]) == 0
    assert "44,426 parameters" in capsys.readouterr().out


def test_notes_tell_of_sharing_of_small_kernels_and_of_halving(vgg: dict[str, Step]) -> None:
    said = "\n".join(notes.find(list(vgg.values())))
    assert "each output reads 9 of 784 numbers (local connections)" in said
    assert "its weights serve 28 * 28 = 784 places (parameter sharing)" in said
    assert "2 kernels of 3x3 in a row see as much as one of 5x5. With 32 channels in and out they have 18,432" in said
    assert "height and width halve (28 x 28 to 14 x 14) and channels double (32 to 64)" in said


def test_the_batch_as_the_network_gets_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    page = tmp_path / "show.html"
    assert main(["show", "mnist-cnn", "--dataset", "sample", "--image", "3", "--output", str(page)]) == 0
    said = capsys.readouterr().out
    for part in ("images [", ", 1, 28, 28] float32 from -1 to 1", "The loss of test image 3", "ln(10) = 2.3026"):
        assert part in said
    content = page.read_text(encoding="utf-8")
    assert content.count("<img ") == 9, "a grid of nine images"
    for part in ("What a number sees", "Its loss by hand", "fresh weights", "label "):
        assert part in content


def test_the_demo_is_computed_by_hand(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Dumoulin, Visin: A guide to convolution arithmetic for deep learning (2016), figure 1.1."""
    page = tmp_path / "show.html"
    assert main(["show", "conv-demo", "--image", "0", "--output", str(page)]) == 0
    loss = -np.log(np.exp(28) / (np.exp(24) + np.exp(18) + np.exp(28) + np.exp(18)))
    assert f"= {loss:.4f}" in capsys.readouterr().out
    content = page.read_text(encoding="utf-8")
    assert "3*0 + 3*1 + 2*2 + 2*2 + 3*2 + 2*0 + 3*0 + 3*1 + 2*2 = 24" in content
    assert "the network&#39;s given weights" in content


def test_a_published_model(published: Published, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    page = tmp_path / "show.html"
    for name in (str(published.path), str(published.path.parent)):
        assert main(["show", name, "--dataset", "sample", "--output", str(page)]) == 0
        said = capsys.readouterr().out
        assert "(784 + 1) * 256 = 200,960" in said
    assert "by the trained weights" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["conv-demo", "--image", "400"], "--image 400: demo has the test images 0 to 399"),
        (["lenet", "--image-size", "64"], "lenet takes images of 28x28 grey"),
        (["lenet", "--dataset", "sample", "--grey"], "sample says its images' size; omit --image-size and --grey"),
        (["lenett"], "lenet"),
        (["missing.onnx"], "missing.onnx does not exist"),
        (["notes.onnx"], "notes.onnx: "),
        (["notes.onnx", "--image", "1"], "--image goes with --dataset"),
    ],
)
def test_wrong_input_is_explained(
    arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes.onnx").write_text("no model")
    assert main(["show", *arguments]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert "Traceback" not in said


def test_a_table_has_the_columns_of_its_header(lenet: dict[str, Step]) -> None:
    assert {len(row) for row in command.rows(list(lenet.values()))} == {len(command.HEADER)}


def test_a_folder_is_no_output_and_that_is_said_at_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for arguments in (["show", "lenet"], ["try", "mlp"], ["examine", "lenet", "--dataset", "sample"]):
        with pytest.raises(SystemExit):
            main([*arguments, "--output", str(tmp_path)])
        assert "expected a file to write, got the folder" in capsys.readouterr().err


def test_an_own_network_without_images_of_its_size_is_told_how_to_get_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new", "shown", "--from", "lenet"]) == 0
    assert main(["show", "shown:Shown"]) == 2
    said = capsys.readouterr().err
    assert "No --dataset was given, so that the images were 224x224 RGB" in said
    assert "as in --dataset sample (28x28 grey, comes with Covey)" in said
    assert main(["show", "shown:Shown", "--dataset", "sample"]) == 0
    assert main(["show", "shown:Shown", "--image-size", "8", "--grey"]) == 2
    assert "No --dataset" not in capsys.readouterr().err, "a size was given"
