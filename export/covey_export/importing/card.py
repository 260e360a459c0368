"""Writes the files beside an imported model that are for people: import.json and its model card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covey_export import model_card
from covey_export.importing.proving.samples import Samples
from covey_export.model_card import ModelCard, escape
from covey_proto import atomic_files
from covey_proto.v1.classifier_pb2 import ModelInfo
from covey_proto.wording import plural

RECORD = "import.json"
_MADE = "made by Covey: they show that the file computes what its original does, and nothing of its accuracy"


def write(
    folder: Path, info: ModelInfo, record: Mapping[str, object], images: Samples, probabilities: NDArray[np.float32]
) -> None:
    """Writes both files into a version's folder. `record` is the content of import.json, `probabilities` `[N, K]` are
    the original's for the images. Raises OSError."""
    atomic_files.write_text(folder / RECORD, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    atomic_files.write_text(folder / model_card.FILE, _card(info, record, images, probabilities))


def _card(info: ModelInfo, record: Mapping[str, Any], images: Samples, probabilities: NDArray[np.float32]) -> str:
    """The whole model card, as Markdown."""
    accuracy, counts = _by_class(images, probabilities, len(info.labels))
    compared = escape(images.place)
    kind = "image" if images.labels is None else "labelled image"
    source = escape(info.source.file)
    caveats = [f"Of the import: {escape(assumption)}." for assumption in record["assumed"]]
    if info.answer != ModelInfo.ANSWER_INDEPENDENT:
        caveats.append(model_card.always_one_of(info.labels))
    if images.labels is not None:
        caveats.append(model_card.holds_for(f"those of {compared}"))
        caveats.append(f"Weakest classes: {model_card.weakest(info.labels, accuracy)}.")
    else:
        caveats.append("Its accuracy was not measured: measure it on images of your own before you rely on it.")
    return ModelCard(
        title=f"{info.name} version {info.version}",
        details=_details(info, record),
        intended_use=f"Classifying images of the kind that {source} was trained on into "
        f"{plural(len(info.labels), 'class', 'classes')}. What it was made for, by whom, and under which licence, is "
        f"for its maker to write here.",
        factors="The classes are the only groups by which figures are split; nothing else is known of the images.",
        metrics="Largest difference: of a probability, absolute, of the imported file from its original, each prepared "
        "as above. Accuracy: the share of labelled images whose most probable class is theirs.",
        evaluation_data=f"{plural(len(images.images), kind)} {_MADE if images.is_made else f'of {compared}'}.",
        training_data=f"Not known to Covey: {source} was trained elsewhere.",
        analyses=_analyses(info, record, images, accuracy, counts, kind),
        caveats=caveats,
    ).markdown()


def _details(info: ModelInfo, record: Mapping[str, Any]) -> list[tuple[str, str]]:
    input_record = record["input"]
    rows = [
        ("imported from", info.source.file),
        ("its SHA-256", info.source.sha256),
        (
            "its input",
            f"{input_record['name']}: {input_record['datatype']} {input_record['layout']}, opset {record['opset']}",
        ),
        ("its output", str(record["output"])),
        ("image size", f"{info.input.height}x{info.input.width}x{info.input.channels}"),
        ("resizing of encoded images", str(record["resizing"])),
        ("pixels", str(record["preprocessing"])),
        ("answer", str(record["answer"])),
        ("classes", f"{len(info.labels):,}: {model_card.first(info.labels)}"),
        ("batch", str(record["batches"])),
        ("computes in", info.build.precision),
        ("largest difference from the original", f"{record['largest_difference']:.1e}"),
        ("between batch sizes", f"{record['difference_between_batch_sizes']:.1e}"),
    ]
    if "speed" in record:
        rows.append(("images with another label than the original's", str(record["other_labels"])))
        rows.append(("beside float32", str(record["speed"])))
    if record["accuracy"] is not None:
        rows.append(("accuracy as imported", f"{record['accuracy']:.2%} on {info.training.test_images:,} images"))
    rows.append(("imported", str(record["date"])))
    rows.append(("versions", ", ".join(f"{name} {version}" for name, version in record["versions"].items())))
    return rows


def _by_class(
    images: Samples, probabilities: NDArray[np.float32], classes: int
) -> tuple[list[float | None], list[int]]:
    """The accuracy of each class, None where it has no images, and how many it has."""
    if images.labels is None:
        return [], []
    has_label = images.labels >= 0
    truth, right = images.labels[has_label], (probabilities.argmax(axis=1) == images.labels)[has_label]
    counts = np.bincount(truth, minlength=classes).tolist()
    hits = np.bincount(truth[right], minlength=classes).tolist()
    return [hit / count if count else None for hit, count in zip(hits, counts, strict=True)], counts


def _analyses(
    info: ModelInfo,
    record: Mapping[str, Any],
    images: Samples,
    accuracy: list[float | None],
    counts: list[int],
    kind: str,
) -> str:
    on = plural(len(images.images), "made image" if images.is_made else kind)
    difference = f"Largest difference from the original {record['largest_difference']:.1e} on {on}."
    if record["accuracy"] is None:
        return difference
    return (
        f"{difference} Accuracy {record['accuracy']:.2%}; that of each class is the original's:\n\n"
        + model_card.class_table(info.labels, accuracy, counts, "labelled images")
    )
