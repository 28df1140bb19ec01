import io
import os
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from faults import PAGE, mounted
from numpy.typing import NDArray
from PIL import EpsImagePlugin, Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from kaggle_tools.data import images
from kaggle_tools.data.images import (
    has_few_colours,
    read_gray,
    read_mask,
    read_notes,
    read_photo,
    resize,
    save_image,
    shrink_for,
    write_gray,
    write_mask,
    write_packed_mask,
    write_photo,
)
from kaggle_tools.errors import InputError

HEIGHT, WIDTH = 45, 70


def pixels(channels: int = 3) -> NDArray[np.uint8]:
    coarse = np.random.default_rng(0).integers(0, 256, (9, 14, channels), dtype=np.uint8)
    return coarse.repeat(5, axis=0).repeat(5, axis=1)


def mask() -> NDArray[np.bool_]:
    return np.random.default_rng(1).random((HEIGHT, WIDTH)) < 0.4


def save(path: Path, content: NDArray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(content).save(path, **options)
    return path


def cut_in_half(path: Path) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


class TestReadingPhotos:
    @pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
    def test_a_photo_is_read_as_red_green_blue(self, tmp_path: Path, suffix: str) -> None:
        photo = read_photo(save(tmp_path / f"p.{suffix}", pixels()))
        assert photo.dtype == np.uint8
        assert np.array_equal(photo, pixels())

    def test_a_jpeg_is_read_as_another_decoder_reads_it(self, tmp_path: Path) -> None:
        path = save(tmp_path / "p.jpg", pixels(), quality=95, subsampling=0)
        with Image.open(path) as image:
            difference = read_photo(path).astype(int) - np.asarray(image.convert("RGB"))
        assert np.abs(difference).max() <= 2

    def test_a_grey_photo_gets_three_equal_channels(self, tmp_path: Path) -> None:
        grey = pixels()[..., 0]
        assert np.array_equal(read_photo(save(tmp_path / "p.png", grey)), np.dstack([grey] * 3))

    def test_the_transparency_of_a_photo_is_dropped(self, tmp_path: Path) -> None:
        assert np.array_equal(read_photo(save(tmp_path / "p.png", pixels(channels=4))), pixels(channels=4)[..., :3])

    def test_the_palette_of_a_photo_is_looked_up(self, tmp_path: Path) -> None:
        with Image.fromarray(pixels()).quantize(16) as image:
            image.save(tmp_path / "p.png")
            assert np.array_equal(read_photo(tmp_path / "p.png"), np.asarray(image.convert("RGB")))

    def test_a_photo_of_16_bits_is_read_as_its_upper_8(self, tmp_path: Path) -> None:
        deep = pixels()[..., ::-1].astype(np.uint16) * 257  # OpenCV writes blue, green, red
        cv2.imwrite(str(tmp_path / "p.png"), deep)
        assert np.array_equal(read_photo(tmp_path / "p.png"), pixels())

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
    def test_a_rotation_noted_in_a_photo_is_ignored(self, tmp_path: Path, suffix: str, orientation: int) -> None:
        noted = Image.Exif()
        noted[0x0112] = orientation  # 6: to be shown turned by 90 degrees
        options = {"lossless": True} if suffix == "webp" else {}
        plain = save(tmp_path / f"plain.{suffix}", pixels(), **options)
        turned = save(tmp_path / f"turned.{suffix}", pixels(), exif=noted, **options)
        assert np.array_equal(read_photo(turned), read_photo(plain))
        assert images.image_size(turned) == (HEIGHT, WIDTH)

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_a_rotation_noted_in_a_mask_is_ignored(self, tmp_path: Path, orientation: int) -> None:
        noted = Image.Exif()
        noted[0x0112] = orientation
        path = save(tmp_path / "m.tif", mask().astype(np.uint8) * np.uint8(255), exif=noted)
        assert np.array_equal(read_mask(path), mask())
        assert np.array_equal(read_gray(path) > 0, mask())

    @pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "bmp", "webp"])
    def test_a_photo_of_any_format_that_is_cut_off_is_refused(self, tmp_path: Path, suffix: str) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
        path = cut_in_half(save(tmp_path / f"p.{suffix}", noise))
        with pytest.raises(InputError, match=rf"p\.{suffix}: not a photo that can be read; fetch it again"):
            read_photo(path)

    @pytest.mark.parametrize("shrink", [1, 4])
    def test_a_photo_that_is_cut_off_is_refused_also_where_opencv_fills_it_up_with_grey(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shrink: int
    ) -> None:
        path = cut_in_half(save(tmp_path / "p.jpg", pixels()))
        monkeypatch.setattr(cv2, "imdecode", lambda *_: np.full((HEIGHT, WIDTH, 3), 128, np.uint8))  # as OpenCV 4 does
        with pytest.raises(InputError, match=r"p\.jpg: not a photo that can be read; fetch it again"):
            read_photo(path, shrink)

    @pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate"])
    def test_a_tiff_whose_middle_was_lost_is_refused(self, tmp_path: Path, compression: str) -> None:
        path = tmp_path / "photo.tif"
        noise_HW3 = np.random.default_rng(0).integers(0, 256, (98, 146, 3), dtype=np.uint8)
        Image.fromarray(noise_HW3).save(path, compression=compression)
        np.testing.assert_array_equal(read_photo(path), noise_HW3)
        content = path.read_bytes()
        path.write_bytes(content[:20_000] + bytes(200) + content[20_200:])
        with pytest.raises(InputError, match="photo.tif: not a photo that can be read; fetch it again$"):
            read_photo(path)

    @pytest.mark.parametrize("dtype", [np.float32, np.int32])
    def test_a_tiff_with_more_bits_than_photos_have_is_called_so(self, tmp_path: Path, dtype: type) -> None:
        path = tmp_path / "photo.tif"
        Image.fromarray(np.ones((4, 6), dtype)).save(path)
        with pytest.raises(InputError, match="photo.tif: has 32 bits in a pixel; photos have 8 or 16 for each colour"):
            read_photo(path)

    @pytest.mark.parametrize("length", [100, 5000, 100_000])
    def test_bytes_after_the_end_of_a_jpeg_do_no_harm(self, tmp_path: Path, length: int) -> None:
        path = save(tmp_path / "p.jpg", pixels())
        intact = read_photo(path)
        path.write_bytes(path.read_bytes() + b"\0" * length)
        assert np.array_equal(read_photo(path), intact)

    @pytest.mark.parametrize("shrink", [1, 2, 8])
    @pytest.mark.parametrize("progressive", [False, True])
    def test_a_jpeg_whose_middle_was_lost_is_refused(self, tmp_path: Path, shrink: int, progressive: bool) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
        path = save(tmp_path / "p.jpg", noise, progressive=progressive)
        content = bytearray(path.read_bytes())
        middle = len(content) // 2
        content[middle : middle + 300] = bytes(300)
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"p\.jpg: not a photo .*; fetch it again \(Corrupt JPEG data"):
            read_photo(path, shrink)

    @pytest.mark.parametrize("shrink", [1, 2, 4, 8])
    @pytest.mark.parametrize(
        "options",
        [
            {"quality": 95, "subsampling": 0},
            {"quality": 60, "subsampling": 1},
            {"subsampling": 2, "progressive": True},
            {"restart_marker_blocks": 3},
            {"keep_rgb": True},
        ],
    )
    @pytest.mark.parametrize("size", [(45, 70), (64, 96), (33, 17)])
    def test_a_jpeg_has_the_same_bits_as_from_opencv(
        self, tmp_path: Path, size: tuple[int, int], options: dict[str, object], shrink: int
    ) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
        path = save(tmp_path / "p.jpg", noise, **options)
        reduced = {1: 0, 2: cv2.IMREAD_REDUCED_GRAYSCALE_2, 4: cv2.IMREAD_REDUCED_GRAYSCALE_4}
        flag = reduced.get(shrink, cv2.IMREAD_REDUCED_GRAYSCALE_8)
        expected = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR_RGB | flag)
        assert np.array_equal(read_photo(path, shrink), expected)

    @pytest.mark.parametrize("mode", ["L", "CMYK"])
    def test_a_jpeg_in_grey_or_for_printing_is_read_as_opencv_reads_it(self, tmp_path: Path, mode: str) -> None:
        with Image.fromarray(pixels()).convert(mode) as image:
            image.save(tmp_path / "p.jpg")
        expected = cv2.imdecode(np.fromfile(tmp_path / "p.jpg", np.uint8), cv2.IMREAD_COLOR_RGB)
        assert np.array_equal(read_photo(tmp_path / "p.jpg"), expected)

    @pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"\xff\xd8\xff\xe0"])
    def test_what_is_no_photo_is_refused(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "p.jpg").write_bytes(content)
        with pytest.raises(InputError, match=r"p\.jpg: not a photo that can be read"):
            read_photo(tmp_path / "p.jpg")

    @pytest.mark.parametrize("side", [60_000, 2_000_000])
    def test_a_header_with_sides_that_cannot_be_is_refused(self, tmp_path: Path, side: int) -> None:
        path = save(tmp_path / "p.bmp", pixels())
        content = bytearray(path.read_bytes())
        content[18:26] = side.to_bytes(4, "little") * 2  # width and height
        path.write_bytes(content)
        with pytest.raises(InputError, match=rf"{re.escape(str(path))}: not an image that can be read \("):
            images.image_size(path)
        with pytest.raises(InputError, match=r"p\.bmp: not a photo that can be read"):
            read_photo(path)

    def test_another_format_under_a_jpegs_name_shrinks_by_averages(self, tmp_path: Path) -> None:
        even = pixels()[:44]
        save(tmp_path / "p.png", even).rename(tmp_path / "p.jpg")
        expected = even.astype(float).reshape(22, 2, 35, 2, 3).mean(axis=(1, 3))
        assert np.abs(read_photo(tmp_path / "p.jpg", 2) - expected).max() <= 0.5

    def test_a_missing_photo_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"p\.jpg: cannot be read \(No such file or directory\)"):
            read_photo(tmp_path / "p.jpg")


