"""Muon and Lion: their steps by hand, and which parameters Muon leaves to AdamW."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from tests.export.recorded_report import RecordedReport
from tests.export.trainings import LION, MUON, RECIPE, train_mlp
from torch import nn

from covey_export.datasets import Dataset
from covey_export.networks import NETWORKS, Task
from covey_export.training import optimization
from covey_export.training.lion import Lion
from covey_export.training.muon import KernelMuon, Together, hidden_matrices
from covey_export.training.recipe import Recipe


def _draw(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


class TestLion:
    def test_two_steps_by_hand(self) -> None:
        weight = nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))
        lion = Lion([{"params": [weight]}], lr=0.1, weight_decay=0.5)
        weight.grad = torch.tensor([3.0, -0.01, 0.0])
        lion.step()
        # A step shrinks by 0.1 * 0.5 of the weight, then goes 0.1 against the sign of 0.9 * 0 + 0.1 * gradient.
        expected = torch.tensor([0.95 - 0.1, -1.9 + 0.1, 0.475])
        assert torch.allclose(weight.detach(), expected)
        # The momentum that is kept is 0.01 of that gradient: (0.03, -0.0001, 0). With the next gradient (-0.2, 0, 0)
        # the step's direction is the sign of 0.9 * 0.03 - 0.1 * 0.2 = 0.007 in the first place.
        weight.grad = torch.tensor([-0.2, 0.0, 0.0])
        lion.step()
        expected = torch.tensor([0.85 * 0.95 - 0.1, -1.8 * 0.95 + 0.1, 0.475 * 0.95])
        assert torch.allclose(weight.detach(), expected)
        assert torch.allclose(lion.state[weight]["momentum"], torch.tensor([0.0277, -0.000099, 0.0]))

    def test_what_has_no_gradient_stays(self) -> None:
        weight = nn.Parameter(torch.ones(2))
        Lion([{"params": [weight]}], lr=0.1, weight_decay=0.5).step()
        assert torch.equal(weight.detach(), torch.ones(2))


class TestMuon:
    @pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
    def test_a_kernel_moves_along_all_directions_alike(self, layout: torch.memory_format) -> None:
        """Its step, as a matrix, has singular values near 1, times 0.2 * sqrt(longer side) times the learning rate."""
        kernel = nn.Parameter(_draw(6, 4, 3, 3).to(memory_format=layout))
        muon = KernelMuon([{"params": [kernel], "weight_decay": 0.0}], lr=0.5, momentum=0.0, nesterov=False)
        before = kernel.detach().clone()
        kernel.grad = _draw(6, 4, 3, 3) * torch.tensor([1.0, 10, 1, 1, 1, 0.1])[:, None, None, None]
        muon.step()
        moved = (before - kernel.detach()).flatten(1)
        sizes = torch.linalg.svdvals(moved) / (0.5 * 0.2 * 36**0.5)
        assert 0.4 < sizes.min() <= sizes.max() < 1.4
        assert (moved * kernel.grad.flatten(1)).sum() > 0, "downhill"

    def test_memory_order_does_not_matter(self) -> None:
        moved = []
        for layout in (torch.contiguous_format, torch.channels_last):
            kernel = nn.Parameter(_draw(6, 4, 3, 3).to(memory_format=layout))
            muon = KernelMuon([{"params": [kernel], "weight_decay": 0.1}], lr=0.1, momentum=0.9, nesterov=True)
            for step in range(2):
                kernel.grad = _draw(6, 4, 3, 3) + step
                muon.step()
            moved.append(kernel.detach().contiguous())
        # Newton and Schulz's iteration runs in bfloat16, whose sums depend on their order.
        assert torch.allclose(moved[0], moved[1], atol=0.02)
        assert not torch.allclose(moved[0], _draw(6, 4, 3, 3), atol=0.02)

    def test_a_matrix_moves_as_by_torch_s_own(self) -> None:
        ours, theirs = nn.Parameter(_draw(5, 7)), nn.Parameter(_draw(5, 7))
        muon = KernelMuon([{"params": [ours], "weight_decay": 0.1}], lr=0.1, momentum=0.9, nesterov=True)
        torchs = torch.optim.Muon(
            [theirs], lr=0.1, weight_decay=0.1, momentum=0.9, nesterov=True, adjust_lr_fn="match_rms_adamw"
        )
        for step in range(3):
            ours.grad, theirs.grad = _draw(5, 7) * (step - 1.5), _draw(5, 7) * (step - 1.5)
            muon.step()
            torchs.step()  # type: ignore[no-untyped-call]
        assert torch.equal(ours, theirs)

    def test_it_is_for_matrices_within_and_adamw_for_the_rest(self) -> None:
        network = nn.Sequential(
            nn.Conv2d(3, 8, 3),
            nn.BatchNorm2d(8),
            nn.Conv2d(8, 8, 3, groups=8),
            nn.Conv2d(8, 16, 1, bias=False),
            nn.Flatten(),
            nn.Linear(16, 5),
            nn.Linear(5, 10),
        )
        optimizer = optimization.build_optimizer(network, dataclasses.replace(MUON, bias_rate=4.0))
        assert isinstance(optimizer, Together)
        hidden, others, biases, fast = optimizer.param_groups
        assert [tuple(matrix.shape) for matrix in hidden["params"]] == [(8, 27), (16, 8), (5, 16)]
        assert [tuple(value.shape) for value in others["params"]] == [(8, 1, 3, 3), (10, 5)], "depthwise, and the last"
        assert hidden["weight_decay"] == others["weight_decay"] == 0.01
        assert [(group["weight_decay"], group["rate"]) for group in (biases, fast)] == [(0, 1.0), (0, 4.0)]
        counts = [sum(value.numel() for value in group["params"]) for group in optimizer.param_groups]
        assert sum(counts) == sum(value.numel() for value in network.parameters())

    def test_where_only_the_last_layer_learns_it_is_adamw(self) -> None:
        network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
        network[0].requires_grad_(False)
        optimizer = optimization.build_optimizer(network, MUON)
        assert [len(group["params"]) for group in optimizer.param_groups] == [1, 1]
        assert isinstance(optimizer, Together)
        assert list(optimizer.state_dict()) == ["adamw"]

    def test_gradients_are_forgotten(self) -> None:
        network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
        optimizer = optimization.build_optimizer(network, MUON)
        network(torch.ones(1, 3)).sum().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        assert all(value.grad is None for value in network.parameters())
        before = [value.detach().clone() for value in network.parameters()]
        optimizer.step()
        assert all(torch.equal(value, old) for value, old in zip(network.parameters(), before, strict=True))

    def test_the_last_layer_is_the_one_that_knows_the_classes(self) -> None:
        network = NETWORKS["nin"].build(Task((28, 28, 1), 10))
        assert [matrix.shape[0] for matrix in hidden_matrices(network)] == [48] * 3 + [96] * 3 + [192] * 3


@pytest.mark.parametrize("recipe", [MUON, LION], ids=["muon", "lion"])
def test_training_learns(recipe: Recipe, small: Dataset, tmp_path: Path, report: RecordedReport) -> None:
    history = train_mlp(small, tmp_path, report, recipe).history
    assert history[-1].loss < history[0].loss - 0.2
    plain = train_mlp(small, tmp_path / "sgd", report, RECIPE, epochs=1).history
    assert plain[0].loss != history[0].loss
    assert f"{recipe.optimizer} lr {recipe.learning_rate:g}" in report.text
