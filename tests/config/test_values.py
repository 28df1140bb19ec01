import pytest

from kaggle_tools.config.values import channels_as_text, early_sizes_as_text, parse_channels, parse_early_sizes
from kaggle_tools.errors import InputError


@pytest.mark.parametrize(
    ("text", "sizes"),
    [("256x384:4", ((256, 384, 4),)), ("64x96:1,128X192:10", ((64, 96, 1), (128, 192, 10))), ("none", ())],
)
def test_early_sizes_are_read_from_the_text_that_is_written_for_them(
    text: str, sizes: tuple[tuple[int, int, int], ...]
) -> None:
    assert parse_early_sizes("--early-sizes", text) == sizes
    assert early_sizes_as_text(sizes) == text.lower()


@pytest.mark.parametrize("text", ["256", "256x384", "256x384:", "256x384:0", "256x384:x", "256x384:4,", "256:4"])
def test_early_sizes_of_another_form_are_refused_with_an_example(text: str) -> None:
    message = f"^--early-sizes {text}: must be sizes in pixels with their numbers of epochs, as 256x384:4,512x768:2$"
    with pytest.raises(InputError, match=message):
        parse_early_sizes("--early-sizes", text)


def test_channels_are_whole_numbers_or_those_of_the_library() -> None:
    assert parse_channels("--decoder-channels", "64,32,16") == (64, 32, 16)
    assert parse_channels("--decoder-channels", "default") == ()
    assert (channels_as_text((64, 32, 16)), channels_as_text(())) == ("64,32,16", "default")


@pytest.mark.parametrize("text", ["", "64,", "64;32", "1.5", "0", "none"])
def test_channels_of_another_form_are_refused_with_an_example(text: str) -> None:
    message = f"^--decoder-channels {text}: must be whole numbers with commas between them, as 128,64,32$"
    with pytest.raises(InputError, match=message):
        parse_channels("--decoder-channels", text)
