"""Several networks to probabilities: their weighted mean, each averaged over flips and scales (see `tta`).

Photos come in as the workers leave them (`data.loading.datasets`), one tensor for each input size of a network;
probabilities go out at the photos' own size. Knows nothing of files but those of the networks.

B batch, C classes, H height, W width. Probabilities are averaged, not logits.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from kaggle_tools.competitions.competition import Competition
from kaggle_tools.config.training import Tta, check_setting
from kaggle_tools.data.images import Size
from kaggle_tools.data.loading.fitting import InputSize
from kaggle_tools.errors import InputError, counted
from kaggle_tools.inference.tta import tta_mean
from kaggle_tools.models.folding import without_normalisation
from kaggle_tools.models.segmenter import Segmenter
from kaggle_tools.models.weights import WEIGHTS_FILE, ModelCard, load
from kaggle_tools.precision import FP32, FixedPrecision
from kaggle_tools.results import run_folder
from kaggle_tools.results.records.masks import Network
from kaggle_tools.system.files import deny_links, sha256
from kaggle_tools.system.hardware import fast_memory_format, half_of, one_kind_of_out_of_memory
from kaggle_tools.system.output import say
from kaggle_tools.system.processes import is_first_process


@dataclass(frozen=True)
class Member:
    """One network of an ensemble."""

    model: Segmenter
    """In evaluation mode."""
    card: ModelCard
    """What is known of it, as the size to which photos are brought for it."""
    folder: Path
    """The fold that it was trained in."""
    weight: float = 1.0
    """How much its probabilities count beside those of the others."""

    @property
    def own_tta(self) -> tuple[Tta, tuple[float, ...]]:
        """The flips and scales over which its fold's held-out photos were averaged."""
        return self.card.tta, self.card.tta_scales

    def recorded(self) -> Network:
        """What `run.json` says of it; reads the whole file of its weights."""
        return Network(
            run=self.folder.resolve().parent.name,
            fold=self.card.fold,
            model=self.card.architecture.name,
            image_size=self.card.image_size,
            weight=self.weight,
            sha256=sha256(self.folder / WEIGHTS_FILE),
        )


class Mix(NamedTuple):
    """What an ensemble says of a batch."""

    probability_BCHW: Tensor
    """Weighted mean of the members' probabilities, float32, at the photos' own size."""
    votes_BCHW: Tensor
    """How many members by themselves call a pixel foreground, uint8."""


def load_members(
    runs: Sequence[Path], folds: Sequence[int] | None = None, weights: Sequence[float] | None = None
) -> list[Member]:
    """Load the networks of these folds, all there are by default, of several runs, on the CPU.

    Their normalisation is done by their convolutions (`models.folding`).

    With `weights`, one for each run, the folds of a run share its weight; without, every network counts once.

    Raises:
        InputError: a run has no trained fold, or not the one that is asked for, or a file is damaged, or a link leads
            out of the run, or a fold's folder holds the network of another fold.
    """
    members = []
    for number, run in enumerate(runs):
        deny_links(run)
        trained = run_folder.trained_folds(run) if folds is None else sorted(set(folds))
        weight = weights[number] / len(trained) if weights else 1.0
        for fold in trained:
            folder = run_folder.fold_folder(run, fold)
            model, card = load(folder, fold)
            model = without_normalisation(model).to(memory_format=torch.channels_last)
            members.append(Member(model, card, folder, weight))
    return members


def require_classes(members: Sequence[Member], competition: Competition) -> None:
    """Check that the networks know as many classes as the competition has.

    Raises:
        InputError: one knows more or fewer.
    """
    for member in members:
        if member.card.architecture.classes != competition.masks_per_photo:
            knows = counted(member.card.architecture.classes, "class", "classes")
            raise InputError(
                f"{member.folder}: its network knows {knows}, not the {competition.masks_per_photo} of "
                f"{competition.title}; is it of another competition?"
            )


def choose_tta(
    tta: Tta | None, scales: tuple[float, ...] | None, members: Sequence[Member]
) -> tuple[Tta, tuple[float, ...]]:
    """The flips and scales that are given, or those with which the members' held-out photos were predicted.

    Raises:
        InputError: the members' own differ, and none are given; or the scales are not possible.
    """
    own = [member.own_tta for member in members]
    if (tta is None or scales is None) and len(set(own)) > 1:
        raise InputError("the runs were scored with different TTA; give --tta and --tta-scales")
    chosen = tta or own[0][0], scales or own[0][1]
    check_setting("tta_scales", chosen[1])
    if chosen != own[0] and is_first_process():
        say("note: the run's score and threshold were measured with another TTA than these masks")
    return chosen


