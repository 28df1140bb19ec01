"""Folders of masks with saved probabilities, as `infer --save-probabilities` leaves them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from finished_runs import network
from known_competitions import CARVANA
from PIL import Image

from kaggle_tools.data.images import write_gray, write_mask
from kaggle_tools.data.listing import Photo
from kaggle_tools.results import pred_folder
from kaggle_tools.results.pred_folder import mask_path, photo_note, probability_path
from kaggle_tools.results.records.masks import Record
from kaggle_tools.system.files import sha256


def write_probabilities(
    pred: Path,
    maps: Mapping[str, Any],
    photo_sha256: Mapping[str, str] | None = None,
    *,
    noted: bool = False,
    **fields: Any,
) -> Path:
    """A finished folder of these maps from 0 to 255, which may note these photos, or those that they were made of."""
    of_all = {"competition": CARVANA.slug, "photos": "photos", "models": (network(pred.name),), "tta": "none"}
    record = Record(**{**of_all, **fields})
    photos = []
    with pred_folder.begun(pred, record):
        for stem, values in maps.items():
            map_HW = np.array(values, dtype=np.uint8)
            path = pred.parent / "photos" / f"{stem}.png"
            path.parent.mkdir(exist_ok=True)
            Image.new("RGB", map_HW.shape[::-1]).save(path)
            note = photo_note((photo_sha256 or {}).get(stem, sha256(path) if noted else ""))
            write_gray(probability_path(pred, stem), map_HW, note)
            write_mask(mask_path(pred, stem), map_HW >= 128, note)
            photos.append(Photo(stem, path, map_HW.shape))
        pred_folder.finish(pred, record, photos)
    return pred
