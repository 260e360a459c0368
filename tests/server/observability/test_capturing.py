"""Images that are kept to be labelled: which, where, how many, and that a data set can be read from them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from bench.processes import fetch
from PIL import Image
from tests.conftest import WriteModel
from tests.server.conftest import Server, StartServer
from tests.waiting import wait_until

from covey_export.datasets.folder import Folder
from covey_proto.captures import CAPTURE_COLUMNS, folder_name, read_classes
from covey_proto.v1 import classifier_pb2 as pb
from covey_server.app import App
from covey_server.config import Config
from covey_server.errors import InvalidConfiguration
from covey_server.images.pixels import InputSpec
from covey_server.observability.capturing import Capturing


@pytest.fixture
def models(tmp_path: Path, write_echo_model: WriteModel) -> Path:
    write_echo_model(tmp_path / "models")
    return tmp_path / "models"


def classify(server: Server, *images: tuple[int, int]) -> None:
    """Sends images of which one pixel has a value: that class is answered, with the value / 255."""
    pixels = np.zeros((len(images), 16), np.uint8)
    for row, (place, value) in zip(pixels, images, strict=True):
        row[place] = value
    server.classify(pb.ClassifyRequest(pixels=pb.Pixels(data=pixels.tobytes())))


def capturing(server: Server) -> Capturing:
    found = server.app._observers.capturing
    assert found is not None
    return found


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "echo" / "captures.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_uncertain_images_are_kept_by_their_predicted_class(
    start_server: StartServer, models: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "captures"
    server = start_server(models, capture=str(folder), capture_rate=0.0, capture_below=0.5)
    classify(server, (3, 100), (4, 255), (5, 127), (6, 128))
    wait_until(lambda: capturing(server).files == 2)

    found = rows(folder)
    assert tuple(found[0]) == CAPTURE_COLUMNS
    assert read_classes(folder / "echo") == tuple(f"class {place}" for place in range(10))
    assert [(row["class"], row["probability"], row["reason"]) for row in found] == [
        ("class 3", "0.392157", "uncertain"),
        ("class 5", "0.498039", "uncertain"),
    ]
    image = np.asarray(Image.open(folder / "echo" / found[0]["file"]))
    assert image.shape == (4, 4)
    assert (image[0, 3], image.sum()) == (100, 100)
    assert found[0]["file"].startswith("class 3/0.392-")
    assert not [path for path in folder.rglob(".*") if path.is_file()]


def test_some_are_kept_at_random(start_server: StartServer, models: Path, tmp_path: Path) -> None:
    server = start_server(models, capture=str(tmp_path / "captures"), capture_rate=0.2, capture_below=0.0)
    for _ in range(20):
        classify(server, *[(place % 10, 255) for place in range(20)])
    wait_until(lambda: capturing(server).files >= 40)
    wait_until(lambda: capturing(server).work.is_idle)
    assert 40 <= capturing(server).files <= 125  # 80 are expected, with a standard deviation of 8
    assert {row["reason"] for row in rows(tmp_path / "captures")} == {"random"}


@pytest.mark.parametrize("which", ["shadow", "canary"])
def test_images_that_two_versions_answer_differently_are_kept(
    start_server: StartServer, models: Path, tmp_path: Path, write_echo_model: WriteModel, which: str
) -> None:
    """Each once, also where it is kept for another reason."""
    write_echo_model(models, version=2, shift=1)
    (models / "echo" / "default-version").write_text("1")
    (models / "echo" / f"{which}-version").write_text("2")
    server = start_server(
        models, capture=str(tmp_path / "captures"), capture_rate=0.0, capture_below=0.5, shadow_share=1.0,
        canary_share=1.0,
    )  # fmt: skip
    canaries = server.app._observers.canaries
    if which == "canary":
        wait_until(lambda: {each.state for each in canaries.trials.values()} == {"trial"})
    # Version 2 sees the pixel one class lower, and nothing at all of class 0, for which it says class 0 too.
    classify(server, (3, 255), (4, 100), (0, 255))
    own = (1, "class 3", "1.000000") if which == "shadow" else (2, "class 2", "1.000000")
    unsure = {"shadow": [("class 4", "uncertain")], "canary": [("class 3", "uncertain"), ("class 0", "uncertain")]}[
        which
    ]
    wait_until(lambda: capturing(server).files == 1 + len(unsure))
    found = rows(tmp_path / "captures")
    assert [(row["class"], row["reason"]) for row in found if row["reason"] != "differs"] == unsure
    (differing,) = [row for row in found if row["reason"] == "differs"]
    assert (int(differing["version"]), differing["class"], differing["probability"]) == own
    image = np.asarray(Image.open(tmp_path / "captures" / "echo" / differing["file"]))
    assert (image[0, 3], image.sum()) == (255, 255)
    counted = f'covey_captured_images_total{{model="echo",result="differs",version="{own[0]}"}} 1.0'
    wait_until(lambda: counted in fetch(server.metrics_url))  # a moment after the file is there


def test_they_are_a_data_set(start_server: StartServer, models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "captures"
    server = start_server(models, capture=str(folder), capture_below=1.0, capture_rate=0.0)
    classify(server, *[(place, 200) for place in (2, 7) for _ in range(10)])
    wait_until(lambda: capturing(server).files == 20)
    dataset = Folder(folder / "echo").load(InputSpec(4, 4, 1), None)
    assert dataset.labels == ("class 2", "class 7")
    assert len(dataset.train_images) + len(dataset.test_images) == 20


@pytest.mark.parametrize("limit", [{"capture_max_files": 5}, {"capture_max_bytes": 300}])
def test_no_more_than_may_be(
    start_server: StartServer, models: Path, tmp_path: Path, limit: dict[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "captures"
    settings = {"capture": str(folder), "capture_below": 1.0, "capture_rate": 0.0, **limit}
    server = start_server(models, **settings)
    for _ in range(10):
        classify(server, (1, 9), (2, 9))
    wait_until(lambda: capturing(server)._is_full() and capturing(server).work.is_idle)
    held = len(list(folder.rglob("*.png")))
    assert held <= 5
    assert caplog.text.count("nothing more is captured") == 1
    again = start_server(models, **settings)  # what is there counts
    classify(again, (1, 9))
    assert len(list(folder.rglob("*.png"))) == held


def test_a_folder_that_cannot_be_written_is_told_at_the_start(models: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(InvalidConfiguration, match=r"--capture .*file: .*; expected a folder that can be written"):
        App(Config(models=models, grpc_port=0, metrics_port=0, capture=str(tmp_path / "file")))


def test_a_disk_that_fails_fails_no_caller(
    start_server: StartServer, models: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "captures"
    server = start_server(models, capture=str(folder), capture_below=1.0, capture_rate=0.0)
    (folder / "echo").write_text("in the way")
    for _ in range(3):
        classify(server, (1, 9))
    wait_until(lambda: "a capture could not be written" in caplog.text)
    (folder / "echo").unlink()
    classify(server, (1, 9))
    wait_until(lambda: capturing(server).files >= 1)


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("cat", "cat"),
        ("../../etc", "_.._etc"),
        ("a/b\\c", "a_b_c"),
        ("...", "_"),
        ("", "_"),
        ("été\n", "été_"),
        (".猫", "猫"),
    ],
)
def test_a_label_is_no_path(label: str, expected: str) -> None:
    assert folder_name(label) == expected