READERS = [read_photo, read_mask, read_gray, read_notes, images.image_size]


class TestWhatIsOpened:
    @pytest.mark.parametrize("read", READERS)
    def test_only_formats_of_photos_and_masks_are_decoded_whatever_the_name(
        self, tmp_path: Path, read: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        started = []
        monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: started.append("gs"))
        postscript = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
        (tmp_path / "x.png").write_text(postscript)
        with pytest.raises(InputError, match=r"x\.png: not an? \w+ that can be read"):
            read(tmp_path / "x.png")
        assert started == []

    @pytest.mark.parametrize("read", READERS)
    def test_a_named_pipe_and_a_device_are_refused_instead_of_waited_for(
        self, tmp_path: Path, read: Callable[[Path], object]
    ) -> None:
        os.mkfifo(tmp_path / "pipe.png")
        (tmp_path / "zero.png").symlink_to("/dev/zero")
        for name in ("pipe.png", "zero.png"):
            with pytest.raises(InputError, match=rf"{name}: not a regular file"):
                read(tmp_path / name)

    @pytest.mark.parametrize("read", READERS)
    def test_a_file_that_is_too_large_to_be_a_photo_is_refused_unread(
        self, tmp_path: Path, read: Callable[[Path], object]
    ) -> None:
        with (tmp_path / "x.png").open("wb") as file:
            file.truncate(images.MOST_BYTES + 1)  # a hole: takes no room on the disk
        with pytest.raises(InputError, match=r"x\.png: has 1,073,741,825 bytes; such a file has at most"):
            read(tmp_path / "x.png")

    @pytest.mark.parametrize("read", READERS)
    def test_a_name_that_no_file_can_have_is_refused(self, read: Callable[[Path], object]) -> None:
        with pytest.raises(InputError, match="null"):
            read(Path("a\0.png"))


def chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)


class TestNotesOfAPng:
    """What libpng, in OpenCV, has to say of a file, it prints on the terminal."""

    @pytest.fixture
    def png(self) -> bytes:
        file = io.BytesIO()
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 9, 3), np.uint8)).save(file, "PNG")
        return file.getvalue()

    def test_texts_in_a_png_reach_no_terminal(self, png: bytes, tmp_path: Path, capfd: Any) -> None:
        """The name of a colour profile that does not fit, which commands a terminal."""
        profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
        profile[16:20] = b"GRAY"
        named = chunk(b"iCCP", b"\x1b]0;title\x07\x1b[2J\0\0" + zlib.compress(bytes(profile)))
        (tmp_path / "a.png").write_bytes(png[:33] + named + png[33:])
        (tmp_path / "b.png").write_bytes(png)
        assert np.array_equal(read_photo(tmp_path / "a.png"), read_photo(tmp_path / "b.png"))
        assert capfd.readouterr() == ("", "")

    def test_the_pixels_of_a_png_are_those_that_pillow_finds_whatever_else_is_in_it(self, tmp_path: Path) -> None:
        values = np.random.default_rng(1).integers(0, 256, (8, 9, 3), np.uint8)
        for mode in ("L", "P", "RGB", "RGBA", "LA"):
            image = Image.fromarray(values).convert(mode)
            options = {"transparency": 3} if mode == "P" else {}
            image.save(tmp_path / "a.png", dpi=(72, 72), exif=Image.Exif().tobytes(), **options)
            assert np.array_equal(read_photo(tmp_path / "a.png"), np.asarray(image.convert("RGB"))), mode

    @pytest.mark.parametrize("kept", [20, 60, -20, -6])
    def test_a_png_that_is_cut_off_is_refused_as_before(self, png: bytes, kept: int, tmp_path: Path) -> None:
        (tmp_path / "a.png").write_bytes(png[:kept])
        with pytest.raises(InputError, match=r"a\.png: not a photo that can be read"):
            read_photo(tmp_path / "a.png")


