"""docs/learn: networks are there, the quick commands run and print what is said, figures stand in training.md."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest
from bench.processes import ROOT
from tests.clients import docs_runner
from tests.docs import pages

from covey_export.__main__ import main as covey_export
from covey_export.cli import parser
from covey_export.networks import find_network
from covey_export.trials import variants

LEARN = ROOT / "docs" / "learn"
PAGES = sorted(LEARN.glob("*.md"))  # the Chinese ones have the same code, see below
PRINTED = re.compile(r"^```sh\n([^`]*?)^```\n\n```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NEW = {"mynet": "cifar-net", "mydeep": "mnist-deep", "mylenet": "lenet"}  # what the pages have their readers make


def commands(page: Path) -> list[list[str]]:
    """The words of each command, in their order."""
    return [words for block in pages.blocks(page, "sh") for words in pages.commands(block.text)]


def named(page: Path) -> str:
    return str(page.relative_to(LEARN))


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_networks_are_covey_s_or_the_reader_s_own(page: Path) -> None:
    made: set[str] = {"mine"}  # saved by the reader
    for words in commands(page):
        options = parser.build().parse_args(words[1:]) if words[0] == "covey-export" else None
        if options is None:
            continue
        if "source" in options:
            assert NEW[options.name] == options.source
            made.add(options.name)
        names = [*getattr(options, "networks", []), *([options.network] if getattr(options, "network", None) else [])]
        for variant in variants.combine(getattr(options, "vary", [])):
            names += [value for name, value in variant.settings if name == "network"]
        for name in names:
            assert name.partition(":")[0] in made if ":" in name else name.startswith("models/") or find_network(name)


@pytest.mark.parametrize("page", [page for page in PAGES if PRINTED.search(page.read_text("utf-8"))], ids=named)
def test_networks_are_shown_as_the_page_says(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for block, text in PRINTED.findall(page.read_text(encoding="utf-8")):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            assert words[:2] == ["covey-export", "show"]
            if words[-2:] == ["--output", "show.html"]:
                words = words[:-2]
            if "--dataset" in words and words[words.index("--dataset") + 1] != "sample":
                words = words[: words.index("--dataset")]  # data that is not everywhere; the layers are the same
            assert covey_export(words[1:]) == 0
        said = " ".join(re.sub(r"[│┃]", " ", capsys.readouterr().out).split())
        for line in text.splitlines():
            assert line in said


def test_new_networks_can_be_changed_as_the_pages_say(capsys: pytest.CaptureFixture[str]) -> None:
    for name, source in NEW.items():
        assert covey_export(["new", name, "--from", source]) == 0
    layer = "            nn.Conv2d(16, 16, kernel_size=3, padding=1),\n            nn.ReLU(),\n"
    change("mynet.py", "            nn.MaxPool2d(2),\n        )", f"{layer}            nn.MaxPool2d(2),\n        )")
    change(
        "mynet.py",
        "            nn.Linear(84, classes)",
        "            nn.Dropout(0.5),\n            nn.Linear(84, classes)",
    )
    text = Path("mydeep.py").read_text()
    for inputs, outputs in ((1, 16), (16, 32), (32, 32), (32, 64)):
        one = f"nn.Conv2d({inputs}, {outputs}, kernel_size=5, padding=2)"
        two = f"nn.Conv2d({{}}, {outputs}, kernel_size=3, padding=1)"
        assert one in text
        text = text.replace(one, f"{two.format(inputs)}, nn.ReLU(), {two.format(outputs)}")
    Path("mydeep.py").write_text(text)
    assert Path("mylenet.py").read_text().count("nn.Sigmoid()") == 4
    capsys.readouterr()

    assert covey_export(["show", "mynet:Mynet", "--image-size", "32"]) == 0
    # The new layer has 16 * 16 * 9 + 16 parameters; dropout has none.
    assert f"In all {62_006 + 2_320:,} parameters" in capsys.readouterr().out
    assert covey_export(["show", "mydeep:Mydeep", "--dataset", "sample"]) == 0
    said = capsys.readouterr().out
    assert "40 x 40" in said, "the last convolution sees as much as before"
    told = re.search(r"in all there are ([\d,]+) parameters", " ".join((LEARN / "mnist-deep.md").read_text().split()))
    assert told is not None
    assert f"In all {told[1]} parameters" in said


def change(file: str, old: str, new: str) -> None:
    text = Path(file).read_text()
    assert text.count(old) == 1
    Path(file).write_text(text.replace(old, new))


@pytest.mark.parametrize("page", [page for page in PAGES if "```python" in page.read_text("utf-8")], ids=named)
def test_the_python_of_the_pages_prints_what_they_say(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    docs_runner.main(str(page), "", "")
    assert capsys.readouterr().out == "1 blocks\n"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_measured_figures_stand_in_the_page_of_measurements(page: Path) -> None:
    measured = set(re.findall(r"\d[\d,]*(?:\.\d+)?", (ROOT / "docs" / "training.md").read_text(encoding="utf-8")))
    stated = re.findall(r"(\d+\.\d+) ?%", page.read_text(encoding="utf-8"))
    assert set(stated) <= measured


CHINESE = [
    *((page, page.parent / "zh" / page.name) for page in LEARN.glob("*.md")),
    *((ROOT / name, (ROOT / name).with_suffix(".zh.md")) for name in ("README.md", "docs/overview.md")),
]


def code(page: Path) -> list[str]:
    """The lines of all blocks of code, without their comments and the words of drawings."""
    blocks = pages.blocks(page, "sh", "python", "text")
    return [re.sub(r" *#(?! \[).*", "", line) for block in blocks for line in block.text.splitlines()]


@pytest.mark.parametrize(("english", "chinese"), CHINESE)
def test_the_chinese_pages_have_the_same_code(english: Path, chinese: Path) -> None:
    assert code(english) == code(chinese)


@pytest.mark.parametrize(("english", "chinese"), CHINESE)
def test_the_chinese_pages_have_the_same_sections_and_figures(english: Path, chinese: Path) -> None:
    texts = [page.read_text(encoding="utf-8") for page in (english, chinese)]
    for what in (r"^#+ ", r"^\|(?:[^|\n]*\|)+$", r"\d+\.\d+(?= ?%)"):
        found = [re.findall(what, text, re.MULTILINE) for text in texts]
        if what.startswith(r"^\|"):  # of tables the number of columns of each row
            found = [[row.count("|") for row in rows] for rows in found]
        assert sorted(found[0]) == sorted(found[1]), what
    lead_to = [
        sorted(
            os.path.relpath(path.parent / target).replace("/zh/", "/").replace(".zh.md", ".md")
            for target in re.findall(r"\]\((?!https?:)([^)#]+)", text)
        )
        for path, text in zip((english, chinese), texts, strict=True)
    ]
    assert lead_to[0] == lead_to[1]
    for page, other, text in ((english, chinese, texts[0]), (chinese, english, texts[1])):
        assert f"]({os.path.relpath(other, page.parent)})" in text.partition("\n## ")[0]
