"""Whether a model file computes what PyTorch computes, seen through the very code that will serve it.

A float32 file must give PyTorch's probabilities. A variant in another precision may not lose more than a little of
PyTorch's accuracy, and must give the same answers whatever the batch.

The file is run by the server's own `engine`, encoded images are read by its `pixels`, and `model_file` and `golden`
do what the server does at every load. What PyTorch computes comes with the trained model, computed once.
"""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from covey_export import embedding, environment
from covey_export.datasets.dataset import Images
from covey_export.errors import VerificationFailed
from covey_export.evaluation import Accuracy, accuracy
from covey_export.quantization import cost
from covey_export.quantization.precision import Precision
from covey_export.trained_model import TrainedModel
from covey_export.verification_record import (
    LISTED_DISAGREEMENTS,
    Disagreement,
    Verification,
)
from covey_proto.wording import listed, plural
from covey_server.errors import CoveyServerError
from covey_server.images import pixels
from covey_server.inference import golden, model_file
from covey_server.inference.devices import choose
from covey_server.inference.engine import Engine

BATCH_SIZES = (1, 2, 3, 7, 64)
_IMAGES_PER_BATCH_SIZE = 128
_WHOLE_SET_BATCH = 64
_PNG_IMAGES = 16

Probabilities = NDArray[np.float32]


def verify(path: Path, trained: TrainedModel) -> Verification:
    """Runs the model file at `path` on all test images, on the CPU, and compares its answers with PyTorch's.
    Differences are reported, not raised.

    Raises VerificationFailed where the server would refuse the file or could not run it.
    """
    try:
        engine = Engine(path, choose("cpu"), threads=1)
        description = model_file.describe(engine)
        golden_difference = golden.check(engine, description.golden)
        return _compare(engine, description, golden_difference, trained)
    except CoveyServerError as error:
        raise VerificationFailed(f"the server refuses the model: {error}") from error


