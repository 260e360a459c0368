"""The figures of a report as rows of words, the same in report.html, MODEL_CARD.md and a comparison, in the language
that is spoken."""

from __future__ import annotations

from covey_export.embedding import Comparison
from covey_export.examination.unknown import Threshold
from covey_export.networks import size
from covey_export.reports.findings import Findings
from covey_reports.language import say

# The names of the rows of which a comparison shows a difference, to be said.
ACCURACY = "accuracy, as served (onnxruntime)"
CALIBRATION = "expected calibration error"
PARAMETERS = "parameters"
SIZE = "size of model.onnx"
TRAINING = "training"


def rows(findings: Findings) -> list[tuple[str, str]]:
    """(name, value): what the model is and does."""
    verified = findings.verification
    return [
        (say(ACCURACY), f"{verified.onnxruntime_accuracy:.2%}"),
        (say("accuracy in PyTorch"), f"{verified.torch_accuracy:.2%}"),
        (say("test images"), f"{findings.test_images:,}"),
        (say("largest difference of a probability"), _difference(findings)),
        (
            say("disagreements with PyTorch"),
            say("{count} of {all}", count=verified.disagreements, all=f"{verified.images:,}"),
        ),
        (say(CALIBRATION), calibration_error(findings)),
        *_temperature_row(findings),
        *([(say("unknown images"), Threshold(**verified.unknown).sentence)] if verified.unknown else []),
        *([(say("embedding"), Comparison(**verified.embedding).sentence)] if verified.embedding else []),
        (say(PARAMETERS), f"{findings.parameters:,}"),
        (say(SIZE), say("{count:,} bytes", count=findings.size_bytes)),
        (say("computes in"), verified.precision),
        *speed_rows(findings),
        (
            say("input"),
            say("{size}; encoded images: {resize}", size=size(findings.image_shape), resize=findings.resize),
        ),
        (say("classes"), f"{len(findings.labels):,}"),
        (say(TRAINING), f"{findings.seconds:,.1f} s"),
        *([(say("noticed in the data"), " ".join(findings.notes))] if findings.notes else []),
    ]


def provenance(findings: Findings) -> list[tuple[str, str]]:
    """(name, value): all that the figures depend on, and by what each of it is known."""
    verified = findings.verification
    rows = [
        (say("network"), f"{findings.network} ({findings.source})"),
        (
            say("data set"),
            say("{dataset}, {count:,} training images", dataset=findings.dataset, count=findings.train_images),
        ),
        (say("licence of the data"), findings.licence),
        (say("digest of the data"), findings.images_digest),
        (say("recipe"), f"{findings.recipe}: {findings.recipe_description}"),
        (say("first weights"), findings.started_from or say("random")),
        (say("epochs"), str(len(findings.history))),
        (say("seed"), str(findings.seed)),
        (say("digest of the checkpoint"), verified.made_from),
        (say("SHA-256 of model.onnx"), findings.file_digest),
        (say("verified"), verified.date),
        *verified.versions.items(),
        (say("machine of this report"), findings.machine),
    ]
    return [(name, value) for name, value in rows if value]  # earlier versions did not keep all of it


def computed_by(findings: Findings) -> str:
    """Whose answers the accuracies, mistakes and probabilities are."""
    verified = findings.verification
    if verified.is_variant:
        return say("the file, in {precision}", precision=verified.precision)
    return say("PyTorch in float32")


def speed_rows(findings: Findings) -> list[tuple[str, str]]:
    """What verification.json says of the speed, where it was measured."""
    speed = findings.verification.speed or {}
    times: dict[str, float] = speed.get("variant_us_per_image", {})
    rows = [(say("time per image at batch {size}", size=size), f"{time:,.1f} us") for size, time in times.items()]
    return [*rows, *([(say("beside float32"), speed["sentence"])] if "sentence" in speed else [])]


def _difference(findings: Findings) -> str:
    verified = findings.verification
    found = f"{verified.largest_difference:.1e}"
    if verified.is_variant:
        return found
    return say("{found} (allowed {tolerance:.0e})", found=found, tolerance=verified.tolerance)


def _temperature_row(findings: Findings) -> list[tuple[str, str]]:
    calibration = findings.verification.calibration
    if calibration is None:
        return []
    text = say(
        "scores divided by a temperature of {temperature:.3f}, fitted to training images that were kept from training; "
        "expected calibration error in PyTorch {before:.2%} before, {after:.2%} after",
        temperature=calibration["temperature"],
        before=calibration["error_before"],
        after=calibration["error_after"],
    )
    return [(say("calibrated"), text)]


def calibration_error(findings: Findings) -> str:
    found = findings.calibration
    return say("{error:.2%} ({bins} bins)", error=found.error, bins=len(found.bins))


def share(value: float | None) -> str:
    """An accuracy of a class."""
    return say("no test images") if value is None else f"{value:.2%}"


def bytes_in_words(count: int) -> str:
    """1.3 MB."""
    if count < 1_000_000:
        return f"{count / 1_000:,.1f} kB"
    return f"{count / 1_000_000:,.1f} MB"
