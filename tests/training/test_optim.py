import math
from typing import Any

import pytest
import torch
from torch import nn, optim

from kaggle_tools.config import config_from
from kaggle_tools.training.optim import make_optimizer, make_schedule, moving_average

STEPS = 40


def rates(**options: Any) -> list[float]:
    """The learning rate of each step."""
    config = config_from("carvana", "roof-tiles", options)
    optimizer = make_optimizer(config, [nn.Parameter(torch.zeros(1))])
    schedule = make_schedule(config, optimizer, STEPS)
    found = []
    for _ in range(STEPS):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


@pytest.mark.parametrize(
    ("name", "kind", "weight_decay"), [("adam", optim.Adam, 0), ("adamw", optim.AdamW, 0.01), ("sgd", optim.SGD, 0.01)]
)
def test_the_optimizer_is_the_configured_one(name: str, kind: type, weight_decay: float) -> None:
    config = config_from("carvana", "roof-tiles", {"optimizer": name, "lr": 0.125, "weight_decay": 0.01})
    optimizer = make_optimizer(config, [nn.Parameter(torch.zeros(1))])
    assert type(optimizer) is kind
    assert optimizer.param_groups[0]["lr"] == 0.125
    assert optimizer.param_groups[0]["weight_decay"] == weight_decay


def test_sgd_has_nesterovs_momentum() -> None:
    config = config_from("carvana", "roof-tiles", {"optimizer": "sgd"})
    group = make_optimizer(config, [nn.Parameter(torch.zeros(1))]).param_groups[0]
    assert (group["momentum"], group["nesterov"]) == (0.9, True)


def test_the_constant_schedule_keeps_its_learning_rate_after_the_warm_up() -> None:
    assert rates(schedule="constant", lr=0.5, warm_up=0.0) == [0.5] * STEPS
    assert rates(schedule="constant", lr=0.5, warm_up=0.1) == pytest.approx([0.125, 0.25, 0.375, 0.5] + [0.5] * 36)


def test_the_cosine_schedule_warms_up_linearly_and_falls_as_half_a_cosine() -> None:
    found = rates(schedule="cosine", lr=2.0, warm_up=0.25)
    assert found[:10] == pytest.approx([0.2 * step for step in range(1, 11)])
    assert found[10:] == pytest.approx([1 + math.cos(math.pi * step / 30) for step in range(30)])


def test_the_one_cycle_schedule_peaks_after_the_warm_up_and_ends_near_0() -> None:
    found = rates(schedule="one-cycle", lr=1.0, warm_up=0.25)
    assert max(found) == pytest.approx(1.0, rel=1e-3)
    assert found.index(max(found)) == 9
    assert found[0] == pytest.approx(1 / 25)
    assert found[-1] < 1e-4


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("schedule", ["constant", "one-cycle", "cosine"])
def test_every_schedule_works_for_the_shortest_trainings(schedule: str, steps: int) -> None:
    config = config_from("carvana", "roof-tiles", {"schedule": schedule})
    optimizer = make_optimizer(config, [nn.Parameter(torch.zeros(1))])
    schedule_of_steps = make_schedule(config, optimizer, steps)
    for _ in range(steps):
        assert optimizer.param_groups[0]["lr"] > 0
        optimizer.step()
        schedule_of_steps.step()


def test_the_moving_average_decays_faster_in_its_first_steps() -> None:
    average = moving_average(0.9)
    start, now = torch.tensor(1.0), torch.tensor(0.0)
    assert average(start, now, torch.tensor(1)).item() == pytest.approx(2 / 11)
    assert average(start, now, torch.tensor(90)).item() == pytest.approx(0.9)
    assert average(start, now, torch.tensor(10**6)).item() == pytest.approx(0.9)


def test_the_moving_average_of_constant_weights_has_the_same_bits() -> None:
    same = torch.full((1000,), 255.0) / torch.arange(1, 1001)
    for steps in range(1, 200):
        assert torch.equal(moving_average(0.998)(same, same, torch.tensor(steps)), same)