def waves(shift: int = 0) -> NDArray[np.uint8]:
    """A smooth photo of 128x192, each colour with waves of its own; may be shifted to the right."""
    rows, columns = np.indices((128, 192))
    columns = columns - shift
    colours = [np.sin(rows / 36 + columns / 28), np.cos(rows / 44 - columns / 32), np.sin(columns / 40 - rows / 52)]
    return (127 + 100 * np.stack(colours, axis=-1)).round().astype(np.uint8)


class TestShrinking:
    @pytest.mark.parametrize(
        ("own", "wanted", "shrink"),
        [
            ((1280, 1920), (160, 240), 8),
            ((1280, 1920), (100, 100), 8),
            ((1280, 1920), (161, 240), 4),  # an eighth of the height would be too little
            ((1280, 1920), (160, 241), 4),
            ((1280, 1920), (320, 480), 4),
            ((1280, 1920), (512, 768), 2),
            ((1280, 1920), (640, 961), 1),
            ((1280, 1920), (1280, 1920), 1),
            ((1280, 1920), (2560, 3840), 1),
            ((1280, 1918), (160, 239), 2),  # 1918 can be halved only once
            ((1280, 1918), (640, 959), 2),
            ((1280, 1918), (640, 960), 1),
            ((1284, 1920), (160, 240), 4),
            ((1280, 1917), (160, 239), 1),
            ((1279, 1920), (159, 240), 1),
        ],
    )
    def test_the_decoder_shrinks_as_far_as_both_sides_divide_and_stay_large_enough(
        self, own: tuple[int, int], wanted: tuple[int, int], shrink: int
    ) -> None:
        assert shrink_for(Path("p.jpg"), own, wanted) == shrink

    @pytest.mark.parametrize(
        ("name", "shrink"), [("p.jpg", 4), ("p.JPG", 4), ("p.jpeg", 4), ("p.png", 1), ("p.tif", 1), ("jpg", 1)]
    )
    def test_only_the_decoder_of_jpegs_shrinks(self, name: str, shrink: int) -> None:
        assert shrink_for(Path(name), (64, 96), (16, 24)) == shrink

    @pytest.mark.parametrize("shrink", [1, 2, 4, 8])
    def test_a_shrunken_photo_is_a_whole_part_in_size(self, tmp_path: Path, shrink: int) -> None:
        photo = read_photo(save(tmp_path / "p.jpg", waves()), shrink)
        assert photo.shape == (128 // shrink, 192 // shrink, 3)
        assert photo.dtype == np.uint8

    @pytest.mark.parametrize("size", [(64, 96), (60, 90), (32, 48), (30, 40), (16, 24), (16, 20), (9, 13)])
    def test_a_photo_shrunken_by_the_decoder_looks_like_one_that_was_decoded_whole(
        self, tmp_path: Path, size: tuple[int, int]
    ) -> None:
        path = save(tmp_path / "p.jpg", waves(), quality=95)
        shrink = shrink_for(path, (128, 192), size)
        assert shrink > 1
        wanted = resize(read_photo(path), size).astype(float)
        shifted = resize(read_photo(save(tmp_path / "shifted.jpg", waves(1), quality=95)), size)
        assert np.abs(resize(read_photo(path, shrink), size) - wanted).mean() < 1
        assert np.abs(shifted - wanted).mean() > 1.5

    @pytest.mark.parametrize("shrink", [1, 2, 4, 8])
    def test_a_shrunken_photo_is_read_as_red_green_blue(self, tmp_path: Path, shrink: int) -> None:
        flat = np.full((32, 48, 3), (200, 120, 40), dtype=np.uint8)
        photo = read_photo(save(tmp_path / "p.jpg", flat, quality=95), shrink)
        assert np.abs(photo.astype(int) - (200, 120, 40)).max() <= 2

    def test_a_rotation_noted_in_a_photo_is_ignored_also_when_the_decoder_shrinks_it(self, tmp_path: Path) -> None:
        orientation = Image.Exif()
        orientation[0x0112] = 6  # to be shown turned by 90 degrees
        plain = save(tmp_path / "plain.jpg", waves())
        turned = save(tmp_path / "turned.jpg", waves(), exif=orientation)
        assert np.array_equal(read_photo(turned, 4), read_photo(plain, 4))

    @pytest.mark.parametrize("shrink", [2, 4, 8])
    def test_a_jpeg_that_is_cut_off_is_refused_also_when_the_decoder_shrinks_it(
        self, tmp_path: Path, shrink: int
    ) -> None:
        path = cut_in_half(save(tmp_path / "p.jpg", waves()))
        with pytest.raises(InputError, match=r"p\.jpg: not a photo that can be read; fetch it again"):
            read_photo(path, shrink)


class TestWritingPhotos:
    def test_a_photo_comes_back_nearly_as_it_was(self, tmp_path: Path) -> None:
        write_photo(tmp_path / "overlays" / "p.jpg", waves())
        with Image.open(tmp_path / "overlays" / "p.jpg") as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (192, 128))
        assert np.abs(read_photo(tmp_path / "overlays" / "p.jpg").astype(int) - waves()).mean() < 2
        assert [path.name for path in (tmp_path / "overlays").iterdir()] == ["p.jpg"]


