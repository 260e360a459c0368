"""Pages in other languages: every text that a page says is translated, and no English is left beside names."""

from __future__ import annotations

import html
import json
import re
import string
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.export.reports.cases import THREE_EPOCHS, Case, make_case
from tests.reports.pages import Page, assert_self_contained
from tests.reports.texts import said

from covey_export.__main__ import main
from covey_export.datasets import Dataset
from covey_export.errors import MissingDataset
from covey_export.examination import corruptions, temperature, unknown
from covey_export.examination import page as examination
from covey_export.examination.command import Examination
from covey_export.reports import comparison
from covey_reports import language
from covey_reports.language import counted, listing, say, sentences

OTHERS = [code for code in language.LANGUAGES if code != language.ENGLISH]
RECORDED = re.compile(  # in any language, as it was recorded or is typed
    "On calibration of modern neural networks|Guo et al|a test's own|folder:birds|[Oo]ne is odd|covey export all"
)
WORDS = re.compile(r"[a-z]{3,}(?:[ ,;:]+[a-z]{2,})+")


def fields(text: str) -> list[tuple[str | None, str | None]]:
    return sorted((name, form) for _, name, form, _ in string.Formatter().parse(text) if name is not None)


@pytest.mark.parametrize("code", OTHERS)
class TestCatalogue:
    def test_has_every_text_that_pages_say_and_no_other(self, code: str) -> None:
        found = said()
        assert len(found) > 300
        catalogue = language.catalogue(code)
        assert {text: place for text, place in found.items() if text not in catalogue} == {}
        assert [text for text in catalogue if text not in found] == []

    def test_translations_have_the_fields_of_their_texts(self, code: str) -> None:
        for text, translation in language.catalogue(code).items():
            assert set(fields(translation)) == set(fields(text)), text
            assert translation.strip() == translation != ""


def test_what_is_said() -> None:
    assert say("{count}  of\n {all}", count=1, all=2) == "1 of 2"
    assert (counted(1, "image"), counted(2000, "image")) == ("1 image", "2,000 images")
    assert sentences("One.", "", "Two.") == "One. Two."
    with language.spoken("zh"):
        assert language.tag() == "zh-CN"
        assert say("Mistakes") == "分类错误"
        assert say("of no catalogue") == "of no catalogue"
        assert (counted(1, "image"), counted(2000, "image")) == ("1 张图像", "2,000 张图像")
        assert sentences("一。", "", "二。") == "一。二。"
        assert listing(["a", "b"]) == "a、b"
        assert listing([str(each) for each in range(30)]).endswith("另外 20 项")
    assert say("Mistakes") == "Mistakes"


def shown(text: str) -> Iterator[str]:
    """All that a reader may see or hear of a page, but what is recorded."""
    page = Page(re.sub(r"<(style|script)\b.*?</\1>", "", text, flags=re.DOTALL))
    yield from page.texts
    for _, attributes in page.tags:
        yield from (attributes[name] for name in ("alt", "aria-label", "title", "data-what") if name in attributes)
        for chart in json.loads(attributes.get("data-values", "[]")):
            yield from (line for line, _ in chart["lines"])
            yield from (words for _, words, _ in chart["points"])


def assert_chinese(text: str, *recorded: str) -> None:
    assert_self_contained(text)
    assert '<html lang="zh-CN"' in text
    for value in recorded:
        text = text.replace(html.escape(value), "")
    assert [each for each in shown(text) if WORDS.search(RECORDED.sub("", each))] == []
    assert re.search(r"[\u4e00-\u9fff]", "".join(Page(text).texts)) is not None


def recorded(case: Case) -> tuple[str, ...]:
    found = case.findings
    return found.resize, found.recipe_description, found.machine


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(tmp_path_factory.mktemp("birds"), ("crow", "owl", "tit"))


def test_a_report_in_chinese(birds: Case) -> None:
    with language.spoken("zh"):
        text = birds.write_page()
    assert_chinese(text, *recorded(birds))
    assert text.count("<svg ") == birds.page.count("<svg ") > 5
    spoken = json.loads(Page(text).all("html")[0]["data-spoken"])
    assert spoken["Close"] == "关闭"
    assert set(spoken.values()).isdisjoint(spoken)
    assert 'lang="en">' in birds.page
    assert "data-spoken" not in birds.page.replace("dataset.spoken", "")


def test_a_comparison_in_chinese(birds: Case, tmp_path: Path) -> None:
    other = make_case(tmp_path, ("crow", "owl", "tit"), version=2, history=THREE_EPOCHS[:1])
    folders = [birds.write_json(tmp_path / "one"), other.write_json(tmp_path / "two")]

    def load(folder: Path, dataset: str) -> Dataset:
        raise MissingDataset("one is odd")  # errors stay English

    with language.spoken("zh"):
        comparison.compare(folders, tmp_path / "compare.html", load)
    assert_chinese((tmp_path / "compare.html").read_text(encoding="utf-8"), *recorded(birds), *recorded(other))


def test_an_examination_in_chinese() -> None:
    random = np.random.default_rng(0)
    detections = {score: unknown.Detection(0.05, 0.5, 0.7) for score in unknown.CERTAINTIES}
    found = Examination(
        title="birds",
        dataset="folder:birds",
        images=100,
        accuracy=0.9,
        mirrored=0.91,
        robustness={kind: [0.8, 0.7, 0.6] for kind in corruptions.KINDS},
        scaling=temperature.scale(random.normal(size=(100, 3)), random.integers(0, 3, 100)),
        detections=dict.fromkeys(unknown.synthetic_images(np.zeros((1, 8, 8, 1), np.uint8)), detections),
    )
    with language.spoken("zh"):
        text = examination.write_page(found)
    assert_chinese(text)
    assert "噪声" in text


def test_show_in_chinese(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["show", "conv-demo", "--image", "0", "--lang", "zh", "--output", "show.html"]) == 0
    assert "合计 9 个参数" in capsys.readouterr().out
    text = Path("show.html").read_text(encoding="utf-8")
    for name in ("top left", "top right", "bottom left", "bottom right", "a convolution to compute by hand"):
        text = text.replace(name, "")
    assert_chinese(text.replace(", nothing is learned", ""))


def test_try_in_chinese(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["try", "mlp", "--dataset", "sample", "--batch-size", "600", "--epochs", "1", "--lang", "zh"]
    assert main(command) == 0
    assert main([*command, "--vary", "dropout=0,0.5"]) == 0
    assert "请用 --seeds 3" in capsys.readouterr().out
    text = Path("trials.html").read_text(encoding="utf-8")
    assert "偏置" in text
    assert_chinese(text, *(f"batch 600, sgd lr 0.1, dropout {share}, 1 epoch" for share in ("0.5", "0")))
