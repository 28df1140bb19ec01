"""How fast run-length encoding is: ours against pycocotools, two NumPy kernels and a copy of the mask, on real masks.

    python benchmarks/rle.py MASKS [--rounds 7] [--random 1000000]

All take turns on each mask, as the speed of a machine changes from moment to moment. The figure of a round is the
median over its masks, so that a process that cuts in does not count, and a ratio is that of two such figures. The
copy goes first, so that the others find the mask in the cache; freed memory is kept, as where `submit.py` encodes.
Everybody starts from a mask in memory and ends with Kaggle's text, or the other way:

- pycocotools counts down the columns, so that it is given `mask.T`, which is no copy, and its counts are turned into
  the same text; `pycocotools, no text` leaves it at its own compressed counts;
- the kernels are the two ideas that most of Kaggle's notebooks share: pad with a zero at either end, then look
  where neighbours differ. One pads with `np.pad` and takes `np.diff`, the other with `np.concatenate`.

Before, each answer is compared with all others', on every mask and, with --random, on so many small random ones.
"""

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from pycocotools import mask as coco

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kaggle_tools import rle
from kaggle_tools.data.images import read_mask
from kaggle_tools.errors import InputError
from kaggle_tools.system.memory import keep_freed_memory
from kaggle_tools.system.progress import track

Mask = NDArray[np.bool_]
REFERENCE = "ours"
LARGEST_SIDE = 12
"""Of the random masks, in pixels."""


def main(
    masks: Annotated[Path, typer.Argument(help="Folder of mask images.")],
    rounds: Annotated[int, typer.Option(min=1, help="How often they take turns.")] = 7,
    count: Annotated[int, typer.Option(min=1, help="Use no more masks than that, evenly picked.")] = 80,
    random: Annotated[int, typer.Option(min=0, help="Compare on so many small random masks first.")] = 0,
) -> None:
    """Compare the answers on all masks, then measure on some of them."""
    paths = sorted(path for path in masks.iterdir() if not path.name.startswith("."))
    if not paths:
        raise InputError(f"{masks}: no masks in it")
    for path in track(paths, len(paths), "masks compared"):
        compare(read_mask(path))
    print(f"all agree on {len(paths):,} masks")
    compare_random(random)
    picked = [read_mask(paths[at]) for at in np.linspace(0, len(paths) - 1, min(count, len(paths))).astype(int)]
    keep_freed_memory()
    report("encode", ENCODERS, picked, rounds)
    report("decode", decoders(picked), list(range(len(picked))), rounds)


def compare(mask_HW: Mask) -> None:
    """See that all encoders write the same text, and that it leads back to the mask."""
    texts = {name: encode(mask_HW) for name, encode in ENCODERS.items() if name not in ("copy", "pycocotools, no text")}
    assert len(set(texts.values())) == 1, texts
    text = texts[REFERENCE]
    assert np.array_equal(rle.decode(text, mask_HW.shape), mask_HW)
    assert np.array_equal(decode_coco(text, mask_HW.shape), mask_HW)
    columns = rle.encode(mask_HW, "column-major")
    assert columns == encode_coco(np.asfortranarray(mask_HW).T)
    assert np.array_equal(rle.decode(columns, mask_HW.shape, "column-major"), mask_HW)


def compare_random(count: int) -> None:
    """`compare` on small masks of all shapes, from almost blank to almost full."""
    rng = np.random.default_rng(0)
    for _ in track(range(count), count, "random masks compared"):
        compare(rng.random(rng.integers(1, LARGEST_SIDE + 1, size=2)) < rng.random())
    if count:
        print(f"all agree on {count:,} random masks of up to {LARGEST_SIDE}x{LARGEST_SIDE}")


def encode_padding_diff(mask_HW: Mask) -> str:
    """Pad with a zero at either end, and take differences."""
    edges = np.where(np.diff(np.pad(mask_HW.ravel().view(np.int8), 1)))[0]
    starts, ends = edges[::2] + 1, edges[1::2] + 1
    return as_text(np.stack([starts, ends - starts], axis=1))


def encode_concatenate(mask_HW: Mask) -> str:
    """The same with `np.concatenate`, whose zeros, as they come from lists, make it all 64 bits wide."""
    padded = np.concatenate([[0], mask_HW.ravel(), [0]])
    runs = np.where(padded[1:] != padded[:-1])[0] + 1
    runs[1::2] -= runs[::2]
    return " ".join(str(number) for number in runs)