class TestMasks:
    @pytest.mark.parametrize("level", [1, 2, 127, 255])
    def test_every_pixel_above_0_of_a_palette_is_foreground(self, tmp_path: Path, level: int) -> None:
        with Image.fromarray(mask().astype(np.uint8)) as image:
            image.putpalette([0, 0, 0, level, level, level])
            image.save(tmp_path / "m.gif")
        assert np.array_equal(read_mask(tmp_path / "m.gif"), mask())

    @pytest.mark.parametrize("level", [1, 255, 256, 65535])
    def test_every_pixel_above_0_of_16_bits_is_foreground(self, tmp_path: Path, level: int) -> None:
        path = save(tmp_path / "m.png", mask().astype(np.uint16) * np.uint16(level))
        assert np.array_equal(read_mask(path), mask())

    @pytest.mark.parametrize("level", [1, 255])
    def test_every_pixel_above_0_of_grey_or_colour_is_foreground(self, tmp_path: Path, level: int) -> None:
        grey = mask().astype(np.uint8) * np.uint8(level)
        assert np.array_equal(read_mask(save(tmp_path / "grey.png", grey)), mask())
        assert np.array_equal(read_mask(save(tmp_path / "colour.png", np.dstack([grey] * 3))), mask())

    def test_a_mask_is_written_with_one_bit_a_pixel_and_read_back(self, tmp_path: Path) -> None:
        write_mask(tmp_path / "masks" / "m.png", mask())
        with Image.open(tmp_path / "masks" / "m.png") as image:
            assert (image.format, image.mode, image.size) == ("PNG", "1", (WIDTH, HEIGHT))
        header = (tmp_path / "masks" / "m.png").read_bytes()[:26]
        assert (header[24], header[25]) == (1, 0)  # bits a sample, greyscale
        again = read_mask(tmp_path / "masks" / "m.png")
        assert np.array_equal(again, mask())
        assert again.view(np.uint8).max() == 1  # Pillow's own bytes of 255 would break all arithmetic

    def test_a_viewer_shows_the_foreground_white(self, tmp_path: Path) -> None:
        write_mask(tmp_path / "m.png", mask())
        with Image.open(tmp_path / "m.png") as image:
            assert np.array_equal(np.asarray(image.convert("RGB")), np.dstack([mask().astype(np.uint8) * 255] * 3))

    @pytest.mark.parametrize("turned", [mask().T, mask()[::-1], mask()[:, ::-1], mask()[3::2, 1::3]])
    def test_a_view_of_another_mask_is_written_as_it_is_seen(self, tmp_path: Path, turned: NDArray[np.bool_]) -> None:
        write_mask(tmp_path / "m.png", turned)
        assert np.array_equal(read_mask(tmp_path / "m.png"), turned)

    @pytest.mark.parametrize("width", [1, 7, 8, 9, 16, 70])
    def test_a_packed_mask_is_written_as_the_mask_itself(self, tmp_path: Path, width: int) -> None:
        mask_HW = np.random.default_rng(width).random((5, width)) < 0.5
        write_mask(tmp_path / "mask.png", mask_HW, {"coverage": 0.5})
        write_packed_mask(tmp_path / "packed.png", np.packbits(mask_HW, axis=1), width, {"coverage": 0.5})
        assert (tmp_path / "packed.png").read_bytes() == (tmp_path / "mask.png").read_bytes()
        assert np.array_equal(read_mask(tmp_path / "packed.png"), mask_HW)

    def test_the_highest_bit_of_a_packed_mask_is_written_as_its_first_pixel(self, tmp_path: Path) -> None:
        write_packed_mask(tmp_path / "m.png", np.array([[0b10110000, 0b10000000], [0, 0b01000000]], np.uint8), 10)
        assert read_mask(tmp_path / "m.png").astype(int).tolist() == [
            [1, 0, 1, 1, 0, 0, 0, 0, 1, 0],
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        ]

    def test_notes_come_back_to_the_last_digit(self, tmp_path: Path) -> None:
        notes = {"coverage": 1 / 3, "doubtful": 1e-17, "none": 0.0}
        write_mask(tmp_path / "m.png", mask(), notes)
        assert read_notes(tmp_path / "m.png") == notes
        assert np.array_equal(read_mask(tmp_path / "m.png"), mask())

    def test_a_mask_without_notes_has_none(self, tmp_path: Path) -> None:
        write_mask(tmp_path / "m.png", mask())
        assert read_notes(tmp_path / "m.png") == {}

    def test_what_others_wrote_beside_a_mask_is_no_note(self, tmp_path: Path) -> None:
        info = PngInfo()
        info.add_text("Comment", "Created with a painting program")
        info.add_text("area", "0.25")
        Image.fromarray(mask()).save(tmp_path / "m.png", pnginfo=info)
        assert read_notes(tmp_path / "m.png") == {"area": 0.25}

    def test_writing_a_mask_leaves_no_other_file(self, tmp_path: Path) -> None:
        write_mask(tmp_path / "m.png", mask())
        write_mask(tmp_path / "m.png", ~mask())
        assert [path.name for path in tmp_path.iterdir()] == ["m.png"]
        assert np.array_equal(read_mask(tmp_path / "m.png"), ~mask())

    @pytest.mark.parametrize("suffix", ["gif", "png"])
    def test_a_mask_that_is_cut_off_is_refused(self, tmp_path: Path, suffix: str) -> None:
        path = cut_in_half(save(tmp_path / f"m.{suffix}", np.random.default_rng(0).random((200, 300)) < 0.5))
        with pytest.raises(InputError, match=rf"m\.{suffix}: not a mask that can be read"):
            read_mask(path)

    @pytest.mark.parametrize("content", [b"", b"GIF89a", b"<html>404</html>", None])
    def test_what_is_no_mask_is_refused(self, tmp_path: Path, content: bytes | None) -> None:
        if content is not None:
            (tmp_path / "m.gif").write_bytes(content)
        with pytest.raises(InputError, match=r"m\.gif: not a mask that can be read"):
            read_mask(tmp_path / "m.gif")


