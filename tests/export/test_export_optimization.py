"""Learning rate, weight decay, loss and the average of the weights are what the recipe says."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.export.recorded_report import RecordedReport
from tests.export.trainings import EVERYTHING, RECIPE, STEPS, train_mlp
from torch import nn
from torch.optim.swa_utils import AveragedModel

from covey_export.datasets import Dataset
from covey_export.evaluation import accuracy, predict
from covey_export.networks import NETWORKS, Output, Task
from covey_export.option_values import Optimizer
from covey_export.trained_model import TrainedModel
from covey_export.training import averaging, optimization

ONE_CYCLE = dataclasses.replace(RECIPE, schedule="one-cycle", warm_up=0.25, learning_rate=0.4)


class TestLearningRate:
    def test_one_cycle_rises_to_its_highest_at_the_end_of_the_warm_up_and_falls(self) -> None:
        done = np.linspace(0, 1, 401)
        rates = np.array([optimization.learning_rate(ONE_CYCLE, float(share)) for share in done])
        assert done[rates.argmax()] == 0.25
        assert rates.max() == pytest.approx(0.4)
        assert (np.diff(rates[:101]) > 0).all()
        assert (np.diff(rates[100:]) < 0).all()
        assert (rates[0], rates[-1]) == pytest.approx((0.02, 0.0004))

    def test_without_a_warm_up_it_begins_at_its_highest(self) -> None:
        assert optimization.learning_rate(dataclasses.replace(ONE_CYCLE, warm_up=0.0), 0.0) == pytest.approx(0.4)

    def test_constant_is_constant(self) -> None:
        assert {optimization.learning_rate(RECIPE, share / 10) for share in range(11)} == {0.05}

    def test_training_follows_it(self, small: Dataset, tmp_path: Path, report: RecordedReport) -> None:
        trained = train_mlp(small, tmp_path, report, EVERYTHING, epochs=1)
        assert trained.optimizer is not None
        used = {group["lr"] for group in trained.optimizer["param_groups"]}
        assert used == {optimization.learning_rate(EVERYTHING, (STEPS - 1) / STEPS)}


class TestWeightDecay:
    @pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "lion"])
    def test_is_of_kernels_and_matrices_alone(self, optimizer: Optimizer) -> None:
        network = NETWORKS["mnist-cnn"].build(Task((28, 28, 1), 10))
        recipe = dataclasses.replace(RECIPE, optimizer=optimizer, momentum=0.0, weight_decay=0.1)
        groups = optimization.build_optimizer(network, recipe).param_groups
        decay = {id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]}
        assert decay == {id(value): 0.1 * (value.ndim > 1) for value in network.parameters()}

    def test_shrinks_kernels_and_leaves_biases_and_batch_normalisation(self) -> None:
        network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2))
        recipe = dataclasses.replace(RECIPE, learning_rate=0.5, weight_decay=0.1)
        before = {name: value.detach().clone() for name, value in network.named_parameters()}
        for parameter in network.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimization.build_optimizer(network, recipe).step()
        for name, value in network.named_parameters():
            expected = before[name] * (1 - 0.5 * 0.1) if name in ("0.weight", "3.weight") else before[name]
            assert torch.allclose(value, expected), name

    def test_what_is_frozen_is_left_out(self) -> None:
        network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
        network[0].requires_grad_(False)
        groups = optimization.build_optimizer(network, RECIPE).param_groups
        assert [parameter.shape for group in groups for parameter in group["params"]] == [(2, 3), (2,)]


class TestBiasRate:
    def test_biases_of_batch_normalisation_learn_as_many_times_as_fast(self) -> None:
        network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2))
        recipe = dataclasses.replace(RECIPE, momentum=0.0, bias_rate=64.0)
        optimizer = optimization.build_optimizer(network, recipe)
        before = {name: value.detach().clone() for name, value in network.named_parameters()}
        for parameter in network.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimization.set_learning_rate(optimizer, 0.125)
        optimizer.step()
        for name, value in network.named_parameters():
            assert torch.allclose(before[name] - value, torch.tensor(8.0 if name == "1.bias" else 0.125)), name

    def test_of_one_makes_no_group_of_its_own(self) -> None:
        network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
        assert [len(group["params"]) for group in optimization.build_optimizer(network, RECIPE).param_groups] == [1, 3]


class TestLoss:
    def test_of_probabilities_is_that_of_their_logits(self) -> None:
        logits = torch.randn((7, 5), generator=torch.Generator().manual_seed(0))
        labels = torch.tensor([0, 1, 2, 3, 4, 0, 1])
        for smoothing in (0.0, 0.1):
            one = optimization.loss(logits, labels, Output.LOGITS, smoothing)
            other = optimization.loss(logits.softmax(dim=1), labels, Output.PROBABILITIES, smoothing)
            assert other.item() == pytest.approx(one.item(), abs=1e-6)

    def test_a_probability_of_zero_is_large_and_finite(self) -> None:
        found = optimization.loss(torch.tensor([[1.0, 0.0]]), torch.tensor([1]), Output.PROBABILITIES, 0.0)
        assert 20 < found.item() < 40

    def test_label_smoothing_by_hand(self) -> None:
        # Logits 0 and ln 3 are the probabilities 1/4 and 3/4. Smoothing 0.2 over two classes makes the target of
        # class 1 (0.1, 0.9): -(0.1 ln 1/4 + 0.9 ln 3/4) = 0.1 * 1.386294 + 0.9 * 0.287682 = 0.397543.
        logits = torch.tensor([[0.0, float(np.log(3))]])
        found = optimization.loss(logits, torch.tensor([1]), Output.LOGITS, 0.2)
        assert found.item() == pytest.approx(0.397543, abs=1e-5)
        assert optimization.loss(logits, torch.tensor([1]), Output.LOGITS, 0.0).item() == pytest.approx(0.287682)

    def test_is_computed_in_float32(self) -> None:
        outputs = torch.tensor([[1.0, 2.0]], dtype=torch.bfloat16)
        assert optimization.loss(outputs, torch.tensor([1]), Output.LOGITS, 0.0).dtype == torch.float32


class TestAverage:
    def _step(self, network: nn.Module, average: AveragedModel, value: float) -> float:
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.fill_(value)
        average.update_parameters(network)
        return float(next(iter(average.parameters())).detach())

    def test_none_is_wanted(self) -> None:
        assert averaging.begin(nn.Linear(1, 1), None) is None

    def test_a_young_one_forgets_fast_an_old_one_as_the_recipe_says(self) -> None:
        network = nn.Linear(1, 1, bias=False)
        average = averaging.begin(network, 0.99)
        assert average is not None
        # The first step is taken as it is. Of the average of one step (1 + 1) / (10 + 1) stays, of two 3 / 12.
        assert self._step(network, average, 0.0) == 0.0
        assert self._step(network, average, 1.0) == pytest.approx(9 / 11)
        assert self._step(network, average, 0.0) == pytest.approx(9 / 11 * 3 / 12)
        average.n_averaged.fill_(100_000)
        self._step(network, average, 0.0)
        before = float(next(iter(average.parameters())).detach())
        assert self._step(network, average, 1.0) == pytest.approx(0.99 * before + 0.01)

    def test_batch_normalisation_is_averaged_and_its_counter_copied(self) -> None:
        network = nn.BatchNorm1d(2)
        average = averaging.begin(network, 0.5)
        assert average is not None
        average.update_parameters(network)
        network.running_mean = torch.tensor([1.0, 2.0])
        network.num_batches_tracked = torch.tensor(7)
        average.update_parameters(network)
        found = averaging.weights(average.state_dict())
        assert found["running_mean"].tolist() == pytest.approx([9 / 11, 18 / 11])
        assert found["num_batches_tracked"] == 7

    def test_its_weights_have_the_networks_own_names(self) -> None:
        network = NETWORKS["nin"].build(Task((28, 28, 1), 10))
        average = averaging.begin(network, 0.9)
        assert average is not None
        assert averaging.weights(average.state_dict()).keys() == network.state_dict().keys()

    def test_it_is_what_is_tested_and_served(self, small: Dataset, tmp_path: Path, report: RecordedReport) -> None:
        trained = train_mlp(small, tmp_path, report, averaging=0.99, epochs=1)
        assert trained.average is not None
        for name, value in trained.trained_weights.items():
            assert torch.equal(value, trained.average[f"module.{name}"])
            assert not torch.equal(value, trained.model[name])
        served = TrainedModel(NETWORKS["mlp"], trained, small)
        assert trained.history[-1].test_accuracy == served.accuracy.overall
        model = served.classifier
        model.network.load_state_dict(trained.model)
        latest = accuracy(predict(model, torch.tensor(small.test_images)), small.test_labels)
        assert latest.overall != served.accuracy.overall
