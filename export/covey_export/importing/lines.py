"""Sentences about an import, for its terminal output."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from covey_export.importing.proving import proof
from covey_export.importing.proving.proof import Graph, Proof
from covey_export.importing.proving.samples import Samples
from covey_proto.wording import plural

_LABELS_SHOWN = 8
_SENTENCES_SHOWN = 3
_MIN_SPREAD = 1e-3  # of a probability between images, below which a comparison says little


def summarize(names: Sequence[str]) -> str:
    """The labels with their outputs, at most the first few."""
    first = ", ".join(f"{index} {name}" for index, name in enumerate(names[:_LABELS_SHOWN]))
    more = len(names) - _LABELS_SHOWN
    return f"{first} and {more:,} more" if more > 0 else first


def first_few(sentences: Sequence[str], what: str) -> Iterator[str]:
    """The first few sentences, and a last one that says how many more are `what`."""
    yield from sentences[:_SENTENCES_SHOWN]
    if (more := len(sentences) - _SENTENCES_SHOWN) > 0:
        yield f"and {more:,} more {what}"


def describe_proof(
    graph: Graph,
    proof_result: Proof,
    images: Samples,
    expected: NDArray[np.float32],
    accuracy: float | None,
    classes: int,
    *,
    was_checked: bool,
) -> Iterator[str]:
    """What was compared, with a warning where the comparison says little. `expected` `[N, K]` are the original's
    probabilities, `accuracy` is theirs (None: the images have no labels). `was_checked`: --check was given."""
    kind = "made image" if images.is_made else "image"
    sizes = ", ".join(map(str, proof.BATCH_SIZES))
    yield f"batches {graph.description}; batches of {sizes} give what single images give"
    yield (
        f"proven  equal to the original on {plural(proof_result.images, kind)}: largest difference of a probability "
        f"{proof_result.difference:.1e} (allowed {proof_result.tolerance:.0e}), the same labels"
    )
    spread = float(np.ptp(expected, axis=0).max())
    if spread < _MIN_SPREAD and len(expected) > 1:
        yield (
            f"warning: the original gives nearly the same probabilities for all of these images (they differ by "
            f"{spread:.1g} at most), so that this says little: compare on real images, with --samples DIR"
        )
    if accuracy is not None:
        yield f"accuracy on the {plural(proof_result.images, 'labelled image')}: {accuracy:.2%}"
        if accuracy < 1.5 / classes and proof_result.images >= 2 * classes:
            yield f"warning: that is no better than guessing among {classes:,} classes: " + (
                "no usual preprocessing or order of the labels does clearly better, so ask whether the network is "
                "trained, and for such images"
                if was_checked
                else "the preprocessing or the order of the labels is wrong; --check DIR compares the usual ones"
            )
