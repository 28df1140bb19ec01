import pytest

from kaggle_tools.config.execution import Execution
from kaggle_tools.errors import InputError

SLUG = "roof-tiles"


@pytest.mark.parametrize("devices", ["0", "", "-2", "two", "1.5", "0,", "0,x"])
def test_devices_that_cannot_be_are_refused(devices: str) -> None:
    message = "must be auto, how many, or the numbers of GPUs with commas between them, as 0,1"
    with pytest.raises(InputError, match=f"^--devices {devices}: {message}$"):
        Execution(devices=devices)


@pytest.mark.parametrize("devices", ["auto", "1", "10", "-1", "0,1", "2,0,1"])
def test_devices_as_lightning_takes_them_are_taken(devices: str) -> None:
    assert Execution(devices=devices).devices == devices


def test_levels_are_not_computed_twice_in_a_compiled_network() -> None:
    with pytest.raises(InputError, match="^--recompute and --compile: give one"):
        Execution(recompute=1, compiled=True)


def test_processes_that_no_machine_holds_are_refused() -> None:
    with pytest.raises(InputError, match="^--workers 1025: must be from 0 to 1,024$"):
        Execution(workers=1025)
