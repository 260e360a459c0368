"""The main job, with nothing replaced: covey-export makes networks of each kind, one server serves them, the SDK and
the command line classify real images, and every answer is the one its own image has in onnxruntime.

All networks of Covey are converted by tests/export/test_export_every_network.py."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from bench import callers
from bench.processes import Server, covey_server, fetch
from numpy.typing import NDArray
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

import covey
from covey_export.__main__ import main
from covey_export.datasets import Dataset, find_entry
from covey_server.images.pixels import InputSpec
from covey_server.inference.engine import Engine

pytestmark = pytest.mark.slow
DIGITS = "mlp"  # trained on the sample; answers with probabilities itself
RGB, GREY = "resnet", "alexnet"  # trained on the colours, as they are and in grey; answer with logits
DEMO = "conv-demo"  # learns nothing; its images are smaller


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder data set of 32x32 RGB PNGs: noise around red, green and blue."""
    folder = tmp_path_factory.mktemp("colours")
    noise = np.random.default_rng(3)
    for part, count in (("train", 10), ("test", 20)):
        for channel, name in enumerate(("red", "green", "blue")):
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = noise.integers(0, 120, (32, 32, 3), dtype=np.uint8)
                pixels[:, :, channel] += 120
                Image.fromarray(pixels).save(folder / part / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, colours: Path) -> Path:
    """Four networks, trained for one epoch, converted and verified by the command."""
    folder = tmp_path_factory.mktemp("export")
    options = ["--no-report", "--models", str(folder / "models"), "--checkpoints", str(folder / "checkpoints")]
    once = ["--epochs", "1", "--precision", "float32"]
    for arguments in (
        [DIGITS, "--dataset", "sample", *once],
        [GREY, "--dataset", f"folder:{colours}", "--grey", *once],
        [RGB, "--dataset", f"folder:{colours}", *once],
        [DEMO],
    ):
        assert main(["all", *arguments, *options]) == 0
    return folder / "models"


@pytest.fixture(scope="module", params=["native", "grpcio", "2 processes"])
def server(request: pytest.FixtureRequest, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    front, flags = (request.param, ()) if request.param != "2 processes" else ("native", ("--processes", "2"))
    with covey_server(models, front, tmp_path_factory.mktemp("log") / "server.log", flags) as running:
        yield running


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return find_entry("sample").load(InputSpec(28, 28, 1), None)


def engine(models: Path, name: str) -> Engine:
    return Engine(models / name / "1" / "model.onnx")


def png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(buffer, "PNG")
    return buffer.getvalue()


def test_one_server_serves_them_all(server: Server) -> None:
    with covey.Client(server.target) as client:
        assert [model.name for model in client.models()] == sorted((DIGITS, GREY, RGB, DEMO))
        assert all(model.state is covey.ModelState.READY for model in client.models())


def test_every_answer_belongs_to_its_own_image(server: Server, models: Path, digits: Dataset) -> None:
    expected = engine(models, DIGITS).run(digits.test_images)
    batches_before, images_before = server.batches()
    answers = callers.classify_each(server.target, DIGITS, digits.test_images)
    batches, images = server.batches()
    np.testing.assert_allclose(answers.probabilities, expected.max(axis=1), atol=1e-5)
    assert answers.indices.tolist() == expected.argmax(axis=1).tolist()
    verification = json.loads((models / DIGITS / "1" / "verification.json").read_text())
    assert np.mean(answers.indices == digits.test_labels) == verification["torch_accuracy"]
    assert images - images_before == len(digits.test_images)
    assert batches - batches_before < len(digits.test_images), "no two requests ever shared a batch"


@pytest.mark.parametrize("name", [GREY, DEMO])
def test_the_other_networks_answer_for_each_image_too(server: Server, models: Path, digits: Dataset, name: str) -> None:
    images = digits.test_images[:200]
    if name == DEMO:
        images = find_entry("demo").load(InputSpec(5, 5, 1), None).test_images[:200]
    expected = engine(models, name).run(images)
    answers = callers.classify_each(server.target, name, images)
    np.testing.assert_allclose(answers.probabilities, expected.max(axis=1), atol=1e-5)


def test_encoded_images_and_pixels_give_the_same_answers(server: Server, models: Path, colours: Path) -> None:
    files = sorted((colours / "test").glob("*/*.png"))
    pixels = np.stack([np.asarray(Image.open(file)) for file in files])
    expected = engine(models, RGB).run(pixels)
    with covey.Client(server.target) as client:
        encoded = client.classify(list(files), model=RGB, top_k=3)
        packed = client.classify(pixels, model=RGB, top_k=3)
    for place, (one, other) in enumerate(zip(encoded, packed, strict=True)):
        assert [each.index for each in one.classes] == np.argsort(-expected[place], kind="stable").tolist()
        assert one.classes == pytest.approx(other.classes) or one.label == other.label
        assert one.probability == pytest.approx(float(expected[place].max()), abs=1e-5)


def test_the_command_line_classifies_files_and_names_the_broken_one(
    server: Server, tmp_path: Path, digits: Dataset, models: Path
) -> None:
    good, broken = tmp_path / "digit.png", tmp_path / "text.png"
    good.write_bytes(png(digits.test_images[0]))
    broken.write_text("this is no image")
    command = [sys.executable, "-m", "covey", "classify", str(good), str(broken), "--target", server.target]
    finished = subprocess.run([*command, "--model", DIGITS], capture_output=True, text=True, check=False)
    assert finished.returncode == 1
    assert str(good) in finished.stdout
    expected = engine(models, DIGITS).run(digits.test_images[:1])[0]
    assert digits.labels[int(expected.argmax())] in finished.stdout
    assert "not a JPEG, PNG, WebP, GIF or AVIF image" in finished.stdout + finished.stderr


def test_the_counters_equal_what_was_sent(models: Path, digits: Dataset, tmp_path: Path) -> None:
    shutil.copytree(models / DIGITS, tmp_path / "models" / DIGITS)
    with covey_server(tmp_path / "models", "auto", tmp_path / "server.log") as server:
        with covey.Client(server.target) as client:
            for image in digits.test_images[:20]:
                client.classify([image], model=DIGITS)
            client.classify(digits.test_images[:100], model=DIGITS)
            with pytest.raises(covey.UnknownModel):
                client.classify([digits.test_images[0]], model="nobody")
        assert server.metrics_url is not None
        families = text_string_to_metric_families(fetch(server.metrics_url))
        samples = {
            (sample.name, *map(sample.labels.get, ("model", "code", "protocol"))): sample.value
            for family in families
            for sample in family.samples
        }
    assert samples["covey_requests_total", DIGITS, "OK", "grpc"] == 21
    assert samples["covey_images_total", DIGITS, None, None] == 120
    assert samples["covey_requests_total", "", "NOT_FOUND", "grpc"] == 1
    assert samples["covey_request_seconds_count", DIGITS, None, None] == 21
