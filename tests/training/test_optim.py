import math
from typing import Any

import pytest
import torch
from torch import nn, optim
from torch.optim.swa_utils import AveragedModel
from torch.utils._python_dispatch import TorchDispatchMode

from kaggle_tools.config.presets import config_from
from kaggle_tools.models.segmenter import Architecture, build
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
    for steps, left in ((1, 2 / 11), (90, 0.9), (10**6, 0.9)):
        averaged = [torch.tensor(1.0)]
        moving_average(0.9)(averaged, [torch.tensor(0.0)], torch.tensor(steps))
        assert averaged[0].item() == pytest.approx(left)


def test_the_moving_average_of_constant_weights_has_the_same_bits() -> None:
    same = torch.full((1000,), 255.0) / torch.arange(1, 1001)
    averaged = [same.clone(), same[:3].clone()]
    for steps in range(1, 200):
        moving_average(0.998)(averaged, [same, same[:3]], torch.tensor(steps))
    assert torch.equal(averaged[0], same)
    assert torch.equal(averaged[1], same[:3])


def test_counters_are_taken_over_as_they_are() -> None:
    averaged = [torch.tensor(3), torch.tensor(0)]
    moving_average(0.998)(averaged, [torch.tensor(10), torch.tensor(7)], torch.tensor(5))
    assert [counter.item() for counter in averaged] == [10, 7]


class Operations(TorchDispatchMode):
    """Counts the operators that PyTorch is asked for."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def test_the_average_of_the_default_network_takes_a_few_operations_and_is_that_of_a_loop_over_its_weights() -> None:
    torch.manual_seed(0)
    model = build(Architecture("unet", width=4, depth=4))
    average = AveragedModel(model, multi_avg_fn=moving_average(0.9), use_buffers=True)
    by_hand: dict[str, torch.Tensor] = {}
    for step in range(20):
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.data.add_(torch.randn(tensor.shape) * 0.1)
        with Operations() as operations:
            average.update_parameters(model)
        decay = min(0.9, (1 + step) / (10 + step)) if step else 0.0
        for name, tensor in model.state_dict().items():
            before = by_hand.get(name, tensor)
            by_hand[name] = before.double() * decay + tensor.double() * (1 - decay)
    for name, tensor in average.module.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor.double(), by_hand[name], rtol=1e-6, atol=1e-6)
    # One each to detach and look at a tensor; the arithmetic itself does not grow with their number.
    arithmetic = operations.count - 4 * len(list(average.module.parameters())) - 4 * len(list(average.module.buffers()))
    assert arithmetic < 20, operations.count
