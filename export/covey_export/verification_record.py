"""What a verification came to, for people and in the version's verification.json.

verification.py measures it; a report and the next version read it back.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from covey_export import model_versions
from covey_export.embedding import Comparison
from covey_export.errors import VerificationFailed
from covey_export.examination.temperature import Scaling
from covey_export.examination.unknown import Threshold
from covey_export.quantization.cost import MAX_ACCURACY_LOSS, points
from covey_export.quantization.precision import Precision
from covey_export.quantization.timing import Speed
from covey_proto import atomic_files
from covey_proto.wording import plural

FILE = "verification.json"
LISTED_DISAGREEMENTS = 20


@dataclass(frozen=True)
class Disagreement:
    """A test image whose most probable class is another one in the file. `margin` is by how much PyTorch holds its
    own class for more probable than the file's."""

    image: int  # its place in the test set
    torch_class: str
    file_class: str
    margin: float


@dataclass(frozen=True)
class Verification:
    """What came out, on the whole test set. Accuracies are 0 to 1; `problems` is empty where all is well."""

    precision: str  # what the file computes in
    images: int
    torch_accuracy: float
    onnxruntime_accuracy: float
    accuracy_lost: float  # the first less the second
    per_class_accuracy: dict[str, float | None]
    largest_difference: float  # of a probability, absolute, over all batch sizes
    difference_by_batch_size: dict[int, float]
    difference_between_batch_sizes: float  # of the same image's probabilities, absolute, by the file alone
    golden_difference: float
    disagreements: int  # images whose most probable class differs
    first_disagreements: tuple[Disagreement, ...]  # the first LISTED_DISAGREEMENTS of them
    tolerance: float
    png_images: int  # brought through PNG and the server's decoder, pixel for pixel and answer for answer
    problems: tuple[str, ...]
    versions: dict[str, str]
    date: str
    made_from: str = ""  # the checkpoint: its digest
    speed: Speed | None = None  # of a variant, beside float32
    test_set: str = ""  # the digest of the test images and labels
    calibration: Scaling | None = None  # by PyTorch on the test images; None: as trained
    unknown: Threshold | None = None  # by PyTorch; None: the file has none
    embedding: Comparison | None = None  # None: the file publishes none

    @property
    def is_variant(self) -> bool:
        """Whether the file computes in another precision than the network was trained for."""
        return self.precision != Precision.FLOAT32.value

    def require_passed(self, path: Path) -> None:
        """Raises VerificationFailed with all that is wrong."""
        if not self.problems:
            return
        found = "; ".join(self.problems)
        if not self.is_variant:
            raise VerificationFailed(f"{path} does not compute what PyTorch computes: {found}")
        raise VerificationFailed(
            f"{path} is not good enough in {self.precision}: {found}. Serve this network in float32, or train it "
            f"further: rounding costs less where its answers are clear"
        )

    def lines(self) -> list[str]:
        """What to tell people."""
        fitted = [found.sentence for found in (self.calibration, self.unknown, self.embedding) if found]
        if not self.is_variant:
            first = (
                f"verified on {plural(self.images, 'test image')}: accuracy {self.onnxruntime_accuracy:.2%} "
                f"(PyTorch {self.torch_accuracy:.2%}), largest difference {self.largest_difference:.1e} "
                f"(allowed {self.tolerance:.0e}), top-1 disagreements {self.disagreements}"
            )
            return [first, *fitted, *self._disagreement_lines()]
        first = (
            f"verified on {plural(self.images, 'test image')} in {self.precision}: accuracy "
            f"{self.onnxruntime_accuracy:.2%} (PyTorch {self.torch_accuracy:.2%}, {points(self.accuracy_lost)}, "
            f"allowed {MAX_ACCURACY_LOSS * 100:.2f}), largest difference {self.largest_difference:.1e}, "
            f"top-1 disagreements {self.disagreements}"
        )
        return [first, *fitted, *([self.speed.sentence] if self.speed else [])]

    def _disagreement_lines(self) -> list[str]:
        lines = [
            f"  test image {each.image}: {each.torch_class} in PyTorch, {each.file_class} in the file, "
            f"margin {each.margin:.1e}"
            for each in self.first_disagreements
        ]
        more = self.disagreements - len(lines)
        return [*lines, f"  and {more:,} more"] if more else lines


def write(verification: Verification, folder: Path) -> None:
    """Writes the folder's verification.json in one step. Raises OSError."""
    atomic_files.write_text(
        folder / FILE, json.dumps(dataclasses.asdict(verification), indent=2, allow_nan=False) + "\n"
    )


def accuracy_of_latest(parent: Path, test_set: str) -> float | None:
    """The accuracy of the highest published version in a model's folder; None where there is none, or where it was
    measured on other test images."""
    published = model_versions.versions(parent)
    record = _read(parent / str(published[-1])) if published else {}
    accuracy = record.get("onnxruntime_accuracy")
    return accuracy if record.get("test_set") == test_set and isinstance(accuracy, float) else None


def made_from(folder: Path) -> str:
    """The digest of the checkpoint that a version's file was made from; empty where its record does not say."""
    return str(_read(folder).get("made_from", ""))


def _read(folder: Path) -> dict[str, object]:
    """What the folder's verification.json says: nothing where there is none, or it is damaged."""
    try:
        content = json.loads((folder / FILE).read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
