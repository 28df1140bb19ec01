"""What decides the result of a training: each option with its type, default, help, and what it must be."""

from dataclasses import dataclass
from math import prod
from typing import Annotated, Any, Literal

from kaggle_tools.config.values import (
    CHANNELS,
    DEEPEST,
    FULL,
    LARGEST_SQUARE,
    MOST_LEVELS,
    NO_EARLY_SIZES,
    OFF,
    SCALES,
    SIDES,
    SMALL_SIDES,
    TWO_FOLDS,
    UNET,
    USUAL,
    WIDEST,
    EarlySize,
    channels_as_text,
    early_sizes_as_text,
    file_or_imagenet,
    parse_channels,
    parse_early_sizes,
    path_text,
    size_or_full,
    size_or_off,
)
from kaggle_tools.errors import InputError
from kaggle_tools.options import (
    ABOVE_0,
    AT_LEAST_0,
    SHARE,
    Option,
    between,
    check_options,
    options_of,
    parse_count,
    parse_numbers,
    size_as_text,
)
from kaggle_tools.precision import Precision

Augmentation = Literal["none", "hflip", "mild", "seed"]
"""Random changes of the training photos; what each does is in `augment`."""
Fit = Literal["stretch", "pad"]
"""How photos are brought to a size: both sides scaled to it, or the shape kept and the edges reflected around it."""
Tta = Literal["none", "hflip", "flips"]
"""Test-time augmentation, a mean over flips: none, left to right, or that and upside down."""
Optimizer = Literal["adam", "adamw", "sgd"]
Schedule = Literal["constant", "one-cycle", "cosine"]

