import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from known_competitions import CARVANA
from PIL import Image
from submission_files import SHAPE, STEMS, draw_masks, rows_of, write_rows, write_sample

from kaggle_tools import rle
from kaggle_tools.competitions.competition import Competition
from kaggle_tools.data.images import read_mask, write_mask
from kaggle_tools.errors import InputError
from kaggle_tools.submission import write
from kaggle_tools.submission.check import CheckReport, check_submission
from kaggle_tools.submission.write import Written, compress, size_of_photos, write_checked, write_submission


def test_the_rows_of_a_submission_stand_in_the_samples_order_and_hold_the_masks(tmp_path: Path) -> None:
    masks = draw_masks(tmp_path / "masks", STEMS)
    destination = tmp_path / "submission.csv"
    written = write_submission(tmp_path / "masks", write_sample(tmp_path / "sample.csv"), destination, CARVANA)
    header, *rows = rows_of(destination)
    assert header == ["img", "rle_mask"]
    assert [photo_id for photo_id, _ in rows] == ["b_01.jpg", "a_02.jpg", "a_01.jpg"]
    for (_, text), stem in zip(rows, STEMS, strict=True):
        assert np.array_equal(rle.decode(text, SHAPE), masks[stem])
    assert written.sizes == dict.fromkeys(STEMS, SHAPE)


def test_several_processes_write_the_same_submission_as_one(tmp_path: Path) -> None:
    stems = [f"a_{number:03}" for number in range(300)]
    draw_masks(tmp_path / "masks", stems)
    sample = write_sample(tmp_path / "sample.csv", stems)
    for workers in (1, 2):
        write_submission(tmp_path / "masks", sample, tmp_path / f"{workers}.csv", CARVANA, workers=workers)
    assert (tmp_path / "1.csv").read_bytes() == (tmp_path / "2.csv").read_bytes()
    assert len(rows_of(tmp_path / "2.csv")) == 301


def test_a_competition_with_other_ids_and_run_lengths_gets_its_own(tmp_path: Path, tiles: Competition) -> None:
    write_mask(tmp_path / "t1.png", np.array([[1, 0], [1, 1]], dtype=bool))
    write_mask(tmp_path / "t2.png", np.zeros((2, 2), dtype=bool))
    sample = write_rows(tmp_path / "sample.csv", [("t1", "1 1"), ("t2", "1 1")], header="id,pixels")
    write_submission(tmp_path, sample, tmp_path / "out.csv", tiles)
    assert rows_of(tmp_path / "out.csv") == [["id", "pixels"], ["t1", "0 2 3 1"], ["t2", "-1"]]


def test_missing_masks_are_counted_and_named_before_anything_is_encoded(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "a_02.png").write_bytes(b"is not read")
    with pytest.raises(InputError, match=r"2 of 3 masks are missing: b_01\.png, a_01\.png; run `infer`"):
        write_submission(
            tmp_path / "masks", write_sample(tmp_path / "sample.csv"), tmp_path / "submission.csv", CARVANA
        )


@pytest.mark.parametrize("bytes_kept", [0, 30, 80])
def test_an_unreadable_mask_is_named_and_leaves_no_file(tmp_path: Path, bytes_kept: int) -> None:
    draw_masks(tmp_path / "masks", STEMS, shape=(50, 60))
    damaged = tmp_path / "masks" / "a_02.png"
    damaged.write_bytes(damaged.read_bytes()[:bytes_kept])
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match=r"1 of 3 masks is unusable: .*a_02\.png: not a mask"):
        write_submission(tmp_path / "masks", write_sample(tmp_path / "sample.csv"), tmp_path / "out" / "x.csv", CARVANA)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_mask_must_have_its_photos_size(tmp_path: Path) -> None:
    draw_masks(tmp_path / "masks", STEMS)
    (tmp_path / "test").mkdir()
    for stem, size in (("b_01", (6, 4)), ("a_02", (4, 6))):  # the third photo is not at hand
        Image.new("RGB", size).save(tmp_path / "test" / f"{stem}.jpg")
    with pytest.raises(InputError, match=r"1 of 3 masks is unusable: a_02\.png \(is 6x4, its photo 4x6\)"):
        write_submission(
            tmp_path / "masks",
            write_sample(tmp_path / "sample.csv"),
            tmp_path / "submission.csv",
            CARVANA,
            size_of=size_of_photos(tmp_path, CARVANA),
        )


