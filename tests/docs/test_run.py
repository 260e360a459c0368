"""The commands and the Python of each page run in their order, in a folder with the files that pages name, beside a
server of its models. Those that are not run are listed with the reason; pages with tests of their own are in TESTED."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from bench.processes import ROOT, Server, covey_server
from tests.conftest import echo_model
from tests.docs.pages import PAGES, Code, blocks, commands, named

from covey_server import sample

TESTED = {
    "README.md": "tests/clients/test_docs.py, tests/end_to_end/test_first_look.py",
    "docs/clients.md": "tests/clients/test_docs.py",
    "docs/http.md": "tests/clients/test_docs_http.py",
    "docs/security.md": "below",
    **{f"docs/learn/{path.name}": "test_learn.py" for path in (ROOT / "docs/learn").glob("*.md")},
}
IN_CHINESE = re.compile(r"zh/|\.zh\.md$")  # the same code, see test_learn.py
NOT_RUN: Mapping[str, str] = {  # a command that begins so
    r"pip |pre-commit |(?:\w+=\S+ )?make |python -m pytest": "installs, or runs tests",
    r"docker |kubectl (?!.*port-forward)|helm |\S.* docker ": "needs Docker or a cluster: tests/deploy, tests/swarm",
    r"kubectl |covey-server (?!--probe)|covey serve|python -m http.server|OTEL\w+=": "serves until it is stopped",
    r"ray start |covey .*--engine ray": "needs a Ray cluster: tests/server/offline/test_ray.py",
    r"aws |export COVEY_IMAGE|sudo |mkdir certificates": "needs a bucket, other machines, or root",
    r"covey .*(?:ADDRESS|HOST):8443": "needs an edge: tests/edge",
    r"protoc|g\+\+|PACKAGE=|\./classify": "needs gRPC's code generators of C++ and Go",
    r"torchrun |covey-export ": "trains for minutes; what is quick runs in test_learn.py, without a process for each",
    r"covey import |python -m tf2onnx": "needs a network from elsewhere: tests/export/importing",
    r"covey load |covey doctor|python -m bench": "measures for a while: tests/load, tests/bench",
    r"python docs/examples/(?:product_|defect_)": "needs models of their own: test_examples.py",
    r"covey label ": "asks somebody: tests/clients/labelling",
}
NOT_RUN_PYTHON: Mapping[str, str] = {  # a block with this in it
    "dns:///": "needs a DNS name of several servers",
    "node1:8001": "needs three machines",
    "tritonclient": "needs a network from elsewhere: tests/export/importing",
    "MLModel": "is a model of MLServer",
}
SHELL = ("bash", "-euo", "pipefail", "-c")
PYTHON = (sys.executable, "-W", "error", "-c")
_CLASSES = ("cat", "dog", "fox")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the pages speak of."""
    folder = tmp_path_factory.mktemp("pages")
    for name in ("lenet/1", "lenet/2", "lenet/3", "lenet/4", "resnet/1", "nin/1", "pets/1", "flowers/1", "mnist-cnn/1"):
        (folder / "models" / name).mkdir(parents=True)
        shutil.copyfile(sample.FILE, folder / "models" / name / "model.onnx")
    (folder / "models/lenet/2/report.html").write_text("<p>A report</p>")
    for name in ("vgg", "animals"):
        (folder / "models" / name / "1").mkdir(parents=True)
        model = echo_model((8, 8, 1), _CLASSES, embedding=True)
        (folder / "models" / name / "1" / "model.onnx").write_bytes(model.SerializeToString())
    for name in ("docs/digit.png", "digit.png", "photo.jpg", "shirt.png", "flower.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(sample.IMAGE, folder / name)
    for number, name in enumerate(("photos/cat/1.jpg", "photos/dog/1.jpg", "photos/dog/2.jpg", "cat.jpg", "x.jpg")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(np.full((8, 8), 40 * number, np.uint8)).save(folder / name)
    with zipfile.ZipFile(folder / "flowers.mar", "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", "{}")
    (folder / ".venv").symlink_to(sys.prefix)
    (folder / "docs" / "examples").symlink_to(ROOT / "docs" / "examples")
    return folder


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[Server]:
    # It does not look at the folder again by itself while pages write there, so answers do not depend on time.
    flags = ["--reload-interval-s", "0", "--default-model", "lenet", "--version-policy", "all", "--allow-management"]
    with covey_server(place / "models", "native", place / "server.log", flags) as server:
        yield server


def lines(block: Code) -> list[str]:
    """Its commands, without the folder that commands of the clone are in."""
    code = block.text.replace("\\\n", " ")
    return [re.sub(r"^ *(?:\.venv/bin/|/opt/covey/bin/)?", "", line) for line in code.splitlines() if line.strip()]


def script(block: Code) -> str:
    """The commands to run; nothing of a block with a loop."""
    found = lines(block)
    if any(line.startswith("for ") for line in found):
        return ""
    return "\n".join(line for line in found if not any(re.match(start, line) for start in NOT_RUN))


def run(command: Sequence[str], place: Path, server: Server, code: str) -> str:
    """What it prints, run with this server on the ports of the pages."""
    assert server.metrics_url is not None
    for port, target in (("8001", server.target), ("8000", server.http_target)):
        code = code.replace(f"localhost:{port}", target)
    code = code.replace("localhost:8002/metrics", server.metrics_url)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"COVEY_TARGET": server.target, "PATH": path, "COLUMNS": "120"}
    environment["COVEY_GRPC_PORT"] = server.target.rpartition(":")[2]  # covey-server --probe asks there
    done = subprocess.run(
        [*command, code], cwd=place, env=environment, capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, f"{code}\n{done.stdout}{done.stderr}"
    return done.stdout


PAGES_RUN = [
    page
    for page in PAGES
    if blocks(page, "sh", "python") and not IN_CHINESE.search(named(page)) and named(page) not in TESTED
]


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("page", PAGES_RUN, ids=named)
def test_what_a_page_tells_to_run_runs(page: Path, place: Path, server: Server) -> None:
    (place / "answers.parquet").unlink(missing_ok=True)
    shutil.rmtree(place / "photos.index", ignore_errors=True)
    for block in blocks(page, "sh", "python"):
        if block.language == "python":
            if not any(part in block.text for part in NOT_RUN_PYTHON):
                run(PYTHON, place, server, block.text)
            continue
        to_run = script(block)
        printed = run(SHELL, place, server, to_run) if to_run else ""
        assert "classify docs/digit.png" not in to_run or re.search(r"\b7\b", printed), block


def test_the_sample_answers_what_readme_says(place: Path, server: Server) -> None:
    (block,) = blocks(ROOT / "README.md", "python")
    said = re.search(r"# (7 0\.\d+)\.\.\. by the sample", block.text)
    assert said is not None
    assert run(PYTHON, place, server, block.text).startswith(said[1])


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_certificates_and_tokens_are_made_and_used_as_the_page_says(place: Path, server: Server) -> None:
    page = next(page for page in PAGES if page.name == "security.md")
    made, asked = (block for block in blocks(page, "sh") if "authority.pem" in block.text and "HOST:" not in block.text)
    run(SHELL, place, server, script(made))
    (command,) = (words for words in commands(made.text) if words[0] == "covey-server")
    flags = [str(place / word) if (place / word).is_file() else word for word in command[3:]]
    flags += ["--default-model", "lenet"]
    with covey_server(place / "models", "auto", place / "tls.log", flags) as secured:
        secured.target = secured.target.replace("127.0.0.1", "localhost")
        printed = run(SHELL, place, secured, script(asked).replace("https://127.0.0.1", "https://localhost"))
        assert len(re.findall(r"^\S*digit.png\b.*\b7\b", printed, flags=re.MULTILINE)) == 2  # with either token
        assert '"lenet"' in printed  # by curl
        (code,) = blocks(page, "python")
        assert run(PYTHON, place, secured, code.text) == "7\n"


def test_every_reason_is_needed() -> None:
    """A pattern that no command has any more is gone from the lists."""
    told = [line for page in PAGES for block in blocks(page, "sh") for line in lines(block)]
    assert [start for start in NOT_RUN if not any(re.match(start, line) for line in told)] == []
    python = [block.text for page in PAGES for block in blocks(page, "python")]
    assert [part for part in NOT_RUN_PYTHON if not any(part in text for text in python)] == []
