"""The numbers of a report against cases computed by hand, and their way through report.json."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.export.reports.cases import make_case

from covey_export.errors import ReportFailed
from covey_export.reports import calibration, findings

LABELS = ("crow", "owl", "tit")
# Four owls and crows, no tit; the third image, an owl, is taken for a tit.
TRUTH = np.array([0, 0, 1, 1])
ANSWERS = np.array([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.2, 0.2, 0.6], [0.1, 0.9, 0.0]], np.float32)


def test_calibration_error_by_hand() -> None:
    """Confidences 0.8, 0.6, 0.6 and 0.9 in five bins: (0.4, 0.6] holds two, of which one is right; (0.6, 0.8] and
    (0.8, 1] one each, both right: (2 * |0.5 - 0.6| + 1 * |1 - 0.8| + 1 * |1 - 0.9|) / 4 = 0.125. Float32's 0.6 and
    0.8 lie a little above 0.6 and 0.8, so the confidences here are exact ones a little below."""
    answers = np.nextafter(ANSWERS, np.float32(0))

    found = calibration.measure(answers, TRUTH, bins=5)

    assert found.error == pytest.approx(0.125, abs=1e-6)
    assert found.mean_confidence == pytest.approx(0.725, abs=1e-6)
    assert [part.images for part in found.bins] == [0, 0, 2, 1, 1]
    assert [part.accuracy for part in found.bins] == [None, None, 0.5, 1.0, 1.0]


def test_calibration_of_certain_answers() -> None:
    """Probability 1 belongs to the last bin, and a model that is always sure and right half of the time is 0.5 off."""
    answers = np.array([[1, 0], [1, 0]], np.float32)

    found = calibration.measure(answers, np.array([0, 1]))

    assert len(found.bins) == 15
    assert found.bins[-1].images == 2
    assert found.error == 0.5


def test_confusion_and_class_accuracy_by_hand(tmp_path: Path) -> None:
    found = make_case(tmp_path, LABELS, test_labels=TRUTH, probabilities=ANSWERS).findings

    assert found.confusion_matrix().tolist() == [[2, 0, 0], [0, 1, 1], [0, 0, 0]]
    assert found.confused_pairs() == [(1, 2, 1)]
    assert found.class_accuracy == (1.0, 0.5, None)
    assert found.class_images == (2, 2, 0)
    assert found.mistakes == (2,)
    assert found.accuracy == 0.75


def test_report_json_gives_back_what_was_found(tmp_path: Path) -> None:
    speed = {"variant_us_per_image": {"1": 12.5}, "sentence": "int8 pays here"}
    case = make_case(tmp_path, LABELS, test_labels=TRUTH, probabilities=ANSWERS, precision="int8", speed=speed)

    folder = case.write_json(tmp_path)

    assert findings.read(folder) == case.findings
    assert json.loads((folder / "report.json").read_text())["calibration"]["error"] == case.findings.calibration.error


def test_no_report_json(tmp_path: Path) -> None:
    with pytest.raises(ReportFailed, match="does not exist; write it with `covey report`"):
        findings.read(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 99}', '{"format": 1}'])
def test_damaged_report_json(tmp_path: Path, text: str) -> None:
    (tmp_path / "report.json").write_text(text)

    with pytest.raises(ReportFailed, match="or it is damaged; write it anew"):
        findings.read(tmp_path)


def test_no_verification(tmp_path: Path) -> None:
    with pytest.raises(ReportFailed, match=r"verification\.json does not exist; publish the model"):
        findings.read_verification(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", '{"images": 3}'])
def test_damaged_verification(tmp_path: Path, text: str) -> None:
    (tmp_path / "verification.json").write_text(text)

    with pytest.raises(ReportFailed, match="or it is damaged; verify the model once more"):
        findings.read_verification(tmp_path)


def test_folder_that_is_no_version(tmp_path: Path) -> None:
    case = make_case(tmp_path, LABELS)
    with pytest.raises(ReportFailed, match="is no version of a model; expected a folder models/NAME/VERSION"):
        findings.find(
            None,  # type: ignore[arg-type]
            None,  # type: ignore[arg-type]
            case.dataset,
            tmp_path / "bird-net",
            case.probabilities,
            1,
        )
