"""`--check` names the mistake of a wrong import of a network whose accuracy is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.export.importing import coloured_digits
from tests.export.importing.coloured_digits import LABELS
from tests.export.importing.imports import published, run

from covey_export.datasets import Dataset
from covey_export.importing.proving.check import Row, Table

MEAN, STD = "0.485,0.456,0.406", "0.229,0.224,0.225"
MEAN_BGR, STD_BGR = "0.406,0.456,0.485", "0.225,0.224,0.229"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("coloured")


@pytest.fixture(scope="module")
def photos(folder: Path, sample: Dataset) -> Path:
    """Labelled images that the network has not seen."""
    return coloured_digits.write(sample, folder / "photos", test=True, per_class=20)


@pytest.fixture(scope="module")
def trained(folder: Path, sample: Dataset) -> Path:
    """A checkpoint."""
    coloured_digits.train(
        coloured_digits.write(sample, folder / "train", test=False, per_class=200), folder / "checkpoint", MEAN, STD
    )
    return folder / "checkpoint"


@pytest.fixture(scope="module")
def network(folder: Path, trained: Path) -> Path:
    return coloured_digits.export(trained, folder / "network.onnx")


@pytest.fixture(scope="module")
def labels(folder: Path) -> Path:
    """In the order of the outputs: that of the data set's folders."""
    path = folder / "labels.txt"
    path.write_text("\n".join(sorted(LABELS)))
    return path


RIGHT = ("--like", "imagenet", "--resize", "center_crop")


def test_a_checkpoint_is_compared_in_the_same_way(
    trained: Path, photos: Path, labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--network", "cifar-net", "--image-size", 32, "--resize", "center_crop", "--check", photos)
    served = published(trained, tmp_path, *options, "--samples", photos)
    assert "no other setting does clearly better than the one chosen" in capsys.readouterr().out
    assert list(served.description.info.labels) == sorted(LABELS)
    assert served.description.info.training.test_accuracy > 0.85
    assert run(trained, tmp_path, *options, "--like", "0..1") == 2
    assert "the scaling of imagenet in place of 0..1" in capsys.readouterr().err


def test_the_right_import_is_published_with_its_accuracy(
    network: Path, photos: Path, labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    served = published(network, tmp_path, *RIGHT, "--labels", labels, "--samples", photos, "--check", photos)
    output = capsys.readouterr().out
    assert "no other setting does clearly better than the one chosen" in output
    assert served.description.info.training.test_accuracy > 0.85
    assert served.description.info.training.test_images == 160
    assert not served.description.info.source.golden_is_made


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--like", "0..1", "--resize", "center_crop"), "the scaling of imagenet in place of 0..1"),
        (("--like", "0..255", "--resize", "center_crop"), "the scaling of imagenet in place of 0..255"),
        (("--like", "imagenet", "--bgr", "--resize", "center_crop"), "Import it with --rgb, or"),
        (("--like", "0..1", "--bgr", "--resize", "center_crop"), "Import it with --like imagenet --rgb, or"),
        (
            ("--mean", MEAN_BGR, "--std", STD_BGR, "--bgr", "--resize", "center_crop"),
            "Import it with --rgb --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225, or",
        ),
        (("--like", "caffe", "--resize", "center_crop"), "the scaling of imagenet in place of caffe and RGB in place"),
        (("--like", "imagenet", "--resize", "stretch"), "in place of stretch"),
        (("--like", "0..1", "--bgr", "--resize", "stretch"), "the scaling of imagenet in place of 0..1"),
    ],
)
def test_wrong_imports_are_named(
    options: tuple[str, ...], expected: str, network: Path, photos: Path, labels: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert run(network, tmp_path, *options, "--labels", labels, "--check", photos) == 2
    captured = capsys.readouterr()
    assert "another setting does clearly better on these 160 images" in captured.err
    assert expected in captured.err
    assert "Nothing was published" in captured.err
    assert not any(tmp_path.iterdir())


def test_of_settings_as_accurate_the_one_whose_confidence_fits_is_advised() -> None:
    right = np.array([True] * 60 + [False] * 40)
    chosen = Row("chosen", "", "", np.zeros(100, np.bool_), 0.9)
    fitting, too_sure = Row("a", "a", "--a", right, 0.65), Row("b", "b", "--b", right, 0.95)
    advice = Table((chosen, too_sure, fitting), 100).advice
    assert advice is not None
    assert "Import it with --a" in advice


def test_settings_of_the_same_accuracy_are_told_apart_by_confidence(
    network: Path, photos: Path, labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--like", "-1..1", "--resize", "center_crop")
    assert run(network, tmp_path, *options, "--labels", labels, "--check", photos) == 0
    output = capsys.readouterr().out
    assert "these images do not settle it: the scaling of imagenet in place of -1..1 is as accurate" in output
    assert "import it with --like imagenet" in output


@pytest.mark.parametrize("order", [sorted(LABELS)[::-1], [*sorted(LABELS)[1:], sorted(LABELS)[0]],
                                   [*sorted(LABELS)[:2][::-1], *sorted(LABELS)[2:]]])  # fmt: skip
def test_labels_in_another_order_are_named(
    order: list[str], network: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong_labels = tmp_path / "labels.txt"
    wrong_labels.write_text("\n".join(order))
    assert run(network, tmp_path / "models", *RIGHT, "--labels", wrong_labels, "--check", photos) == 2
    message = capsys.readouterr().err
    assert "the labels in" in message
    assert "--labels file in that order" in message
    assert "in place of" not in message  # with wrong labels a wrong scaling may be right more often than the right one


def test_a_wrong_scaling_and_wrong_labels_are_named_together(
    network: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong_labels = tmp_path / "labels.txt"
    wrong_labels.write_text("\n".join([*sorted(LABELS)[1:], sorted(LABELS)[0]]))
    options = ("--like", "0..1", "--resize", "center_crop", "--labels", wrong_labels, "--check", photos)
    assert run(network, tmp_path / "models", *options) == 2
    message = capsys.readouterr().err
    assert "the scaling of imagenet in place of 0..1 and the labels in alphabetical order" in message
    assert "--like imagenet and a --labels file in that order" in message


def test_a_bgr_network_is_named(
    trained: Path, photos: Path, labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = coloured_digits.export(trained, tmp_path / "bgr.onnx", bgr=True)
    assert run(network, tmp_path / "models", *RIGHT, "--labels", labels, "--check", photos) == 2
    message = capsys.readouterr().err
    assert "BGR in place of RGB" in message
    assert "--bgr" in message
    assert run(network, tmp_path / "models", *RIGHT, "--bgr", "--labels", labels, "--check", photos) == 0