class Ensemble:
    """The weighted mean of networks over flips and scales.

    Networks that do not fit on the device together stay in main memory and are copied to it in turn, one at a time:
    slower, and the same to the bit.

    Args:
        members: the networks.
        device: where they run.
        tta: the flips over which each network is averaged.
        scales: the factors of its image size over which it is averaged.
        threshold: the probability from which on a member votes for foreground.
        class_thresholds: one for each class, instead.
        precision: the arithmetic of the networks.
        in_turn: copy the networks to the device in turn even if they fit.
    """

    def __init__(
        self,
        members: Sequence[Member],
        device: torch.device,
        *,
        tta: Tta,
        scales: Sequence[float] = (1.0,),
        threshold: float = run_folder.DEFAULT_THRESHOLD,
        class_thresholds: Sequence[float] = (),
        precision: FixedPrecision = FP32,
        in_turn: bool = False,
    ) -> None:
        self.members = members
        self.device = device
        if (memory_format := fast_memory_format(device)) != torch.channels_last:
            for member in members:
                member.model.to(memory_format=memory_format)
        self.tta = tta
        self.scales = tuple(scales)
        self.threshold = threshold
        self.votes_from: float | Tensor = threshold
        if class_thresholds:
            self.votes_from = torch.tensor(class_thresholds, device=device).view(-1, 1, 1)
        self.precision = precision
        self.in_turn = in_turn or not _all_fit([member.model for member in members], device)

    def take_turns(self) -> bool:
        """Make room on the device: from now on it holds one network at a time. False where that is so, or no help."""
        if self.in_turn or len(self.members) == 1:
            return False
        for member in self.members:
            member.model.to("cpu")
        self.in_turn = True
        return True

    def compile(self) -> None:
        """Compile the networks with torch.compile, each at its first photos."""
        for member in self.members:
            member.model.compile()

    @property
    def input_sizes(self) -> list[InputSize]:
        """The sizes at which photos are needed, each once."""
        return list(dict.fromkeys(size for member in self.members for size in self.inputs_of(member)))

    def inputs_of(self, member: Member) -> list[InputSize]:
        """The sizes at which a network is given photos, one for each scale."""
        return [InputSize(member.card.image_size, scale, member.card.fit) for scale in self.scales]

    @torch.inference_mode()
    def __call__(self, photos_at: Mapping[InputSize, Tensor], own_size: Size) -> Mix:
        """Probabilities at `own_size`, from the same photos, uint8 (B, 3, h, w), at each of `input_sizes`.

        Raises:
            OutOfMemoryError: the memory of the device does not suffice.
        """
        # The same bits for the same batch, also on a GPU.
        with one_kind_of_out_of_memory(), torch.backends.cudnn.flags(deterministic=True, benchmark=False):
            return self._mix(photos_at, own_size)

    def _mix(self, photos_at: Mapping[InputSize, Tensor], own_size: Size) -> Mix:
        total = sum(member.weight for member in self.members)
        mean_BCHW = torch.zeros((), device=self.device)
        votes_BCHW = torch.zeros((), dtype=torch.uint8, device=self.device)
        for member in self.members:
            with _copied(member.model, self.device) if self.in_turn else nullcontext():
                probability_BCHW = self._of_member(member, photos_at, own_size)
            mean_BCHW = mean_BCHW + member.weight / total * probability_BCHW
            votes_BCHW = votes_BCHW + (probability_BCHW >= self.votes_from)
        return Mix(mean_BCHW, votes_BCHW)

    def _of_member(self, member: Member, photos_at: Mapping[InputSize, Tensor], own_size: Size) -> Tensor:
        """One network's probabilities (B, C, H, W), the mean over scales and flips."""
        inputs = [(photos_at[size], size.frame(own_size)) for size in self.inputs_of(member)]
        return tta_mean(member.model, inputs, self.tta, own_size, half_of(self.precision))


def _all_fit(models: Sequence[nn.Module], device: torch.device) -> bool:
    """Move the networks to the device, or none of them if it cannot hold all."""
    try:
        with one_kind_of_out_of_memory():
            for model in models:
                model.to(device)
    except torch.OutOfMemoryError:
        for model in models:
            model.to("cpu")
        return False
    return True


@contextmanager
def _copied(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Have a network work on the device; its tensors in main memory stay there, so that nothing is copied back."""
    in_main_memory = [(tensor, tensor.data) for tensor in chain(model.parameters(), model.buffers())]
    for tensor, data in in_main_memory:
        tensor.data = data.to(device, non_blocking=True)
    try:
        yield
    finally:
        for tensor, data in in_main_memory:
            tensor.data = data
