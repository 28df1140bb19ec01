"""Trained networks as files: `model.safetensors`, and beside it `model.json`, which says what it is.

safetensors cannot run code when it is opened.
"""

import math
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as as_safetensors

from kaggle_tools.config.recorded import tuples
from kaggle_tools.config.training import Fit, Tta, check_setting
from kaggle_tools.errors import InputError
from kaggle_tools.models.segmenter import Architecture, Segmenter, blueprint, build
from kaggle_tools.system import json_values
from kaggle_tools.system.files import read_json, replacing, require_regular, write_json
from kaggle_tools.system.hardware import GIB, memory_bytes
from kaggle_tools.system.json_values import mapping

WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "model.json"
MOST_PIXELS = 2**25
"""Of a photo as the network is given it, where that is not its own size."""
MOST_BYTES = 2**36
"""No network that a machine can hold is larger."""


@dataclass(frozen=True)
class ModelCard:
    """What must be known of saved weights in order to use them: the contents of `model.json`.

    Raises:
        InputError: a value that is not possible.
        TypeError, ValueError: one that is not of its type.
    """

    architecture: Architecture
    image_size: tuple[int, int] | None
    """(height, width) to which photos are brought for the network; None: each stays at its own size."""
    competition: str
    """The slug of the competition whose photos it was trained on."""
    fold: int
    """The fold that it never saw."""
    tta: Tta = "none"
    """The flips over which the photos of that fold were averaged; others are treated alike if nothing else is asked."""
    tta_scales: tuple[float, ...] = (1.0,)
    """The factors of `image_size` over which they were averaged."""
    fit: Fit = "stretch"
    """How photos are brought to `image_size`."""

    def __post_init__(self) -> None:
        for name in ("image_size", "tta", "tta_scales", "fit"):
            check_setting(name, getattr(self, name))
        if self.image_size and math.prod(self.image_size) * max(self.tta_scales) ** 2 > MOST_PIXELS:
            raise InputError(f"photos of more than {MOST_PIXELS:,} pixels for the network, as none was trained on")
        json_values.text(self.competition)
        json_values.whole(self.fold)


def save(model: Segmenter, card: ModelCard, folder: Path) -> None:
    """Write `model.safetensors` and `model.json` into `folder`, each whole or not at all.

    Raises:
        OSError: they cannot be written; it names the file.
    """
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.net.state_dict().items()}
    with replacing(folder / WEIGHTS_FILE) as temporary:
        temporary.write_bytes(as_safetensors(weights))  # `save_file` fails with an error that is no OSError
    fields = asdict(card)
    if card.architecture.classes == 1:  # as in cards from before there were classes
        del fields["architecture"]["classes"]
    write_json(folder / CARD_FILE, fields)


def load(folder: Path, fold: int | None = None) -> tuple[Segmenter, ModelCard]:
    """Read a network in evaluation mode, on the CPU, and its card; with `fold`, it must be the network of this fold.

    Raises:
        InputError: a file is missing or damaged, or the weights do not fit the card, or are of another fold.
    """
    card = read_card(folder)
    if fold not in (None, card.fold):
        raise InputError(f"{folder}: holds the network of fold {card.fold}; put back that of fold {fold}")
    path = folder / WEIGHTS_FILE
    if path.exists():
        require_regular(path, MOST_BYTES)
    try:
        _require_shapes(path, card.architecture)
        model = build(card.architecture)
        model.net.load_state_dict(load_file(path))
    except InputError as error:
        raise InputError(f"{folder / CARD_FILE}: {error}") from error
    except (OSError, SafetensorError, RuntimeError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: cannot be loaded as the {CARD_FILE} beside it says ({reason})") from error
    return model.eval(), card


def _require_shapes(path: Path, architecture: Architecture) -> None:
    """Check that a file holds the weights of this network, before memory is asked for.

    Raises:
        InputError: there is no such network.
        ValueError: it holds others.
        OSError, SafetensorError: it cannot be read.
    """
    with safe_open(path, "pt") as file:
        names = file.keys()
        found = {name: tuple(file.get_slice(name).get_shape()) for name in names}
    expected = _shapes(architecture)
    if found != expected:
        name = min(name for name in found | expected if found.get(name) != expected.get(name))
        raise ValueError(f"{name} has the shape {found.get(name)}, not {expected.get(name)}")
    needed, there_is = 4 * sum(map(math.prod, expected.values())), memory_bytes()
    if there_is and needed > there_is:  # a file may have holes, which take no room on the disk
        raise ValueError(f"{needed / GIB:,.0f} GiB of weights are more than this machine's {there_is / GIB:,.0f}")


@cache
def _shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in blueprint(architecture).net.state_dict().items()}


def read_card(folder: Path) -> ModelCard:
    """Read `model.json`.

    Raises:
        InputError: it is missing or damaged.
    """
    path = folder / CARD_FILE
    fields = read_json(path, f"is {folder} a fold of a run that `train` has finished?", mapping)
    try:
        architecture = Architecture(**tuples(fields.pop("architecture")))
        return ModelCard(architecture=architecture, **tuples(fields))
    except (InputError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path}: not a model card of this version ({error})") from error
