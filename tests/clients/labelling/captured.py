"""A folder of captures as a server writes it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from PIL import Image

from covey.labelling.captures import Captures
from covey.labelling.page import LabelPage
from covey_proto import captures as layout

# From the least certain: predicted class and probability.
ANSWERS = (("cat", 0.21), ("dog", 0.312), ("cat", 0.5), ("bird/bat", 0.75))
CLASSES = ("bird/bat", "cat", "dog")


def write(folder: Path, answers: Sequence[tuple[str, float]] = ANSWERS, classes: Sequence[str] = CLASSES) -> Path:
    """Images whose grey is their place, in `folder`, which is returned."""
    rows = [layout.row(layout.CAPTURE_COLUMNS)]
    for place, (label, probability) in enumerate(answers):
        file = folder / layout.folder_name(label) / f"{probability:.3f}-20261130T094400-47-{place}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), place).save(file)
        name = f"{file.parent.name}/{file.name}"
        rows.append(layout.row((name, "2026-11-30T09:44:00Z", 7, label, f"{probability:.6f}", "uncertain")))
    (folder / layout.CAPTURES).write_bytes(b"".join(rows))
    (folder / layout.CLASSES).write_text(json.dumps(list(classes)))
    return folder


@contextmanager
def serving_page(folder: Path) -> Iterator[LabelPage]:
    """The page of such a folder, served."""
    with closing(Captures(write(folder))) as captures:
        page = LabelPage(captures)
        with page.running():
            yield page


def places(folder: Path) -> dict[int, str]:
    """In which folder each image lies now, by its number."""
    return {int(path.stem.rpartition("-")[2]): path.parent.name for path in folder.rglob("*.png")}
