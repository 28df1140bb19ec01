"""The folder of predicted masks: what is in it, and whether it may be continued.

PRED/masks/<stem>.png   one bit a pixel, of the photo's own size
PRED/run.json           what made them: runs, TTA, threshold, sizes, count

Knows nothing of torch.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from kaggle_tools.errors import InputError
from kaggle_tools.files import write_json

RECORD_FILE = "run.json"
COUNT = "count"


def mask_path(pred: Path, stem: str) -> Path:
    """Where the mask of a photo is."""
    return pred / "masks" / f"{stem}.png"


def begin(pred: Path, settings: dict[str, Any]) -> None:
    """Record what makes the masks, or check that the same made those that are there already.

    Raises:
        InputError: other settings or models did, or masks of unknown origin are there.
    """
    path = pred / RECORD_FILE
    if not path.exists():
        if any((pred / "masks").glob("*.png")):
            raise InputError(f"{pred / 'masks'}: holds masks of unknown origin; give another --out")
        write_json(path, {**settings, COUNT: None})
        return
    begun = read_record(pred)
    changes = [
        f"{name} was {begun.get(name)}, now {settings[name]}"
        for name in settings
        if begun.get(name) != json.loads(json.dumps(settings[name]))
    ]
    if changes:
        raise InputError(f"{pred}: begun with other settings ({'; '.join(changes)}). Give those, or another --out.")


def finish(pred: Path, settings: dict[str, Any], sizes: list[tuple[int, int]]) -> None:
    """Record that all masks are there: how many, and how many of each size, (height, width) in pixels."""
    by_size = {f"{height}x{width}": count for (height, width), count in sorted(Counter(sizes).items())}
    write_json(pred / RECORD_FILE, {**settings, COUNT: len(sizes), "sizes": by_size})


def read_record(pred: Path) -> dict[str, Any]:
    """The contents of `run.json`.

    Raises:
        InputError: it is missing or damaged.
    """
    path = pred / RECORD_FILE
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return {"competition": record["competition"], **record}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: missing or damaged ({error!r})") from error
