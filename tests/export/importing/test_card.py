"""MODEL_CARD.md of an imported model: what it was made from, how images are prepared, what was compared."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
from PIL import Image
from tests.export.importing.imports import images, published
from tests.export.importing.onnx_models import SIZE, save, small_cnn


def card(folder: Path) -> str:
    return (folder / "MODEL_CARD.md").read_text(encoding="utf-8")


def test_it_says_what_is_known(tmp_path: Path) -> None:
    source = save(small_cnn(), tmp_path, "my|net.onnx")
    published(source, tmp_path / "models", "--labels", "cat,<b>,[red],:d:,a|b", "--resize", "pad", "--float16")
    text = card(tmp_path / "models/net/1")
    assert text.startswith("# net version 1\n")
    assert re.findall(r"^## (.*)$", text, flags=re.MULTILINE) == [
        "Model details", "Intended use", "Factors", "Metrics", "Evaluation data", "Training data",
        "Quantitative analyses", "Ethical considerations", "Caveats and recommendations",
    ]  # fmt: skip
    for expected in (
        r"| imported from | my\|net.onnx |",
        f"| its SHA-256 | {hashlib.sha256(source.read_bytes()).hexdigest()} |",
        "| pixels | RGB pixels scaled to 0..1, mean 0.485, 0.456, 0.406 subtracted, divided by 0.229, 0.224, 0.225 |",
        "| answer | its outputs are logits; a softmax is put behind them |",
        "| batch | its batch axis is dynamic |",
        "| computes in | float32 |",
        r"5: cat, &lt;b&gt;, \[red\], :d:, a\|b |",
        "8 images made by Covey",
        "no preprocessing was given; assumed is imagenet",
        "Its accuracy was not measured",
    ):
        assert expected in text
    assert "<b>" not in text
    assert "| computes in | float16 |" in card(tmp_path / "models/net-float16/1")
    assert "| beside float32 | float16 " in card(tmp_path / "models/net-float16/1")


def test_labelled_samples_give_the_accuracy_of_each_class(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for place, image in enumerate(images(6, (SIZE, SIZE, 3))):
        (photos / "abc"[place % 3]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(photos / "abc"[place % 3] / f"{place}.png")
    served = published(
        save(small_cnn(), tmp_path), tmp_path / "models", "--samples", photos, "--labels", "a,b,c,d,e", "--like", "0..1"
    )
    text = card(tmp_path / "models/net/1")
    accuracy = served.description.info.training.test_accuracy
    assert f"| accuracy as imported | {accuracy:.2%} on 6 images |" in text
    assert "6 labelled images of photos." in text
    rows = re.findall(r"^\| ([a-e]) \| (.*)% \| 2 \|$", text, flags=re.MULTILINE)
    assert [label for label, _ in rows] == ["a", "b", "c"]
    assert np.isclose(np.mean([float(share) for _, share in rows]), accuracy * 100, atol=0.01)
    assert "| d | no labelled images | 0 |" in text
    assert "Weakest classes: " in text
    assert "no --labels" not in text
