"""The figures of a report as rows of words, the same in report.html, MODEL_CARD.md and a comparison."""

from __future__ import annotations

from covey_export.embedding import Comparison
from covey_export.examination.unknown import Threshold
from covey_export.networks import size
from covey_export.reports.findings import Findings

# The names of the rows of which a comparison shows a difference.
ACCURACY = "accuracy, as served (onnxruntime)"
CALIBRATION = "expected calibration error"
PARAMETERS = "parameters"
SIZE = "size of model.onnx"
TRAINING = "training"


def rows(findings: Findings) -> list[tuple[str, str]]:
    """(name, value): what the model is and does."""
    verified = findings.verification
    return [
        (ACCURACY, f"{verified.onnxruntime_accuracy:.2%}"),
        ("accuracy in PyTorch", f"{verified.torch_accuracy:.2%}"),
        ("test images", f"{findings.test_images:,}"),
        ("largest difference of a probability", _difference(findings)),
        ("disagreements with PyTorch", f"{verified.disagreements} of {verified.images:,}"),
        (CALIBRATION, calibration_error(findings)),
        *_temperature_row(findings),
        *([("unknown images", Threshold(**verified.unknown).sentence)] if verified.unknown else []),
        *([("embedding", Comparison(**verified.embedding).sentence)] if verified.embedding else []),
        (PARAMETERS, f"{findings.parameters:,}"),
        (SIZE, f"{findings.size_bytes:,} bytes"),
        ("computes in", verified.precision),
        *speed_rows(findings),
        ("input", f"{size(findings.image_shape)}; encoded images: {findings.resize}"),
        ("classes", f"{len(findings.labels):,}"),
        (TRAINING, f"{findings.seconds:,.1f} s"),
        *([("noticed in the data", " ".join(findings.notes))] if findings.notes else []),
    ]


def provenance(findings: Findings) -> list[tuple[str, str]]:
    """(name, value): all that the figures depend on, and by what each of it is known."""
    verified = findings.verification
    rows = [
        ("network", f"{findings.network} ({findings.source})"),
        ("data set", f"{findings.dataset}, {findings.train_images:,} training images"),
        ("licence of the data", findings.licence),
        ("digest of the data", findings.images_digest),
        ("recipe", f"{findings.recipe}: {findings.recipe_description}"),
        ("first weights", findings.started_from or "random"),
        ("epochs", str(len(findings.history))),
        ("seed", str(findings.seed)),
        ("digest of the checkpoint", verified.made_from),
        ("SHA-256 of model.onnx", findings.file_digest),
        ("verified", verified.date),
        *verified.versions.items(),
        ("machine of this report", findings.machine),
    ]
    return [(name, value) for name, value in rows if value]  # earlier versions did not keep all of it


def speed_rows(findings: Findings) -> list[tuple[str, str]]:
    """What verification.json says of the speed, where it was measured."""
    speed = findings.verification.speed or {}
    times: dict[str, float] = speed.get("variant_us_per_image", {})
    rows = [(f"time per image at batch {size}", f"{time:,.1f} us") for size, time in times.items()]
    return [*rows, *([("beside float32", speed["sentence"])] if "sentence" in speed else [])]


def _difference(findings: Findings) -> str:
    verified = findings.verification
    allowed = "" if verified.is_variant else f" (allowed {verified.tolerance:.0e})"
    return f"{verified.largest_difference:.1e}{allowed}"


def _temperature_row(findings: Findings) -> list[tuple[str, str]]:
    said = findings.verification.calibration
    if said is None:
        return []
    before, after = said["error_before"], said["error_after"]
    text = (
        f"scores divided by a temperature of {said['temperature']:.3f}, fitted to training images that were kept from "
        f"training; expected calibration error in PyTorch {before:.2%} before, {after:.2%} after"
    )
    return [("calibrated", text)]


def calibration_error(findings: Findings) -> str:
    return f"{findings.calibration.error:.2%} ({len(findings.calibration.bins)} bins)"


def share(value: float | None) -> str:
    """An accuracy of a class."""
    return "no test images" if value is None else f"{value:.2%}"


def bytes_in_words(count: int) -> str:
    """1.3 MB."""
    if count < 1_000_000:
        return f"{count / 1_000:,.1f} kB"
    return f"{count / 1_000_000:,.1f} MB"
