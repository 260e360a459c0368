"""The comparison of training loops, short."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from bench import training
from bench.training import Comparison, random_images

from covey_export.networks import NETWORKS
from covey_export.training.recipes import find_recipe


def test_a_bare_loop_and_covey_s_take_turns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rows.json"
    options = [
        "lenet",
        "--rounds",
        "2",
        "--steps",
        "3",
        "--batch-size",
        "8",
        "--precision",
        "float32",
        "--threads",
        "1",
    ]
    previous = torch.get_num_threads()
    assert training.main([*options, "--json", str(file)]) == 0
    torch.set_num_threads(previous)
    captured = capsys.readouterr()
    assert captured.err.count("bench: round") == 2
    assert "lenet in float32: batch 8, adamw lr 0.01" in captured.out
    rows = {row["figure"]: row for row in json.loads(file.read_text())}
    assert list(rows) == ["bare", "loop", "recipe"]
    for row in rows.values():
        assert row["rounds"] == 2
        assert 0 < row["low"] <= row["value"] <= row["high"]
    assert rows["recipe"]["ratio"] == pytest.approx(rows["recipe"]["value"] / rows["bare"]["value"])
    assert (rows["recipe"]["target"], rows["recipe"]["at_least"]) == (0.95, True)


def test_each_turn_has_the_batches_of_the_recipe_and_as_many_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = replace(find_recipe("resnet9"), batch_size=4, precision="float32", threads=1)
    network = replace(NETWORKS["resnet9"].fitted_to("noise", (12, 12, 3)))
    counted: list[int] = []
    per_second = training._per_second

    def count(times: list[float]) -> float:
        counted.append(len(times))
        return per_second(times)

    monkeypatch.setattr(training, "_per_second", count)
    compared = Comparison(network, recipe, steps=1)
    assert (compared.recipe.batch_size, compared.recipe.epochs, compared.recipe.first_size) == (4, 1, 1.0)
    compared.measure(1)
    assert counted == [3, 3, 3], "two to warm up and one that counts"


def test_images_are_noise_of_the_network_s_shape() -> None:
    dataset = random_images(NETWORKS["resnet"], 30)
    assert dataset.train_images.shape == (30, 32, 32, 3)
    assert dataset.test_images.shape == (10, 32, 32, 3)
    assert set(dataset.train_labels) == set(range(10))
    assert 120 < dataset.train_images.mean() < 135