class TestGray:
    def test_gray_images_come_back_as_they_were(self, tmp_path: Path) -> None:
        gray_HW = np.random.default_rng(0).integers(0, 256, (7, 9), dtype=np.uint8)
        write_gray(tmp_path / "gray.png", gray_HW)
        assert np.array_equal(read_gray(tmp_path / "gray.png"), gray_HW)


class TestResizing:
    def test_shrinking_averages_the_pixels_that_fall_together(self) -> None:
        image = np.array([[0, 100, 10, 10], [100, 200, 20, 40]], np.uint8)
        assert resize(image, (1, 2)).tolist() == [[100, 20]]

    def test_shrinking_shares_out_a_pixel_that_falls_on_two(self) -> None:
        row = np.array([[30, 60, 90]], np.uint8)  # each result covers one and a half pixels
        assert resize(row, (1, 2)).tolist() == [[(30 + 60 / 2) / 1.5, (60 / 2 + 90) / 1.5]]

    def test_a_shrunken_mask_holds_the_share_of_each_pixel_that_is_covered(self) -> None:
        outline = np.zeros((4, 8), np.uint8)
        outline[:, :5] = 255
        assert resize(outline, (2, 4)).tolist() == [[255, 255, pytest.approx(127.5, abs=0.5), 0]] * 2

    def test_shrinking_averages_each_colour_by_itself(self) -> None:
        small = resize(pixels(), (9, 14))
        assert np.array_equal(small, np.random.default_rng(0).integers(0, 256, (9, 14, 3), dtype=np.uint8))

    def test_enlarging_interpolates_between_the_centres_of_pixels(self) -> None:
        assert resize(np.array([[0, 100]], np.uint8), (1, 4)).tolist() == [[0, 25, 75, 100]]

    def test_resizing_to_the_same_size_returns_the_image_itself(self) -> None:
        image = pixels()
        assert resize(image, (HEIGHT, WIDTH)) is image

    @pytest.mark.parametrize("size", [(45, 31), (13, 70), (90, 140), (20, 100)])
    def test_the_size_to_resize_to_is_height_by_width(self, size: tuple[int, int]) -> None:
        assert resize(pixels(), size).shape == (*size, 3)
        assert resize(pixels()[..., 0], size).shape == size


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "TIFF", "BMP"])
def test_an_image_of_which_the_disk_takes_only_a_part_is_an_error_and_leaves_nothing(
    tmp_path: Path, format: str
) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8))
    with mounted(tmp_path / "disk") as disk:
        disk.resize(PAGE)
        with pytest.raises(OSError, match=f"No space left on device: '{disk.path / 'image'}'"):
            save_image(disk.path / "image", noise, format)
        assert list(disk.path.iterdir()) == []
        disk.resize(100 * PAGE)
        save_image(disk.path / "image", noise, format)
        with Image.open(disk.path / "image") as image:
            assert (image.format, image.size) == (format, (120, 90))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
@pytest.mark.parametrize(
    ("values", "few"), [([0, 1], True), ([0, 200, 255], True), (range(16), True), (range(17), False)]
)
def test_masks_have_few_colours_and_photos_many(tmp_path: Path, dtype: type, values: list[int], few: bool) -> None:
    """Of 16 bits too, of which Pillow would make 255 whatever is larger."""
    step = 1 if dtype is np.uint8 else 300
    gray_HW = np.resize(np.array(values), (6, 8)).astype(dtype) * step
    Image.fromarray(gray_HW).save(tmp_path / "image.tif")
    assert has_few_colours(tmp_path / "image.tif", 16) == few


def test_an_image_that_cannot_be_read_is_neither_mask_nor_photo(tmp_path: Path) -> None:
    (tmp_path / "image.png").write_text("no image")
    with pytest.raises(InputError, match=r"image\.png: not an image that can be read"):
        has_few_colours(tmp_path / "image.png", 16)
