"""What a page names of the repository is there: environment variables, options, files, Python of covey, anchors."""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from bench.processes import ROOT
from markdown.extensions.toc import slugify_unicode  # type: ignore[import-untyped]
from tests.docs import command_lines, stable_names
from tests.docs.pages import PAGES, blocks, inline, named, without_blocks

import covey

FOLDERS = ("bench", "clients", "deploy", "docs", "export", "proto", "server", "tests", ".github", ".ci")
# By commands; and by whoever adds a format of images, as docs/recipes.md describes.
MADE = ("bench/results/", "server/covey_server/images/headers/pnm.py")
# Files of readers, and of Triton's client.
THEIRS = ("mynets/small.py", "mine.py", "mynet.py", "mydeep.py", "model.py", "MODULE.py", "image_client.py")


def files() -> Iterator[Path]:
    """Of the repository, as far as pages may name them."""
    yield from (path for path in ROOT.iterdir() if path.is_file())
    for folder in FOLDERS:
        for place, folders, names in os.walk(ROOT / folder):
            folders[:] = [name for name in folders if name not in ("__pycache__", "results")]
            yield from (Path(place) / name for name in names)


FILES = {named(path) for path in files()}


def variables() -> set[str]:
    """Environment variables: of the server, of `covey`, and what code, Compose and manifests read."""
    found = {line.partition(": ")[2] for line in stable_names.current() if line.startswith("environment: ")}
    for name in FILES:
        if not name.endswith((".md", ".png", ".onnx", ".npz")) and not name.startswith(("docs/", "tests/docs/")):
            text = (ROOT / name).read_text(encoding="utf-8", errors="replace")
            found.update(re.findall(r"\bCOVEY_[A-Z][A-Z_]*[A-Z]\b", text))
    return found


def options() -> set[str]:
    """Of every command of Covey, and what modules of bench and tests add."""
    found = set().union(*command_lines.options_of_covey().values(), command_lines.options_of_server())
    for name in FILES:
        if name.startswith(("bench/", "tests/")) and name.endswith(".py"):
            found.update(re.findall(r'add(?:_argument)?\(\s*"(--[\w-]+)"', (ROOT / name).read_text(encoding="utf-8")))
    return found


@pytest.fixture(scope="module")
def known_variables() -> set[str]:
    return variables()


@pytest.fixture(scope="module")
def known_options() -> set[str]:
    return options()


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_environment_variables_are_read_by_something(page: Path, known_variables: set[str]) -> None:
    told = set(re.findall(r"\bCOVEY_[A-Z][A-Z_]*[A-Z]\b", page.read_text(encoding="utf-8")))
    assert told - known_variables == set()


_OTHER_OPTIONS = """
--profile --health-interval --secret-add --secret-rm --set --data-binary
--file_system_poll_wait_seconds --port --rest_api_port --enable_batching --enable_model_warmup --ssl_config_file
--enable_grpc_healthcheck_service --serialized-file --model-file --model-control-mode --model-repository
--exit-timeout-secs --repository-poll-secs --h1
"""
# Of Docker, kubectl, curl, TensorFlow Serving, TorchServe, Triton and h2load.
OTHER_OPTIONS = frozenset(_OTHER_OPTIONS.split())


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_options_in_sentences_are_there(page: Path, known_options: set[str]) -> None:
    told = [
        (str(code), name)
        for code in inline(page)
        if code.text.startswith("--")
        for name in re.findall(r"(?<!\S)--[a-z][\w-]*[a-z0-9]", code.text)
    ]
    assert [each for each in told if each[1] not in known_options | OTHER_OPTIONS] == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_files_in_sentences_are_there(page: Path) -> None:
    missing = []
    for code in inline(page):
        path = code.text.rstrip("/")
        if not re.fullmatch(r"[\w.*/-]+", path) or not path.startswith(tuple(f"{each}/" for each in FOLDERS)):
            continue
        if not path.startswith(MADE) and not any(ROOT.glob(path)):
            missing.append(f"{code}: {code.text}")
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_files_in_commands_are_there(page: Path) -> None:
    found = {
        (str(block), path)
        for block in blocks(page, "sh")
        for path in re.findall(rf"(?<![\w./-])((?:{'|'.join(FOLDERS)})/[\w./-]*\w)", block.text)
    }
    assert [each for each in sorted(found) if not (ROOT / each[1]).exists()] == []


def anchors(page: Path) -> set[str]:
    """Of its headings, as the site makes them."""
    headings = re.findall(r"^#+ (.*)$", without_blocks(page), re.MULTILINE)
    return {slugify_unicode(re.sub(r"\]\(.*?\)", "", heading), "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    """Also of the pages that are not on the site, whose links test_site holds."""
    broken = []
    for path, anchor in re.findall(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]*))?\)", page.read_text("utf-8")):
        target = page.parent / path if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(f"{path}#{anchor}")
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_data_can_be_read(page: Path) -> None:
    for block in blocks(page, "json"):
        json.loads(block.text)
    for block in blocks(page, "yaml"):
        assert list(yaml.safe_load_all(block.text))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_python_uses_what_covey_has(page: Path) -> None:
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block.text, str(block))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("covey"):
                module = importlib.import_module(node.module or "")
                assert [each.name for each in node.names if not hasattr(module, each.name)] == [], str(block)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "covey":
                assert hasattr(covey, node.attr), f"{block}: covey.{node.attr}"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_modules_in_sentences_are_there(page: Path) -> None:
    """`batching/batcher.py`, whatever the package."""
    told = [
        code for code in inline(page) if re.fullmatch(r"[\w./]+\.py", code.text) and code.text not in (*MADE, *THEIRS)
    ]
    missing = [code for code in told if not any(f"/{name}".endswith(f"/{code.text}") for name in FILES)]
    assert [f"{code}: {code.text}" for code in missing] == []
