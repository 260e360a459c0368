"""A model's life once around, which docs/lifecycle.md tells of."""

from __future__ import annotations

import re

import pytest
from bench import lifecycle

STEPS = (
    "Version 1 is trained with 500 images.",
    "1,000 callers send an image each.",
    "Each is labelled, the least certain first.",
    "labelled: 1,000;",
    "Version 2 is trained with them as well.",
    "It runs in the shadow of version 1",
    "covey_shadow_images_total",
    "Version 2 is promoted.",
)


@pytest.mark.timeout(900)  # two trainings, and threads of the lowest priority, which a busy machine holds up
def test_captured_labelled_trained_shadowed_promoted(capsys: pytest.CaptureFixture[str]) -> None:
    """The version that is promoted is better, and the page tells all steps in order."""
    assert lifecycle.main([]) == 0
    output = capsys.readouterr().out
    places = [output.find(step) for step in STEPS]
    assert -1 not in places
    assert places == sorted(places)
    accuracy_before, accuracy_after = map(float, re.findall(r"([\d.]+)% (?:before|after)", output))
    assert accuracy_after > accuracy_before
