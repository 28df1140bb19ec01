import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from decoding import counted_decoding
from noise import SIZE, draw, with_classes
from PIL import Image

from kaggle_tools.data.listing import Photo
from kaggle_tools.data.loading import pixel_cache
from kaggle_tools.data.loading.augment import Augmenter
from kaggle_tools.data.loading.datasets import AugmentedPhotos, MaskedPhotos
from kaggle_tools.data.loading.fitting import InputSize
from kaggle_tools.data.loading.pixel_cache import PixelCache, Pixels, bytes_of
from kaggle_tools.data.loading.workers import loader
from kaggle_tools.errors import InputError
from kaggle_tools.system.files import MACHINE

SMALL = (15, 11)
BYTES = 16 + 4 * 15 * 11


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[PixelCache]:
    return PixelCache(tmp_path / "cache")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The photos that were decoded so far."""
    return counted_decoding(monkeypatch)


def kept(cache: PixelCache) -> list[Path]:
    return sorted(cache.folder.glob("*.pixels"))


def equal(one: Pixels, two: Pixels) -> bool:
    return all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("size", [None, SIZE, SMALL])
def test_cached_pixels_are_those_that_are_decoded_and_are_decoded_once(
    photos: list[Photo], cache: PixelCache, decoded: list[str], size: tuple[int, int] | None
) -> None:
    cached, plain = MaskedPhotos(photos, size, cache), MaskedPhotos(photos, size)
    for _ in range(2):
        for index in range(len(photos)):
            assert equal(cached.pixels(index), plain.pixels(index))
    assert len(decoded) == 7 + 2 * 7
    assert len(kept(cache)) == 7


def test_masks_of_several_classes_are_cached_as_they_are_decoded(photos: list[Photo], cache: PixelCache) -> None:
    several = [with_classes(photos[:3])]
    cached, plain = MaskedPhotos(several, SMALL, cache), MaskedPhotos(several, SMALL)
    for _ in range(2):
        assert equal(cached.pixels(0), plain.pixels(0))
    assert [path.stat().st_size for path in kept(cache)] == [16 + 6 * 15 * 11] == [bytes_of(several, [SMALL])]


def test_another_mask_of_a_class_is_decoded_anew(photos: list[Photo], cache: PixelCache) -> None:
    for several in (with_classes(photos[:3]), with_classes([photos[0], photos[3], photos[2]])):
        assert equal(MaskedPhotos([several], SMALL, cache).pixels(0), MaskedPhotos([several], SMALL).pixels(0))
    assert len(kept(cache)) == 2


def test_cached_pixels_may_be_augmented(photos: list[Photo], cache: PixelCache) -> None:
    """They are no views of a file or of memory that must not be written to."""
    cached = AugmentedPhotos(MaskedPhotos(photos, SMALL, cache), Augmenter("seed", 1))
    plain = AugmentedPhotos(MaskedPhotos(photos, SMALL), Augmenter("seed", 1))
    for epoch in (0, 1):
        for got, wanted in zip(cached[epoch, 3], plain[epoch, 3], strict=True):
            assert torch.equal(got, wanted)
    photo_HW3, mask_HW = MaskedPhotos(photos, SMALL, cache).pixels(3)
    photo_HW3[:], mask_HW[:] = 0, 0


class TestChanges:
    @pytest.mark.parametrize("which", ["path", "mask"])
    def test_a_photo_or_mask_that_changes_is_decoded_anew(
        self, photos: list[Photo], cache: PixelCache, tmp_path: Path, which: str
    ) -> None:
        """Also where it has the size and the time of before."""
        cached = MaskedPhotos(photos, SMALL, cache)
        before = cached.pixels(0)
        (tmp_path / "other").mkdir()
        other = getattr(draw(tmp_path / "other", 50), which)
        path: Path = getattr(photos[0], which)
        times = path.stat()
        path.write_bytes(other.read_bytes())
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert equal(cached.pixels(0), MaskedPhotos(photos, SMALL).pixels(0))
        assert not equal(cached.pixels(0), before)

    def test_a_photo_that_is_replaced_while_it_is_decoded_is_not_kept(
        self, photos: list[Photo], cache: PixelCache
    ) -> None:
        pixels = MaskedPhotos(photos, SMALL).pixels(0)

        def decode() -> Pixels:
            Image.new("RGB", SIZE[::-1]).save(photos[0].path)
            return pixels

        assert equal(cache.pixels(photos[0], InputSize(SMALL), decode), pixels)
        assert kept(cache) == []

    def test_other_sizes_and_other_versions_have_files_of_their_own(
        self, photos: list[Photo], cache: PixelCache, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for size in (SMALL, (11, 15), None):
            MaskedPhotos(photos, size, cache).pixels(0)
        assert len(kept(cache)) == 3
        monkeypatch.setattr(pixel_cache, "MADE_WITH", ["another version"])
        MaskedPhotos(photos, SMALL, cache).pixels(0)
        assert len(kept(cache)) == 4

    @pytest.mark.parametrize("which", ["path", "mask"])
    def test_a_photo_or_mask_of_another_size_than_was_listed_is_refused_and_not_kept(
        self, photos: list[Photo], cache: PixelCache, tmp_path: Path, which: str
    ) -> None:
        """By the listed size it is decided how far the decoder shrinks it."""
        (tmp_path / "other").mkdir()
        other: Path = getattr(draw(tmp_path / "other", 50, (20, 22)), which)
        path: Path = getattr(photos[0], which)
        path.write_bytes(other.read_bytes())
        with pytest.raises(InputError, match=f"^{path}: changed while it was being worked on$"):
            MaskedPhotos(photos, SMALL, cache).pixels(0)
        assert kept(cache) == []

    def test_the_listed_size_of_a_photo_has_a_part_in_the_name(self, photos: list[Photo], cache: PixelCache) -> None:
        pixels = MaskedPhotos(photos, SMALL).pixels(0)
        for size in (SIZE, (60, 88)):
            cache.pixels(replace(photos[0], size=size), InputSize(SMALL), lambda: pixels)
        assert len(kept(cache)) == 2

    def test_a_photo_that_is_missing_is_named_as_without_a_cache(self, photos: list[Photo], cache: PixelCache) -> None:
        MaskedPhotos(photos, SMALL, cache).pixels(0)
        photos[0].path.unlink()
        with pytest.raises(InputError, match=f"^{photos[0].path}: "):
            MaskedPhotos(photos, SMALL, cache).pixels(0)


class TestDamage:
    @pytest.mark.parametrize(
        "damage",
        [
            lambda content: content[:-1],
            lambda content: content + b"\0",
            lambda content: content[:100] + bytes([content[100] ^ 1]) + content[101:],
            lambda content: bytes([content[0] ^ 1]) + content[1:],
            lambda _: b"",
        ],
        ids=["cut", "longer", "a bit of the pixels", "a bit of the digest", "empty"],
    )
    def test_a_damaged_file_is_not_believed_and_is_written_anew(
        self, photos: list[Photo], cache: PixelCache, decoded: list[str], damage: Any
    ) -> None:
        cached = MaskedPhotos(photos, SMALL, cache)
        pixels = cached.pixels(0)
        (file,) = kept(cache)
        whole = file.read_bytes()
        assert len(whole) == BYTES
        file.write_bytes(damage(whole))
        assert equal(cached.pixels(0), pixels)
        assert file.read_bytes() == whole
        assert decoded == ["0", "0"]

    def test_a_named_pipe_in_its_place_is_not_waited_for(self, photos: list[Photo], cache: PixelCache) -> None:
        cached = MaskedPhotos(photos, SMALL, cache)
        pixels = cached.pixels(0)
        (file,) = kept(cache)
        file.unlink()
        os.mkfifo(file)
        assert equal(cached.pixels(0), pixels)
        assert file.is_file()

    def test_where_nothing_can_be_kept_photos_are_decoded_and_it_is_said_once(
        self, photos: list[Photo], cache: PixelCache, decoded: list[str], capsys: Any
    ) -> None:
        cache.folder.write_text("no folder")
        cached, plain = MaskedPhotos(photos, SMALL, cache), MaskedPhotos(photos, SMALL)
        for index in (0, 1, 0, 1):
            assert equal(cached.pixels(index), plain.pixels(index))
        assert len(decoded) == 8
        said = capsys.readouterr().err
        assert said.count("warning: --cache") == 1
        assert "cannot be written (File exists); photos that are not in it are decoded every time" in said

    def test_processes_that_share_a_folder_leave_whole_files_alone(
        self, photos: list[Photo], cache: PixelCache
    ) -> None:
        """Each photo is asked for by four workers of two loaders."""
        cached, plain = MaskedPhotos(photos[:1] * 6, SMALL, cache), MaskedPhotos(photos, SMALL)
        loaders = [iter(loader(cached, workers=2, batch_size=1)) for _ in range(2)]
        for of_both in zip(*loaders, strict=True):
            for photo_1HW3, mask_1HW in of_both:
                assert torch.equal(photo_1HW3[0], plain[0][0])
                assert torch.equal(mask_1HW[0], plain[0][1])
        assert [path.stat().st_size for path in cache.folder.iterdir()] == [BYTES]


class TestRoom:
    def test_the_bytes_are_four_a_pixel_and_a_digest(self, photos: list[Photo]) -> None:
        """For the 5,088 photos of Carvana 0.8 GB at 160x240 and 5.3 GB at 512x512."""
        assert bytes_of(photos, [SMALL]) == 7 * BYTES
        assert bytes_of(photos, [None]) == 7 * (16 + 4 * 30 * 44)
        assert bytes_of(photos[:1] * 5088, [(160, 240)]) / 1e9 == pytest.approx(0.78, abs=0.01)
        assert bytes_of(photos[:1] * 5088, [(512, 512)]) / 1e9 == pytest.approx(5.34, abs=0.01)

    def test_what_is_not_there_yet_must_have_room(
        self, photos: list[Photo], cache: PixelCache, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        MaskedPhotos(photos, SMALL, cache).pixels(0)
        free = 6 * BYTES
        monkeypatch.setattr(pixel_cache.shutil, "disk_usage", lambda _: type("", (), {"free": free}))
        cache.prepare(photos, [SMALL])
        free -= 1
        with pytest.raises(InputError) as refused:
            cache.prepare(photos, [SMALL])
        assert str(refused.value) == (
            f"--cache {cache.folder}: needs 0.0 MB, and 0.0 MB are free; give another folder, or a smaller --image-size"
        )

    def test_without_any_photo_in_it_all_must_have_room(
        self, photos: list[Photo], cache: PixelCache, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pixel_cache.shutil, "disk_usage", lambda _: type("", (), {"free": 7 * BYTES - 1}))
        with pytest.raises(InputError, match="needs 0.0 MB"):
            cache.prepare(photos, [SMALL])
        cache.prepare(photos[1:], [SMALL])

    def test_that_photos_of_their_own_size_are_read_no_faster_is_said(
        self, photos: list[Photo], cache: PixelCache, capsys: Any
    ) -> None:
        cache.prepare(photos, [SMALL])
        assert capsys.readouterr().err == ""
        cache.prepare(photos, [None])
        assert capsys.readouterr().err.startswith(
            f"warning: --cache {cache.folder}: photos of their own size are read no"
        )

    def test_a_photo_that_is_missing_needs_no_room(self, photos: list[Photo], cache: PixelCache) -> None:
        photos[0].path.unlink()
        cache.prepare(photos, [SMALL])

    @pytest.mark.parametrize("tag", ["Signature: 8a477f597d28d172789f06886806bc55\n# of another program", ""])
    def test_the_cache_of_another_program_is_refused_and_left_alone(
        self, photos: list[Photo], cache: PixelCache, tag: str
    ) -> None:
        cache.folder.mkdir()
        (cache.folder / "CACHEDIR.TAG").write_text(tag)
        with pytest.raises(InputError, match="holds other things, such as CACHEDIR.TAG; give a folder of its own$"):
            cache.prepare(photos, [SMALL])
        assert [path.read_text() for path in cache.folder.iterdir()] == [tag]

    def test_the_folder_of_another_user_who_shares_it_is_used_as_it_is(
        self, photos: list[Photo], cache: PixelCache, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cache.prepare(photos, [SMALL])
        monkeypatch.setattr(pixel_cache, "write_text", lambda *_: pytest.fail("written again"))
        cache.prepare(photos, [SMALL])

    def test_a_folder_that_holds_other_things_is_refused_and_left_alone(
        self, photos: list[Photo], tmp_path: Path
    ) -> None:
        before = sorted(tmp_path.iterdir())
        with pytest.raises(InputError, match=f"^--cache {tmp_path}: holds other things, such as 0.png; give a folder"):
            PixelCache(tmp_path).prepare(photos, [SMALL])
        assert sorted(tmp_path.iterdir()) == before

    def test_a_file_in_the_place_of_the_folder_is_refused(self, photos: list[Photo], cache: PixelCache) -> None:
        cache.folder.write_text("no folder")
        with pytest.raises(InputError, match=r"^--cache .*cache: is a file; give a folder$"):
            cache.prepare(photos, [SMALL])

    def test_the_folder_is_marked_as_a_cache_for_backups(self, photos: list[Photo], cache: PixelCache) -> None:
        for _ in range(2):
            cache.prepare(photos, [SMALL])
            tag = (cache.folder / "CACHEDIR.TAG").read_text()
            assert tag.startswith("Signature: 8a477f597d28d172789f06886806bc55\n")
            MaskedPhotos(photos, SMALL, cache).pixels(0)

    def test_what_a_killed_training_left_half_written_is_removed(self, photos: list[Photo], cache: PixelCache) -> None:
        with subprocess.Popen(["true"]) as ended:
            pass
        cache.folder.mkdir()
        left = cache.folder / f".kaggle-tools-{MACHINE}-{ended.pid}-{'0' * 16}.part"
        left.write_bytes(b"half a photo")
        cache.prepare(photos, [SMALL])
        assert not left.exists()


def test_padded_photos_are_kept_beside_stretched_ones(photos: list[Photo], cache: PixelCache) -> None:
    size = (40, 60)
    for _ in range(2):
        for fit in ("stretch", "pad"):
            plain = MaskedPhotos(photos, size, fit=fit)
            assert equal(MaskedPhotos(photos, size, cache, fit).pixels(3), plain.pixels(3))
