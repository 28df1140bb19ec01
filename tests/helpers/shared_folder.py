"""A folder as people share it: a run, masks, a CSV in three packings, an archive, images, a ledger, credentials."""

import gzip
import json
import zipfile
from pathlib import Path

import numpy as np
from finished_runs import draw_photos, network, write_pred, write_run
from known_competitions import CARVANA
from PIL import Image
from unfinished_runs import progress

from kaggle_tools.competitions.named import record
from kaggle_tools.competitions.toml_file import PACKAGED
from kaggle_tools.data import fingerprint
from kaggle_tools.data.images import write_mask
from kaggle_tools.kaggle_api import ledger
from kaggle_tools.kaggle_api.submissions import Submission
from kaggle_tools.models import weights
from kaggle_tools.models.segmenter import Architecture, build
from kaggle_tools.results import summary
from kaggle_tools.results.records.progress import write_progress
from kaggle_tools.results.scores import ExpectedScore

PHOTOS = {"a_01": (5, 0), "b_01": (1, 2), "b_02": (0, 1)}
TINY = Architecture(width=1, depth=1)


def write_shared_folder(folder: Path) -> None:
    """Everything that a command of ours reads, each file small."""
    draw_photos(folder / "data", list(PHOTOS))
    run = write_run(folder / "run", folder / "data", {0: PHOTOS})
    write_progress(run / "fold0", progress(1, 2, stems=("a_01",)))
    files = {stem: fingerprint.FileHashes("0" * 64, "1" * 64) for stem in PHOTOS}
    fingerprint.write_fingerprint(run / "data.csv", files)
    card = weights.ModelCard(TINY, (96, 160), CARVANA.slug, 0, "hflip", (1.0, 1.25))
    weights.save(build(TINY), card, run / "fold0")
    scores = summary.cross_validation([run], CARVANA)
    expected = ExpectedScore(scores[0].score)
    models = (network("run"), network("other", image_size=None))
    facts = {"models": models, "cross_validation": scores, "expected": expected, "batch_size": 2}
    write_pred(folder / "pred", folder / "data" / "train", dict.fromkeys(PHOTOS, 25), **facts)
    for made in (run, folder / "pred"):
        record(made, CARVANA)
    (folder / "competition.toml").write_bytes((PACKAGED / f"{CARVANA.slug}.toml").read_bytes())
    _write_csv(folder)
    _write_images(folder)
    with zipfile.ZipFile(folder / "train.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for stem in PHOTOS:
            archive.write(folder / "data" / "train" / f"{stem}.jpg", f"train/{stem}.jpg")
    entry = ledger.Entry(
        "0" * 8, CARVANA.slug, "U-Net", "0" * 64, "pred", ("run",), scores, expected, 0.5, "hflip", (1.0,)
    )
    ledger.intend(folder / "ledger.jsonl", entry)
    sent = Submission(CARVANA.slug, 7, "[00000000] U-Net", "COMPLETE", 0.99, 0.98)
    ledger.note(folder / "ledger.jsonl", entry, sent)
    (folder / ".kaggle").mkdir()
    (folder / ".kaggle" / "kaggle.json").write_text(json.dumps({"username": "someone", "key": "0" * 32}))
    (folder / ".kaggle" / "access_token").write_text("KGAT_" + "0" * 32 + "\n")


def _write_csv(folder: Path) -> None:
    rows = "".join(f"{stem}.jpg,{5 + at} 30 1000 20\n" for at, stem in enumerate(PHOTOS))
    text = f"img,rle_mask\n{rows}"
    (folder / "sample_submission.csv").write_text("img,rle_mask\n" + "".join(f"{stem}.jpg,1 1\n" for stem in PHOTOS))
    (folder / "submission.csv").write_text(text)
    (folder / "submission.csv.gz").write_bytes(gzip.compress(text.encode()))
    with zipfile.ZipFile(folder / "submission.csv.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("submission.csv", text)


def _write_images(folder: Path) -> None:
    mask_HW = np.zeros((12, 18), dtype=bool)
    mask_HW[3:8, 4:11] = True
    write_mask(folder / "mask.png", mask_HW, {"area": 0.16, "expected_dice": 0.9, "photo_sha256": "0" * 64})
    Image.fromarray(mask_HW.astype(np.uint8) * 255).save(folder / "mask.gif")
    pixels = np.arange(12 * 18 * 3, dtype=np.uint8).reshape(12, 18, 3)
    for suffix in ("jpg", "png", "tif", "bmp"):
        Image.fromarray(pixels).save(folder / f"photo.{suffix}")