def test_a_mask_that_cannot_be_read_leaves_the_former_csv_as_it_was(tmp_path: Path) -> None:
    draw_masks(tmp_path / "masks", STEMS)
    (tmp_path / "masks" / "a_01.png").write_bytes(b"")
    destination = tmp_path / "submission.csv"
    destination.write_text("of yesterday")
    with pytest.raises(InputError):
        write_submission(tmp_path / "masks", write_sample(tmp_path / "sample.csv"), destination, CARVANA)
    assert destination.read_text() == "of yesterday"


def test_a_folder_of_masks_that_is_missing_is_named(tmp_path: Path) -> None:
    sample = write_sample(tmp_path / "sample.csv")
    with pytest.raises(InputError, match=r"masks: no such folder; `infer` writes it"):
        write_submission(tmp_path / "masks", sample, tmp_path / "submission.csv", CARVANA)


def test_a_csv_is_written_checked_and_compressed(tmp_path: Path) -> None:
    draw_masks(tmp_path / "masks", STEMS)
    sample, csv = write_sample(tmp_path / "sample.csv"), tmp_path / "submission.csv"
    written = write_checked(tmp_path / "masks", sample, csv, CARVANA, force=True)
    assert written == Written(csv, tmp_path / "submission.csv.gz", CheckReport(3, 0, 0, 0, 0), {}, [])
    assert gzip.decompress(written.packed.read_bytes()) == csv.read_bytes()
    with pytest.raises(InputError, match=r"b_01\.png \(is 6x4, its photo 1918x1280\)"):
        write_checked(tmp_path / "masks", sample, csv, CARVANA)


def test_a_csv_that_does_not_pass_the_check_leaves_no_file(tmp_path: Path) -> None:
    sample, csv = write_sample(tmp_path / "sample.csv"), tmp_path / "submission.csv"
    for stem in STEMS:
        write_mask(tmp_path / "masks" / f"{stem}.png", np.zeros((1280, 1918), dtype=bool))
    for path in (csv, tmp_path / "submission.csv.gz"):
        path.write_text("of the masks as they were before")
    with pytest.raises(InputError, match=r"submission\.csv: all 3 masks are blank"):
        write_checked(tmp_path / "masks", sample, csv, CARVANA)
    assert not list(tmp_path.glob("*submission*"))


@pytest.mark.parametrize("stopped_by", [KeyboardInterrupt, OSError])
def test_a_csv_whose_check_does_not_end_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped_by: type[BaseException]
) -> None:
    draw_masks(tmp_path / "masks", STEMS)
    (tmp_path / "submission.csv").write_text("of the masks as they were before")

    def stopped(*_: object, **__: object) -> None:
        assert not (tmp_path / "submission.csv").exists()
        raise stopped_by

    monkeypatch.setattr(write, "check_submission", stopped)
    with pytest.raises(stopped_by):
        write_checked(
            tmp_path / "masks", write_sample(tmp_path / "sample.csv"), tmp_path / "submission.csv", CARVANA, force=True
        )
    assert not list(tmp_path.glob("*submission*"))


