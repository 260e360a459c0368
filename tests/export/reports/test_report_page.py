"""report.html and MODEL_CARD.md for models of every shape. Warnings of matplotlib (a missing glyph, a layout that does
not fit) are errors here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.export.reports.cases import THREE_EPOCHS, Case, draw_answers, make_case
from tests.reports.pages import Page, assert_self_contained, pictures
from torch import nn

from covey_export.checkpoint import Epoch
from covey_export.reports import model_card

STRANGE = ("<script>alert(1)</script>", "\u732b", "$x^2$", "a|b", "e&f", '" onload="')
ALL_PICTURES = (
    "losses",
    "accuracies",
    "confusion",
    "classes",
    "kernels",
    "maps-0",
    "space-0",
    "reliability",
    "confidences",
)


def long_labels(count: int) -> tuple[str, ...]:
    return tuple(f"class of the long-tailed {'very ' * (number % 5)}small birds {number}" for number in range(count))


def deep_network(classes: int) -> nn.Module:
    parts = [part for _ in range(8) for part in (nn.Conv2d(3, 3, 3, padding=1), nn.ReLU())]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, classes))


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(tmp_path_factory.mktemp("birds"), ("crow", "owl", "tit"))


CASES: dict[str, dict[str, Any]] = {
    "28x28 grey, 1 epoch": {"labels": tuple("0123456789"), "shape": (28, 28, 1), "history": THREE_EPOCHS[:1]},
    "32x32 RGB, 30 long names": {"labels": long_labels(30), "shape": (32, 32, 3)},
    "120 long names, one without images": {"labels": long_labels(120), "test_labels": np.repeat(np.arange(119), 2)},
    "images higher than wide, 200 epochs of a steep loss": {
        "labels": ("a", "b"),
        "shape": (24, 8, 3),
        "history": tuple(Epoch(10 / (place + 1) ** 2, 0.5, 0.5) for place in range(200)),
    },
    "no mistakes, a network without layers to see": {
        "labels": ("a", "b"),
        "probabilities": np.eye(2, dtype=np.float32).repeat(3, axis=0),
        "network": nn.Sequential(nn.Flatten(), nn.Softmax(1)),
    },
}


@pytest.mark.parametrize("name", CASES)
def test_every_shape_of_model(tmp_path: Path, name: str) -> None:
    case = make_case(tmp_path, **CASES[name])

    text = case.page

    assert_self_contained(text)
    wanted = list(ALL_PICTURES)
    if not case.recordings[0].layers:
        for picture in ("kernels", "maps-0", "space-0"):
            wanted.remove(picture)
    assert pictures(text) == wanted


def test_thousand_classes_of_large_images(tmp_path: Path) -> None:
    """Pairs in place of the matrix; 300 of the classes have a test image."""
    case = make_case(
        tmp_path, long_labels(1000), (224, 224, 3), network=deep_network(1000), test_labels=np.arange(300) * 3
    )

    text = case.page

    assert_self_contained(text)
    assert "A matrix of 1,000 classes could not be read" in text
    assert "Without test images: 700 of 1,000 classes" in text
    assert pictures(text) == ["pairs" if name == "confusion" else name for name in ALL_PICTURES]
    assert len(text) < 8_000_000


def test_names_cannot_become_part_of_the_page(tmp_path: Path) -> None:
    text = make_case(tmp_path, STRANGE).page
    page = Page(text)

    assert_self_contained(text)
    assert pictures(text) == list(ALL_PICTURES)
    assert len(page.all("script")) == 1
    assert set(STRANGE) <= {text.strip() for text in page.texts}
    assert any("e&f" in attributes.get("alt", "") for attributes in page.all("img"))


def test_contents_lead_to_every_section(birds: Case) -> None:
    page = Page(birds.page)

    anchors = [attributes["id"] for attributes in page.all("h2") if attributes["id"] != "contents"]
    assert [attributes["href"] for attributes in page.all("a")] == [f"#{anchor}" for anchor in anchors]
    assert len(anchors) == 11


def test_readable_on_light_and_dark(birds: Case) -> None:
    """Ink takes the page's colour; no picture brings a background of its own."""
    text = birds.page

    assert "color-scheme: light dark" in text
    assert "prefers-color-scheme: dark" in text
    assert "currentColor" in text
    assert "#0a0b0c" not in text


def test_same_findings_same_page(birds: Case) -> None:
    assert birds.write_page() == birds.page


def test_figures_of_the_page(birds: Case) -> None:
    text = " ".join(Page(birds.page).texts)

    for figure in ("1,234,567", "1,234 bytes", "2.5e-07", "0 of 9", "12.3 s", "CC0", "torch 2.9.0", "One is odd."):
        assert figure in text
    assert text.count("size of model.onnx") == 2, "at the top, and in the table"
    assert f"{birds.findings.calibration.error:.2%} (15 bins)" in text
    assert "Guo, Pleiss, Sun, Weinberger" in text


def test_variant_says_whose_answers_it_shows(tmp_path: Path) -> None:
    speed = {"variant_us_per_image": {"1": 12.34}, "sentence": "int8 pays here"}
    text = make_case(tmp_path, ("a", "b"), precision="int8", speed=speed).page

    assert "those of the file, in int8" in text
    assert "12.3 us" in text
    assert "(allowed" not in text  # the tolerance is of the golden check, not of the distance to PyTorch
    assert "int8 pays here" in text


def test_model_card_has_the_headings_and_the_figures(birds: Case) -> None:
    text = model_card.write_card(birds.findings)

    assert re.findall(r"^## (.*)$", text, flags=re.MULTILINE) == [
        "Model details",
        "Intended use",
        "Factors",
        "Metrics",
        "Evaluation data",
        "Training data",
        "Quantitative analyses",
        "Ethical considerations",
        "Caveats and recommendations",
    ]
    for figure in ("1,234,567", "1,234 bytes", "2.5e-07", "50.00%", "0 of 9", "CC0", "folder:birds", "| owl |"):
        assert figure in text


def test_model_card_escapes_names(tmp_path: Path) -> None:
    text = model_card.write_card(make_case(tmp_path, STRANGE).findings)

    assert "<script>" not in text
    assert r"| a\|b |" in text


def test_model_card_of_many_classes_names_the_weakest(tmp_path: Path) -> None:
    labels = long_labels(100)
    truth = np.repeat(np.arange(100), 2)
    answers = np.eye(100, dtype=np.float32)[truth]
    answers[2 * 77] = answers[0]  # one of two images of class 77 is taken for class 0
    case = make_case(tmp_path, labels, test_labels=truth, probabilities=answers)

    text = model_card.write_card(case.findings)

    assert "The 30 weakest of 100 classes" in text
    assert f"Weakest classes: {labels[77]} (50.0%)" in text


def test_untrained_model_says_so(tmp_path: Path) -> None:
    case = make_case(tmp_path, ("a", "b"), (5, 5, 1), history=())

    assert_self_contained(case.page)
    assert pictures(case.page) == [name for name in ALL_PICTURES if name not in ("losses", "accuracies")]
    assert "Nothing was trained: the history has 0 epochs." in case.page
    assert "the training has 0 epochs" in model_card.write_card(case.findings)


def test_answers_of_the_cases_are_partly_wrong() -> None:
    """Else the cases above would draw no mistakes."""
    truth = np.repeat(np.arange(10), 3)
    right = draw_answers(truth, 10).argmax(axis=1) == truth
    assert 0.3 < right.mean() < 0.9
