"""What docs/migrate tells people to type, on archives and repositories as the other servers have them: the answers are
those that the other servers' documented steps give. None of these servers is run here."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from bench.processes import ROOT, Server, covey_server
from PIL import Image
from tests.conftest import echo_model
from tests.docs import pages
from tests.export.importing.onnx_models import save, small_cnn
from torchvision import transforms

PAGES = ROOT / "docs" / "migrate"
LABELS = ("daisy", "rose", "tulip", "lily", "iris", "poppy")
NETWORK = """
import torch
from torch import nn

class Flowers(nn.Module):
    def __init__(self, num_classes: int = 6) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 7, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(3))
        self.classifier = nn.Linear(72, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(x).flatten(1))
"""


def blocks(page: str, language: str) -> list[str]:
    """The code of a page, in its order."""
    return [block.text for block in pages.blocks(PAGES / page, language)]


def run_imports(block: str, place: Path) -> None:
    """Runs the lines of a block up to the server's start."""
    script = block.partition("covey serve")[0].replace("covey import", "python -m covey import")
    script = script.replace("python -m", f"{shlex.quote(sys.executable)} -m")
    done = subprocess.run(["bash", "-ec", script], cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def serving(place: Path) -> Iterator[Server]:
    with covey_server(place / "models", "native", place / "server.log") as server:
        yield server


def run_python(block: str, server: Server, place: Path) -> list[str]:
    """What a block prints, asking this server."""
    block = block.replace("localhost:8000", server.http_target)
    block = block.replace("localhost:8001", server.target)
    done = subprocess.run([sys.executable, "-c", block], cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_an_archive_of_torchserve(tmp_path: Path) -> None:
    """Answers as those of PyTorch behind the transforms of TorchServe's handler `image_classifier`."""
    namespace: dict[str, type[torch.nn.Module]] = {}
    exec(NETWORK, namespace)
    torch.manual_seed(3)
    network = namespace["Flowers"]().eval()
    for parameter in network.parameters():
        parameter.data *= 3  # so that the answers differ by more than is allowed for another preprocessing
    torch.save(network.state_dict(), tmp_path / "flowers.pth")
    with zipfile.ZipFile(tmp_path / "flowers.mar", "w") as archive:
        manifest = {"model": {"modelName": "flowers", "serializedFile": "flowers.pth", "modelFile": "model.py"}}
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
        archive.write(tmp_path / "flowers.pth", "flowers.pth")
        archive.writestr("model.py", NETWORK)
        archive.writestr(
            "index_to_name.json", json.dumps({str(place): [f"n{place}", each] for place, each in enumerate(LABELS)})
        )
    pixels = np.random.default_rng(5).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize((400, 300), Image.Resampling.BICUBIC)
    image.save(tmp_path / "flower.png")
    first, ask = blocks("torchserve.md", "sh")
    run_imports(first, tmp_path)

    prepare = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    with torch.no_grad():
        expected = network(prepare(image)[None]).softmax(1)[0].topk(5)
    assert ask.split()[-1] == "localhost:8000/predictions/flowers"
    with serving(tmp_path) as server:
        request = urllib.request.Request(
            f"http://{server.http_target}/predictions/flowers", (tmp_path / "flower.png").read_bytes(), method="PUT"
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            found: dict[str, float] = json.load(answer)
    assert list(found) == [LABELS[index] for index in expected.indices]
    assert np.allclose(list(found.values()), expected.values.numpy(), atol=1e-4)


def test_a_repository_of_triton(tmp_path: Path) -> None:
    model = tmp_path / "model_repository" / "pets"
    (model / "1").mkdir(parents=True)
    save(small_cnn(input_name="input", output_name="logits", height=224, width=224), tmp_path).replace(
        model / "1" / "model.onnx"
    )
    (model / "config.pbtxt").write_text('platform: "onnxruntime_onnx"\nmax_batch_size: 8\n')
    (model / "labels.txt").write_text("cat\ndog\nfox\nowl\nbat\n")
    (commands,) = blocks("triton.md", "sh")
    run_imports(commands, tmp_path)
    (program,) = blocks("triton.md", "python")
    with serving(tmp_path) as server:
        assert run_python(program, server, tmp_path) == ["(1, 5)"]


def test_the_client_of_bentoml_in_other_words(tmp_path: Path) -> None:
    model = tmp_path / "models" / "animals" / "1" / "model.onnx"
    model.parent.mkdir(parents=True)
    model.write_bytes(echo_model((8, 8, 1), tuple(f"class {index}" for index in range(10))).SerializeToString())
    pixels = np.zeros((8, 8), np.uint8)
    pixels.flat[3] = 250
    Image.fromarray(pixels).save(tmp_path / "cat.jpg", "PNG")
    (program,) = blocks("bentoml.md", "python")
    with serving(tmp_path) as server:
        assert run_python(program, server, tmp_path) == ["class 3"]


@pytest.mark.parametrize("page", sorted(path.name for path in PAGES.glob("*.md")))
def test_each_page_says_what_was_run_and_names_what_there_is(page: str) -> None:
    """Options and metrics of Covey's that a page names are there."""
    text = (PAGES / page).read_text()
    assert "## What was run" in text
    assert "was not run" in text or "nor TensorFlow Serving" in text
    assert "**Stay" in text
    names = (ROOT / "tests" / "docs" / "stable_names.txt").read_text()
    for metric in set(re.findall(r"`(covey_\w+)`", text)):
        assert f"metric: {metric} " in names, metric
    for row in re.findall(r"^\|[^|]*\| (.*) \|$", text, re.MULTILINE):
        for option in re.findall(r"`(--[a-z-]+)", row):
            assert re.search(rf"^command: covey (serve|import) {option}$", names, re.MULTILINE), option