def test_masks_that_are_refused_leave_no_csv_of_the_masks_before_them(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    for path in (tmp_path / "submission.csv", tmp_path / "submission.csv.gz"):
        path.write_text("of the masks as they were before")
    with pytest.raises(InputError, match="all 3 masks are missing"):
        write_checked(tmp_path / "masks", write_sample(tmp_path / "sample.csv"), tmp_path / "submission.csv", CARVANA)
    assert not list(tmp_path.glob("*submission*"))


def test_compressing_gives_the_same_bytes_at_any_time_and_under_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b"img,rle_mask\n" * 1000
    packed = []
    for time, name in ((1e9, "one.csv"), (2e9, "other.csv")):
        monkeypatch.setattr("time.time", lambda now=time: now)  # which gzip notes unless another time is given
        (tmp_path / name).write_bytes(content)
        packed.append(compress(tmp_path / name).read_bytes())
    assert packed[0] == packed[1]
    assert gzip.decompress(packed[0]) == content


def test_real_masks_arrive_in_the_csv_as_a_picture_viewer_shows_them(tmp_path: Path, carvana_photos: Path) -> None:
    paths = sorted((carvana_photos / "train_masks").iterdir())[::40]
    stems = [path.name.removesuffix("_mask.gif") for path in paths]
    for stem, path in zip(stems, paths, strict=True):
        write_mask(tmp_path / "masks" / f"{stem}.png", read_mask(path))
    sample, destination = write_sample(tmp_path / "sample.csv", stems), tmp_path / "submission.csv"
    written = write_submission(
        tmp_path / "masks",
        sample,
        destination,
        CARVANA,
        size_of=size_of_photos(carvana_photos, replace(CARVANA, test_photos=CARVANA.train_photos)),
    )
    assert check_submission(destination, sample, CARVANA, size_of=written.sizes.get).warnings(CARVANA) == []
    for (_, text), path in zip(rows_of(destination)[1:], paths, strict=True):
        with Image.open(path) as image:
            assert np.array_equal(rle.decode(text, (1280, 1918)), np.asarray(image.convert("L")) > 0)


def test_the_processes_that_encode_are_at_most_two_chunks_each_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """The results of more would pile up in memory: here, three processes have 7 chunks before the first is awaited."""
    outstanding: list[int] = []

    class Pool:
        def __init__(self, workers: int, initializer: object) -> None:
            self.waiting = 0
            assert workers == 3

        def __enter__(self) -> "Pool":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def submit(self, encode: Callable[[list[str]], list[str]], chunk: list[str]) -> "Pool.Answer":
            self.waiting += 1
            outstanding.append(self.waiting)
            return Pool.Answer(self, encode(chunk))

        class Answer(NamedTuple):
            pool: "Pool"
            encoded: list[str]

            def result(self) -> list[str]:
                self.pool.waiting -= 1
                return self.encoded

    monkeypatch.setattr(write, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr(write, "CHUNK", 2)
    stems = [f"{number:02}" for number in range(21)]
    assert list(write._map_in_order(lambda chunk: chunk, stems, 3)) == stems  # type: ignore[arg-type, return-value]
    assert outstanding == [1, 2, 3, 4, 5, 6, 7, 7, 7, 7, 7]


def test_masks_that_are_not_plain_are_counted_with_what_was_taken_and_the_others_written_as_before(
    tmp_path: Path,
) -> None:
    masks = draw_masks(tmp_path / "masks", STEMS)
    soft = np.where(masks["a_02"], 200, 9).astype(np.uint8)
    soft[0, 0] = 90
    Image.fromarray(soft).save(tmp_path / "masks" / "a_02.png")
    with Image.fromarray(masks["b_01"].astype(np.uint8), "P") as image:
        image.putpalette([255, 255, 255, 0, 0, 0])  # black on white
        image.save(tmp_path / "masks" / "b_01.png")
    sample, csv = write_sample(tmp_path / "sample.csv"), tmp_path / "submission.csv"
    written = write_checked(tmp_path / "masks", sample, csv, CARVANA, force=True)
    assert written.ambiguous_masks() == [
        "1 of 3 masks is not plainly black and white: b_01.png; "
        "taken as foreground: indices of the palette above 0, though index 0 is brighter",
        "1 of 3 masks is not plainly black and white: a_02.png; taken as foreground: values above half of the highest",
    ]
    masks["a_02"][0, 0] = False
    for photo_id, text in rows_of(csv)[1:]:
        assert np.array_equal(rle.decode(text, SHAPE), masks[photo_id.removesuffix(".jpg")])


@pytest.mark.parametrize("ink", [1, 255, (1, 0, 0), (255, 255, 255), (0, 0, 0, 255)])
def test_masks_of_two_values_are_written_without_a_word_in_whatever_form(tmp_path: Path, ink: object) -> None:
    masks = draw_masks(tmp_path / "masks", STEMS)
    for stem, mask_HW in masks.items():
        background = 0 if isinstance(ink, int) else (0,) * len(ink)  # type: ignore[arg-type]
        pixels = np.array([[ink if one else background for one in row] for row in mask_HW], np.uint8)
        Image.fromarray(pixels).save(tmp_path / "masks" / f"{stem}.png")
    sample, csv = write_sample(tmp_path / "sample.csv"), tmp_path / "submission.csv"
    written = write_checked(tmp_path / "masks", sample, csv, CARVANA, force=True)
    assert written.ambiguous_masks() == []
    for photo_id, text in rows_of(csv)[1:]:
        assert np.array_equal(rle.decode(text, SHAPE), masks[photo_id.removesuffix(".jpg")])


@pytest.mark.parametrize("order", ["row-major", "column-major"])
def test_a_large_mask_whose_run_lengths_would_fill_the_memory_is_named(tmp_path: Path, order: rle.Order) -> None:
    """Stripes across the order in which pixels are numbered, which are a PNG of a few thousand bytes."""
    rows, columns = np.indices((2001, 2000))
    striped = (columns if order == "row-major" else rows) % 2 == 0
    for stem in STEMS:
        write_mask(tmp_path / "masks" / f"{stem}.png", striped if stem == "a_01" else striped.T)
    competition, sample = replace(CARVANA, rle_order=order), write_sample(tmp_path / "sample.csv")
    with pytest.raises(InputError, match=r"1 of 3 masks .*a_01\.png: its pixels change [\d,]{9} times, as no object"):
        write_submission(tmp_path / "masks", sample, tmp_path / "x.csv", competition)