def coco_counts(mask_HW: Mask) -> bytes:
    """The compressed counts of pycocotools along the rows: those down the columns of the transposed mask."""
    return coco.encode(mask_HW.view(np.uint8).T)["counts"]


def encode_coco(mask_HW: Mask) -> str:
    """pycocotools, and its counts turned into Kaggle's text."""
    counts = uncompressed(coco_counts(mask_HW))
    ends = np.cumsum(counts)
    return as_text(np.stack([ends[:-1:2] + 1, counts[1::2]], axis=1))


def uncompressed(packed: bytes) -> NDArray[np.int64]:
    """The counts that pycocotools packs into text, for which it has no function of its own.

    Each character holds five bits, the lowest first, and whether more follow; a count from the fourth on is what
    it has more than the last but one (`rleFrString` in https://github.com/cocodataset/cocoapi/blob/master/common/maskApi.c).
    """
    characters = np.frombuffer(packed, np.uint8).astype(np.int64) - 48
    is_last = (characters & 0x20) == 0
    starts = np.concatenate([[0], np.flatnonzero(is_last)[:-1] + 1])
    place = np.arange(len(characters)) - np.repeat(starts, np.diff(np.append(starts, len(characters))))
    numbers = np.add.reduceat((characters & 0x1F) << (5 * place), starts)
    negative = (characters[is_last] & 0x10) > 0
    numbers -= negative * (1 << (5 * (place[is_last] + 1)))
    numbers[1::2], numbers[2::2] = np.cumsum(numbers[1::2]), np.cumsum(numbers[2::2])
    return numbers


def as_text(runs: NDArray[np.int64]) -> str:
    """The numbers with spaces between them, in the fastest way known."""
    return " ".join(["%d %d"] * len(runs)) % tuple(runs.ravel().tolist())


def decode_loop(text: str, shape: tuple[int, int]) -> Mask:
    """What most notebooks share: the numbers read by `int`, and every run set in a loop."""
    numbers = np.array(text.split(), dtype=int)
    flat = np.zeros(shape[0] * shape[1], dtype=bool)
    for start, length in zip(numbers[::2] - 1, numbers[1::2], strict=True):
        flat[start : start + length] = True
    return flat.reshape(shape)


def decode_coco(text: str, shape: tuple[int, int]) -> Mask:
    """pycocotools, from Kaggle's text."""
    numbers = np.fromstring(text, dtype=np.int64, sep=" ")
    starts, lengths = numbers[::2] - 1, numbers[1::2]
    ends = starts + lengths
    counts = np.empty(len(numbers) + 1, dtype=np.int64)
    counts[:-1:2], counts[1::2] = starts - np.concatenate([[0], ends[:-1]]), lengths
    counts[-1] = shape[0] * shape[1] - (ends[-1] if len(ends) else 0)
    packed = coco.frPyObjects({"counts": counts.tolist(), "size": list(shape[::-1])}, *shape[::-1])
    return coco.decode(packed).T.view(bool)


ENCODERS: dict[str, Callable[[Mask], object]] = {
    "copy": np.copy,
    REFERENCE: rle.encode,
    "pycocotools": encode_coco,
    "pycocotools, no text": coco_counts,
    "padding and diff": encode_padding_diff,
    "concatenate": encode_concatenate,
}


def decoders(masks: Sequence[Mask]) -> dict[str, Callable[[int], object]]:
    """Each takes the place of a mask and decodes its text."""
    texts = [rle.encode(mask_HW) for mask_HW in masks]
    return {
        "copy": lambda at: masks[at].copy(),
        REFERENCE: lambda at: rle.decode(texts[at], masks[at].shape),
        "pycocotools": lambda at: decode_coco(texts[at], masks[at].shape),
        "loop": lambda at: decode_loop(texts[at], masks[at].shape),
    }


def report(what: str, contestants: dict[str, Callable], inputs: Sequence, rounds: int) -> None:
    """Let all take turns on all inputs, and print milliseconds and how many times as long as ours each takes."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        turns = [[seconds_of(work, one) for work in contestants.values()] for one in inputs]
        for name, found in zip(contestants, zip(*turns, strict=True), strict=True):
            seconds[name].append(statistics.median(found))
    for name, found in seconds.items():
        ratios = [theirs / ours for theirs, ours in zip(found, seconds[REFERENCE], strict=True)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"{what}, {name}: {statistics.median(found) * 1e3:.3f} ms a mask, {spread} times ours")


def seconds_of(work: Callable, one: object) -> float:
    """How long the work on one input takes."""
    start = time.perf_counter()
    work(one)
    return time.perf_counter() - start


if __name__ == "__main__":
    typer.run(main)
