"""A model's life once around, as docs/lifecycle.md shows it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from bench import lifecycle

PAGE = (Path(__file__).parents[2] / "docs" / "lifecycle.md").read_text()
_FIGURE = r"[\d.,]+"


def test_captured_labelled_trained_shadowed_promoted(capsys: pytest.CaptureFixture[str]) -> None:
    """The version that is promoted is better; the page that it prints differs from the documented one in figures at
    most."""
    assert lifecycle.main([]) == 0
    shown = capsys.readouterr().out
    documented = PAGE.partition("## Once around")[2].partition("```text\n")[2].partition("```")[0]
    assert steps(shown) == steps(documented)
    assert "labelled: 1,000" in shown
    before, after = map(float, re.findall(r"([\d.]+)% (?:before|after)", shown))
    assert after > before + 3


def steps(page: str) -> list[str]:
    """Its lines without figures; how the shadow counted may differ."""
    return [re.sub(_FIGURE, "0", line) for line in page.splitlines() if "covey_shadow_" not in line]