DATA, MODEL, STEPS, LOSS = "Data", "Model", "Optimisation", "Loss"


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides the result of a training.

    Raises:
        InputError: a value, or a pair of values, that is not possible.
    """

    competition: str
    """The slug of the competition."""
    classes: int = 1
    """How many masks a photo has."""
    model: Annotated[str, Option("`unet` or `smp:ARCHITECTURE/ENCODER`, such as smp:Unet/resnet34.", MODEL)] = UNET
    width: Annotated[int, Option("Channels of the U-Net's first block.", MODEL, check=between(1, WIDEST))] = 64
    depth: Annotated[int, Option("How often the U-Net halves the size.", MODEL, check=between(1, DEEPEST))] = 4
    unshuffle: Annotated[
        int,
        Option(
            "Side of the squares of pixels that are one pixel inside of the U-Net; 2: a quarter of the work.",
            MODEL,
            check=between(1, LARGEST_SQUARE),
        ),
    ] = 1
    """Pixel unshuffle: the pixels of a square become channels, and logits of all of them are shuffled back."""
    decoder_channels: Annotated[
        tuple[int, ...],
        Option(
            "Channels of an smp model's decoder, from its smallest level to its largest; `default`: smp's own.",
            MODEL,
            "N,…",
            parse=parse_channels,
            write=channels_as_text,
            none=USUAL,
            check=CHANNELS,
        ),
    ] = ()
    """Those of its largest levels decide how long a gradient step takes."""
    pretrained: Annotated[
        str | None,
        Option(
            "Start the encoder of an smp model from weights in a file, or from ImageNet's: `imagenet`.",
            MODEL,
            metavar="FILE",
            parse=file_or_imagenet,
        ),
    ] = None
    """`imagenet`: those that smp or timm name, from their hub."""
    frozen_levels: Annotated[
        int,
        Option(
            "Levels of the encoder, from the largest, whose weights stay as they came.",
            MODEL,
            check=between(0, MOST_LEVELS),
        ),
    ] = 0
    """They see what all photos have in common, and take most of the encoder's time; 1: what has half the sides."""
    init: Annotated[
        str | None,
        Option("Start each fold from the same fold of another run.", MODEL, metavar="RUN", parse=path_text),
    ] = None
    extra: Annotated[
        str | None,
        Option("Also train on the masks in this folder, made by `infer`.", DATA, metavar="PRED", parse=path_text),
    ] = None
    """Pseudo-labels: they are added to the training photos of every fold, never to the held-out ones."""
    extra_confidence: Annotated[
        float, Option("Use only masks of --extra with at least this expected score.", DATA, check=SHARE)
    ] = 0.99
    image_size: Annotated[
        tuple[int, int] | None,
        Option(
            "Size of the network's input in pixels; `full`: the photo's own.",
            DATA,
            metavar="HxW",
            parse=size_or_full,
            write=size_as_text,
            none=FULL,
            check=SIDES,
        ),
    ] = None
    """(height, width) in pixels; None: the photos' own size."""
    early_sizes: Annotated[
        tuple[EarlySize, ...],
        Option(
            "Smaller sizes for the first epochs, each with how many.",
            DATA,
            "HxW:N,…",
            parse=parse_early_sizes,
            write=early_sizes_as_text,
            none=NO_EARLY_SIZES,
            check=SMALL_SIDES,
        ),
    ] = ()
    """Progressive resizing: small photos teach most of it in less time, and large ones the outlines."""
    crop: Annotated[
        tuple[int, int] | None,
        Option(
            "Train on parts of this size of larger photos, at random places with some foreground.",
            DATA,
            metavar="HxW",
            parse=size_or_off,
            write=size_as_text,
            none=OFF,
            check=SIDES,
        ),
    ] = None
    """(height, width) in pixels of the network's input. Held-out photos are whole."""
    fit: Annotated[Fit, Option("How photos are brought to the size; pad keeps their shape.", DATA)] = "stretch"
    augmentation: Annotated[Augmentation, Option("Random changes of the training photos.", DATA)] = "mild"
    epochs: Annotated[int, Option("Passes over the training photos.", STEPS, check=ABOVE_0)] = 30
    patience: Annotated[
        int | None,
        Option("Early stopping: stop after this many epochs without a better validation Dice.", STEPS, check=ABOVE_0),
    ] = None
    batch_size: Annotated[
        int,
        Option(
            "Photos at once, over all devices; auto: as many as fit.", STEPS, "N|auto", parse=parse_count, check=ABOVE_0
        ),
    ] = 4
    accumulate: Annotated[int, Option("Batches whose gradients make one gradient step.", STEPS, check=ABOVE_0)] = 1
    optimizer: Annotated[Optimizer, Option("The optimiser.", STEPS)] = "adamw"
    lr: Annotated[float, Option("Learning rate; with one-cycle and cosine its peak.", STEPS, check=ABOVE_0)] = 1e-3
    weight_decay: Annotated[float, Option("Weight decay of AdamW and SGD.", STEPS, check=AT_LEAST_0)] = 1e-4
    """Adam has none."""
    schedule: Annotated[Schedule, Option("The learning rate schedule after the warm-up.", STEPS)] = "one-cycle"
    """Constant, or down to zero; `one-cycle` moves the momentum as well."""
    warm_up: Annotated[
        float, Option("Share of the gradient steps in which the learning rate rises.", STEPS, check=SHARE)
    ] = 0.1
    clip_norm: Annotated[float | None, Option("Clip the norm of the gradient to this.", STEPS, check=ABOVE_0)] = None
    ema_decay: Annotated[
        float | None,
        Option("Keep a moving average of the weights (EMA) with this decay, such as 0.999.", STEPS, check=SHARE),
    ] = None
    """The average is what is validated and saved."""
    bce_weight: Annotated[float, Option("Weight of binary cross-entropy in the loss.", LOSS)] = 1.0
    border_weight: Annotated[
        float,
        Option("How much more the cross-entropy counts near the outline; 1: twice as much.", LOSS, check=AT_LEAST_0),
    ] = 0.0
    border_width: Annotated[
        int, Option("Distance in pixels that counts as near the outline, on either side.", LOSS, check=AT_LEAST_0)
    ] = 5
    """Pixels of the network's input."""
    dice_weight: Annotated[float, Option("Weight of soft Dice in the loss.", LOSS)] = 1.0
    lovasz_weight: Annotated[float, Option("Weight of the Lovasz hinge in the loss.", LOSS)] = 0.0
    precision: Annotated[Precision, Option("Arithmetic; auto: 16 bits where they are faster.", STEPS)] = "auto"
    """`auto`: bfloat16 where the machine is faster in it, float16 with loss scaling on other GPUs, else float32."""
    tta: Annotated[Tta, Option("Flips over which out-of-fold probabilities are averaged.", STEPS)] = "hflip"
    """Test photos are averaged over the same flips where nothing else is asked for."""
    tta_scales: Annotated[
        tuple[float, ...],
        Option(
            "Factors of the image size over which probabilities are averaged.",
            STEPS,
            "0.75,1,…",
            parse=parse_numbers,
            check=SCALES,
        ),
    ] = (1.0,)
    folds: Annotated[int, Option("Folds into which the groups (cars) are split.", DATA, check=TWO_FOLDS)] = 5
    seed: Annotated[
        int, Option("Seed of folds, weights, order and augmentation.", STEPS, check=between(0, 2**32 - 1))
    ] = 0
    """As NumPy takes it."""

    def __post_init__(self) -> None:
        check_options(self)
        self._require_a_loss()
        self._require_one_start()
        self._require_smaller_sizes()

    @property
    def early_epochs(self) -> int:
        """How many epochs have another size than the last one."""
        return sum(epochs for _, _, epochs in self.early_sizes)

    @property
    def size_by_epoch(self) -> list[tuple[int, int] | None]:
        """(height, width) to which each epoch brings photos; None: their own."""
        early = [(height, width) for height, width, epochs in self.early_sizes for _ in range(epochs)]
        return [*early, *[self.image_size] * (self.epochs - self.early_epochs)]

    @property
    def effort_by_epoch(self) -> list[float]:
        """How long each epoch takes as a share of the last one: by the pixels that are trained on."""
        pixels = [prod(self.cropped(size)) if size else 1 for size in self.size_by_epoch]
        return [of_epoch / pixels[-1] for of_epoch in pixels]

    def trained_size(self, own_size: tuple[int, int]) -> tuple[int, int]:
        """What the last epochs train on, (height, width), of photos that have this size themselves."""
        return self.cropped(self.image_size or own_size)

    def cropped(self, size: tuple[int, int]) -> tuple[int, int]:
        """What of a photo is trained on that was brought to this size, (height, width)."""
        height, width = self.crop or size
        return min(height, size[0]), min(width, size[1])

    def takes_sizes(self, sizes: set[tuple[int, int]]) -> bool:
        """Whether photos of these sizes, (height, width), can stand in one batch."""
        return self.image_size is not None or self.batch_size == 1 or len(sizes) == 1

    def _require_a_loss(self) -> None:
        weights = (self.bce_weight, self.dice_weight, self.lovasz_weight)
        if min(weights) < 0 or max(weights) <= 0:
            raise InputError("--bce-weight, --dice-weight and --lovasz-weight: none below 0, not all 0")
        if self.border_weight > 0 and self.bce_weight <= 0:
            raise InputError("--border-weight: weighs the BCE, so --bce-weight must be above 0")
        if self.border_weight > 0 and self.border_width <= 0:
            raise InputError("--border-weight: needs a --border-width above 0")

    def _require_one_start(self) -> None:
        if self.model == UNET and self.pretrained:
            raise InputError("--pretrained: there are no pretrained weights for `unet`; take an smp model instead")
        if self.init and self.pretrained:
            raise InputError("--init and --pretrained: the weights can start from only one of them")
        if self.frozen_levels and (self.model == UNET or not (self.init or self.pretrained)):
            raise InputError("--frozen-levels: is for an encoder of an smp model with --pretrained, or --init")

    def _require_smaller_sizes(self) -> None:
        if not self.early_sizes:
            return
        text = f"--early-sizes {early_sizes_as_text(self.early_sizes)}"
        if self.image_size is None:
            raise InputError(f"{text}: give --image-size HxW, the size that follows")
        if self.early_epochs >= self.epochs:
            raise InputError(f"{text}: {self.early_epochs} of --epochs {self.epochs} leave none for --image-size")
        if max(self.effort_by_epoch) > 1:
            raise InputError(f"{text}: none may be larger than --image-size {size_as_text(self.image_size)}")


DEFAULT_PRESET = "carvana"
"""It has the defaults of the fields."""
CONFIG_OPTIONS = options_of(TrainingConfig, preset=DEFAULT_PRESET)


def check_setting(name: str, value: Any) -> None:
    """Check a value wherever it was read as `TrainingConfig` checks its field of this name.

    Raises:
        InputError: it is not possible.
        TypeError: it is not of the field's type.
    """
    next(option for option in CONFIG_OPTIONS if option.name == name).check(value)