def _compare(
    engine: Engine,
    description: model_file.Description,
    golden_difference: float,
    trained: TrainedModel,
) -> Verification:
    dataset = trained.dataset
    if (engine.input_shape, description.labels) != (dataset.image_shape, dataset.labels):
        raise VerificationFailed(
            f"the model takes {engine.input_shape} and knows {listed(description.labels)}; "
            f"{dataset.name} has {dataset.image_shape} and {listed(dataset.labels)}"
        )
    precision = Precision.of_file(description.info.build.precision)
    tolerance = description.golden.tolerance
    expected = trained.probabilities
    found = _run(engine, dataset.test_images, _WHOLE_SET_BATCH)
    few = dataset.test_images[:_IMAGES_PER_BATCH_SIZE]
    by_size = {size: _run(engine, few, size) for size in BATCH_SIZES}
    differences = {size: _largest_difference(each, expected[: len(few)]) for size, each in by_size.items()}
    between_sizes = max(_largest_difference(each, found[: len(few)]) for each in by_size.values())
    largest_difference = float(np.max([_largest_difference(found, expected), *differences.values()]))
    result, torch_result = accuracy(found, dataset.test_labels), trained.accuracy
    disagreements = _disagreements(found, expected, dataset.labels)

    if precision is Precision.FLOAT32:
        problems = _float32_problems(largest_difference, disagreements, tolerance)
    else:
        problems = _variant_problems(result, torch_result, between_sizes, tolerance)
    compared = None
    if engine.embedding_size:
        compared = embedding.compare(_run_embedding(engine, dataset.test_images), trained.embeddings)
        problems += _embedding_problems(compared, precision, tolerance)
    problems += _png_problems(engine, description.input, dataset.test_images[:_PNG_IMAGES])

    return Verification(
        precision=precision.value,
        images=len(dataset.test_images),
        torch_accuracy=torch_result.overall,
        onnxruntime_accuracy=result.overall,
        accuracy_lost=torch_result.overall - result.overall,
        per_class_accuracy=dict(zip(dataset.labels, result.per_class, strict=True)),
        largest_difference=largest_difference,
        difference_by_batch_size=differences,
        difference_between_batch_sizes=between_sizes,
        golden_difference=golden_difference,
        disagreements=len(disagreements),
        first_disagreements=tuple(disagreements[:LISTED_DISAGREEMENTS]),
        tolerance=tolerance,
        png_images=min(_PNG_IMAGES, len(dataset.test_images)),
        problems=tuple(problems),
        versions=environment.versions(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        calibration=trained.scaling,
        unknown=trained.threshold,
        embedding=compared,
    )


def _disagreements(found: Probabilities, expected: Probabilities, labels: tuple[str, ...]) -> list[Disagreement]:
    torch_choice, choice = expected.argmax(axis=1), found.argmax(axis=1)
    margins = golden.margins(found, expected)
    return [
        Disagreement(int(image), labels[torch_choice[image]], labels[choice[image]], float(margins[image]))
        for image in np.flatnonzero(torch_choice != choice)
    ]


def _float32_problems(largest_difference: float, disagreements: list[Disagreement], tolerance: float) -> list[str]:
    problems = []
    if not largest_difference <= tolerance:  # `not <=`: NaN is a problem too
        problems.append(f"probabilities differ by up to {largest_difference:.2g}, allowed are {tolerance:.2g}")
    wrong = sum(each.margin > tolerance for each in disagreements)  # the others are ties
    if wrong:
        problems.append(
            f"{plural(wrong, 'test image')} {'gets' if wrong == 1 else 'get'} another class without being a tie"
        )
    return problems


def _variant_problems(found: Accuracy, expected: Accuracy, between_sizes: float, tolerance: float) -> list[str]:
    problems = (
        cost.accuracy_problem(found.overall, expected.overall, found.images, reference="in PyTorch", kind="test image"),
        cost.batches_problem(between_sizes, tolerance, BATCH_SIZES),
    )
    return list(filter(None, problems))


def _embedding_problems(found: embedding.Comparison, precision: Precision, tolerance: float) -> list[str]:
    """`not <=` and `not >=`: NaN is a problem too."""
    if precision is Precision.FLOAT32 and not found.largest_difference <= tolerance:
        share, allowed = f"{found.largest_difference:.2g}", f"{tolerance:.2g}"
        return [f"embeddings differ by up to {share} of the largest number, allowed are {allowed}"]
    if not found.mean_cosine >= embedding.MIN_COSINE:
        cosine = f"{found.mean_cosine:.4f}"
        return [
            f"embeddings have a mean cosine of {cosine} with PyTorch's, expected are {embedding.MIN_COSINE} or more"
        ]
    return []


def _run_embedding(engine: Engine, pixels: Images) -> NDArray[np.float32]:
    starts = range(0, len(pixels), _WHOLE_SET_BATCH)
    return np.concatenate([engine.run_with_embedding(pixels[start : start + _WHOLE_SET_BATCH])[1] for start in starts])


def _run(engine: Engine, pixels: Images, batch_size: int) -> Probabilities:
    return np.concatenate(
        [engine.run(pixels[start : start + batch_size]) for start in range(0, len(pixels), batch_size)]
    )


def _largest_difference(found: Probabilities, expected: Probabilities) -> float:
    return float(np.abs(found - expected).max())


def _png_problems(engine: Engine, spec: pixels.InputSpec, images: Images) -> list[str]:
    """What is wrong when images come as PNG files instead of pixels: nothing may be."""
    decoded = np.stack([pixels.decode(_png(image), spec) for image in images])
    if not np.array_equal(decoded, images):
        return ["PNG files of test images do not decode to the same pixels"]
    if not np.array_equal(engine.run(decoded), engine.run(images)):
        return ["PNG files of test images get other answers than their pixels"]
    return []


def _png(image: Images) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image.squeeze(axis=2) if image.shape[2] == 1 else image).save(buffer, "PNG")
    return buffer.getvalue()
