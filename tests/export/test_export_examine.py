"""`covey examine`: against arithmetic that is known, and on a published model."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.export.recorded_report import RecordedReport

from covey_export.__main__ import main
from covey_export.datasets import Dataset, Family
from covey_export.examination import command, corruptions, page, temperature, unknown
from covey_export.examination.answers import Scorer, log_softmax
from covey_export.publication import Published
from covey_server.inference.engine import Engine


def test_the_scores_are_those_of_the_probabilities(published: Published) -> None:
    images = np.random.default_rng(0).integers(0, 256, (70, 28, 28, 1), dtype=np.uint8)
    found = np.exp(log_softmax(Scorer(published.path).scores(images)))
    assert np.abs(found - Engine(published.path).run(images)).max() < 1e-6


class TestCorruptions:
    IMAGES = np.random.default_rng(0).integers(0, 256, (6, 12, 10, 3), dtype=np.uint8)

    @pytest.mark.parametrize("kind", corruptions.KINDS)
    def test_each_is_stronger_than_the_one_before_and_always_the_same(self, kind: str) -> None:
        worsen, before = corruptions.KINDS[kind], self.IMAGES.copy()
        made = [worsen(self.IMAGES, strength) for strength in corruptions.STRENGTHS]
        assert {each.shape for each in made} == {self.IMAGES.shape}
        assert (before == self.IMAGES).all()
        if kind != "rotation":  # of noise every angle is as far away
            distances = [np.abs(each.astype(float) - self.IMAGES).mean() for each in made]
            assert 0 < distances[0] < distances[1] < distances[2]
        assert (made[0] == worsen(self.IMAGES, 1)).all()

    def test_rotation_turns_to_either_side_and_fills_with_the_edges_colour(self) -> None:
        bar = np.full((40, 21, 21, 1), 200, np.uint8)
        bar[:, 2:19, 10] = 0
        turned = corruptions.KINDS["rotation"](bar, 3)
        assert (turned[:, 0, 0] == 200).all()
        leans_left = turned[:, 4, 4, 0] < 150
        leans_right = turned[:, 4, 16, 0] < 150
        assert 0 < leans_left.sum() < 40
        assert (leans_left ^ leans_right).all()

    def test_contrast_keeps_the_mean(self) -> None:
        flat = corruptions.KINDS["contrast"](self.IMAGES, 3)
        assert np.abs(flat.mean(axis=(1, 2, 3)) - self.IMAGES.mean(axis=(1, 2, 3))).max() < 0.5
        assert flat.std() == pytest.approx(0.15 * self.IMAGES.std(), rel=0.05)


class TestTemperature:
    def _sure_of_itself(self, factor: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Scores that are `factor` times those by which their labels were drawn."""
        random = np.random.default_rng(0)
        scores = random.normal(0, 2, (4_000, 5))
        chances = np.exp(log_softmax(scores))
        labels = np.array([random.choice(5, p=row) for row in chances])
        return scores * factor, labels

    @pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
    def test_the_factor_of_scores_is_found(self, factor: float) -> None:
        scores, labels = self._sure_of_itself(factor)
        assert temperature.fit(scores, labels) == pytest.approx(factor, rel=0.08)
        scaled = temperature.scale(scores, labels)
        assert scaled.temperature == pytest.approx(factor, rel=0.08)
        assert scaled.error_after < 0.03
        if factor != 1.0:
            assert scaled.error_after < scaled.error_before / 2
            assert scaled.loss_after < scaled.loss_before

    def test_the_loss_of_one_image_by_hand(self) -> None:
        scores = np.array([[2.0, 0.0]])
        assert temperature.loss(scores, np.array([0])) == pytest.approx(math.log(1 + math.exp(-2)))
        assert temperature.loss(scores, np.array([0]), 2.0) == pytest.approx(math.log(1 + math.exp(-1)))


class TestUnknown:
    def test_certainties_by_hand(self) -> None:
        scores = np.array([[math.log(1), math.log(3)], [1000.0, 1000.0]])
        assert unknown.probability(scores).tolist() == pytest.approx([0.75, 0.5])
        assert unknown.energy(scores).tolist() == pytest.approx([math.log(4), 1000 + math.log(2)])

    def test_what_is_apart_is_told_apart_and_what_is_alike_is_not(self) -> None:
        random = np.random.default_rng(0)
        known, alike, apart = random.normal(0, 1, 4_000), random.normal(0, 1, 3_000), random.normal(-50, 1, 3_000)
        found = unknown.detect(known, apart)
        assert (found.misses, found.area) == (0.0, 1.0)
        assert found.false_alarms == pytest.approx(0.05, abs=0.015)
        found = unknown.detect(known, alike)
        assert found.area == pytest.approx(0.5, abs=0.02)
        assert found.misses == pytest.approx(0.95, abs=0.015)
        assert unknown.detect(known, np.full(10, known.max() + 1)).area == 0.0
        assert unknown.detect(np.zeros(100), np.zeros(100)).area == 0.5

    def test_shuffled_images_have_the_same_pixels_in_other_places(self) -> None:
        images = np.arange(8 * 8, dtype=np.uint8).reshape(1, 8, 8, 1)
        shuffled = unknown.synthetic_images(images)["its own images, shuffled in 16 pieces"]
        assert sorted(shuffled.ravel()) == sorted(images.ravel())
        assert (shuffled != images).any()


@pytest.mark.parametrize("family", [Family.CLOTHES, Family.SIGNS])
def test_mirror_images_count_where_images_may_be_mirrored(
    family: Family, published: Published, small: Dataset, report: RecordedReport
) -> None:
    dataset = dataclasses.replace(small, family=family)
    scorer = Scorer(published.path)
    found = command.examine("mlp", scorer, dataset, {}, report)
    rows = next(page.tables(found))[2]
    assert rows[0][:2] == ("unchanged", f"{found.accuracy:.2%}")
    said = [row[1] for row in rows if "mirror images (not served so)" in row[0]]
    if family is Family.SIGNS:
        assert (found.mirrored, said) == (None, [])
        return
    both = dataclasses.replace(dataset, test_images=np.ascontiguousarray(dataset.test_images[:, :, ::-1]))
    assert found.mirrored == command.examine("mlp", scorer, both, {}, report).mirrored, "either way round"
    assert found.mirrored != found.accuracy
    assert said == [f"{found.mirrored:.2%}"]


def test_the_command(published: Published, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.html"
    assert main(["examine", str(published.path.parent), "--dataset", "sample", "--output", str(page)]) == 0
    said = capsys.readouterr().out
    for part in ("Accuracy on changed images", "rotation", "divided by a temperature of", "uniform noise", "energy"):
        assert part in said
    content = page.read_text(encoding="utf-8")
    for part in ("15, 30, 45 degrees", "<svg", "false alarms", "95 % of known images"):
        assert part in content


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--dataset", "demo"], "demo has (5, 5, 1)"),
        (["--dataset", "sample", "--unknown", "demo"], "--unknown demo has images of (5, 5, 1)"),
        (["--dataset", "sample", "--unknown", "sample"], "is the data set that the model knows"),
        (["--dataset", "sampel"], "Did you mean sample"),  # codespell:ignore
    ],
)
def test_wrong_input_is_explained(
    published: Published, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["examine", str(published.path), *arguments]) == 2
    assert says in capsys.readouterr().err
