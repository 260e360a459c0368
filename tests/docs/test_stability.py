"""What docs/stability.md promises: no recorded name is gone, and a model file that was made earlier is still served."""

from __future__ import annotations

from pathlib import Path

from bench.processes import ROOT
from tests.docs import stable_names

from covey_proto.v1 import classifier_pb2 as pb

RECORDED = Path(__file__).with_name("stable_names.txt")


def test_no_recorded_name_is_gone() -> None:
    """A release records new ones; what is taken away on purpose is deprecated first, and then leaves both."""
    recorded = set(RECORDED.read_text().splitlines())
    assert len(recorded) > 500
    assert sorted(recorded - set(stable_names.current())) == []


def test_the_page_names_what_is_stable() -> None:
    text = (ROOT / "docs" / "stability.md").read_text()
    assert f"`{pb.DESCRIPTOR.package}.{pb.DESCRIPTOR.services_by_name['Classifier'].name}`" in text
    for page in ("metrics.md", "clients.md", "http.md", "export.md", "deploy.md"):
        assert f"({page}" in text
