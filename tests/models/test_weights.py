import json
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from trained_networks import SMALL_UNET, SMP, designed, trained, two_photos

from kaggle_tools.errors import InputError
from kaggle_tools.models import weights as weights_module
from kaggle_tools.models.segmenter import Architecture, build
from kaggle_tools.models.unet import UNet
from kaggle_tools.models.weights import CARD_FILE, WEIGHTS_FILE, ModelCard, load, read_card, save


def card_of(architecture: Architecture) -> ModelCard:
    return ModelCard(architecture, (96, 160), "roof-tiles", fold=3, tta="hflip", tta_scales=(0.75, 1.0))


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """Refuse to write more bytes than that into a file, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save(trained(SMALL_UNET), card_of(SMALL_UNET), tmp_path)
    return tmp_path


class TestSavingAndLoading:
    @pytest.mark.parametrize(
        "architecture",
        [
            SMALL_UNET,
            replace(SMALL_UNET, unshuffle=2),
            Architecture(SMP, decoder_channels=(64, 32, 16, 8, 8)),
            Architecture(SMP, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)),
            designed("smp:FPN/tu-resnet10t"),
        ],
        ids=lambda architecture: architecture.name,
    )
    @torch.inference_mode()
    def test_a_network_is_the_same_after_saving_and_loading(self, tmp_path: Path, architecture: Architecture) -> None:
        model = trained(architecture)
        save(model, card_of(architecture), tmp_path)
        loaded, card = load(tmp_path)
        assert card == card_of(architecture)
        assert not loaded.training
        assert torch.equal(loaded(two_photos()), model(two_photos()))

    def test_saved_weights_are_those_of_the_network_without_its_wrapper(self, saved: Path) -> None:
        expected = UNet(4, 2).state_dict()
        weights = load_file(saved / WEIGHTS_FILE)
        assert weights.keys() == expected.keys()
        assert all(weights[name].shape == tensor.shape for name, tensor in expected.items())

    def test_a_network_in_another_memory_format_is_saved_alike(self, saved: Path, tmp_path: Path) -> None:
        model = trained(SMALL_UNET).to(memory_format=torch.channels_last)
        save(model, card_of(SMALL_UNET), tmp_path / "other")
        assert (tmp_path / "other" / WEIGHTS_FILE).read_bytes() == (saved / WEIGHTS_FILE).read_bytes()

    def test_the_card_says_how_to_build_and_use_the_network(self, tmp_path: Path) -> None:
        architecture = Architecture(SMP, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
        save(build(architecture), card_of(architecture), tmp_path)
        assert json.loads((tmp_path / CARD_FILE).read_text()) == {
            "architecture": {
                "name": SMP,
                "width": 64,
                "depth": 4,
                "mean": [0.1, 0.2, 0.3],
                "std": [0.4, 0.5, 0.6],
                "unshuffle": 1,
                "decoder_channels": [],
            },
            "image_size": [96, 160],
            "competition": "roof-tiles",
            "fold": 3,
            "tta": "hflip",
            "tta_scales": [0.75, 1.0],
            "fit": "stretch",
        }

    def test_a_card_from_before_there_was_tta_on_it_has_none(self, saved: Path) -> None:
        fields = asdict(card_of(SMALL_UNET))
        del fields["tta"], fields["tta_scales"]
        (saved / CARD_FILE).write_text(json.dumps(fields))
        assert read_card(saved) == replace(card_of(SMALL_UNET), tta="none", tta_scales=(1.0,))

    def test_a_network_for_photos_of_their_own_size_has_no_size_on_its_card(self, saved: Path) -> None:
        card = replace(card_of(SMALL_UNET), image_size=None)
        save(trained(SMALL_UNET), card, saved)
        assert read_card(saved) == card

    def test_weights_have_the_mode_of_other_files(self, saved: Path) -> None:
        (saved / "other").touch()
        modes = {path.stat().st_mode for path in (saved / WEIGHTS_FILE, saved / CARD_FILE, saved / "other")}
        assert len(modes) == 1

    @pytest.mark.parametrize("kept", [None, "before"])
    def test_weights_that_cannot_be_written_are_named_and_those_before_them_stay(
        self, kept: str | None, tmp_path: Path
    ) -> None:
        if kept:
            (tmp_path / WEIGHTS_FILE).write_text(kept)
        with no_file_above(100), pytest.raises(OSError, match=f"File too large: '{tmp_path / WEIGHTS_FILE}'"):
            save(trained(SMALL_UNET), card_of(SMALL_UNET), tmp_path)
        assert [path.read_text() for path in tmp_path.iterdir()] == ([kept] if kept else [])

    def test_saving_leaves_nothing_but_weights_and_card(self, saved: Path) -> None:
        assert {path.name for path in saved.iterdir()} == {WEIGHTS_FILE, CARD_FILE}


class TestDamage:
    def refusal(self, folder: Path) -> str:
        with pytest.raises(InputError) as refusal:
            load(folder)
        return str(refusal.value)

    def edit_card(self, folder: Path, **fields: Any) -> None:
        (folder / CARD_FILE).write_text(json.dumps(asdict(card_of(SMALL_UNET)) | fields))

    def test_the_network_of_another_fold_is_refused_where_one_is_asked_for(self, saved: Path) -> None:
        own = card_of(SMALL_UNET).fold
        assert load(saved, own)[1].fold == own
        with pytest.raises(InputError, match=f"{saved}: holds the network of fold {own}; put back that of fold 7$"):
            load(saved, 7)

    def test_weights_that_are_a_named_pipe_are_refused_instead_of_waited_for(self, saved: Path) -> None:
        (saved / WEIGHTS_FILE).unlink()
        os.mkfifo(saved / WEIGHTS_FILE)
        assert self.refusal(saved) == f"{saved / WEIGHTS_FILE}: not a regular file"

    def test_a_missing_card_is_refused(self, saved: Path) -> None:
        (saved / CARD_FILE).unlink()
        assert self.refusal(saved) == (
            f"{saved / CARD_FILE}: missing; is {saved} a fold of a run that `train` has finished?"
        )

    @pytest.mark.parametrize("text", ["", "{", "[]", "null"])
    def test_a_damaged_card_is_refused(self, saved: Path, text: str) -> None:
        (saved / CARD_FILE).write_text(text)
        assert f"{saved / CARD_FILE}: damaged" in self.refusal(saved)

    @pytest.mark.parametrize("text", ["{}", '{"architecture": {}}', '{"architecture": 3}'])
    def test_json_that_is_no_model_card_is_refused(self, saved: Path, text: str) -> None:
        (saved / CARD_FILE).write_text(text)
        assert f"{saved / CARD_FILE}: not a model card of this version" in self.refusal(saved)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"tta": "sideways"},
            {"tta_scales": []},
            {"tta_scales": [1, 0]},
            {"tta_scales": [1000.0]},
            {"tta_scales": [1.0] * 1000},
            {"tta_scales": ["1"]},
            {"image_size": [60000, 60000]},
            {"image_size": [8192, 8192]},
            {"image_size": [4096, 4096], "tta_scales": [1.5]},
            {"image_size": [96]},
            {"image_size": [96.5, 160]},
            {"image_size": "96x160"},
            {"competition": 3},
            {"fold": "3"},
            {"fold": None},
        ],
        ids=str,
    )
    def test_a_card_with_an_impossible_value_is_refused(self, saved: Path, wrong: dict[str, Any]) -> None:
        self.edit_card(saved, **wrong)
        assert f"{saved / CARD_FILE}: not a model card of this version (" in self.refusal(saved)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"width": 1e30},
            {"depth": 10**30},
            {"depth": 30},
            {"width": 100_000},
            {"width": True},
            {"name": None},
            {"mean": [0.1, 0.2]},
            {"mean": [0.1, 0.2, "0.3"]},
            {"std": [1.0, 0.0, 1.0]},
            {"mean": [10**400, 0.0, 0.0]},
            {"mean": []},
            {"std": [1.0, 1.0, float("nan")]},
        ],
        ids=str,
    )
    def test_a_card_with_an_impossible_architecture_is_refused(self, saved: Path, wrong: dict[str, Any]) -> None:
        self.edit_card(saved, architecture=asdict(SMALL_UNET) | wrong)
        assert f"{saved / CARD_FILE}: not a model card of this version (" in self.refusal(saved)

    def test_a_network_that_is_larger_than_the_memory_is_refused_before_it_is_built(
        self, saved: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(weights_module, "memory_bytes", lambda: 100)
        with pytest.raises(InputError, match="of weights are more than this machine's 0"):
            load(saved)

    def test_a_network_much_larger_than_its_file_is_refused_before_it_is_built(
        self, saved: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("kaggle_tools.models.weights.build", lambda _: pytest.fail("memory was asked for"))
        self.edit_card(saved, architecture=asdict(SMALL_UNET) | {"width": 1024, "depth": 10})
        said = self.refusal(saved)
        assert said == (
            f"{saved / WEIGHTS_FILE}: cannot be loaded as the {CARD_FILE} beside it says "
            "(down.0.1.0.weight has the shape (8, 4, 3, 3), not (2048, 1024, 3, 3))"
        )

    def test_an_encoder_that_is_not_listed_is_refused_with_the_name_of_the_card(self, saved: Path) -> None:
        self.edit_card(saved, architecture=asdict(SMALL_UNET) | {"name": "smp:Unet/tu-hf-hub:timm/resnet18"})
        said = self.refusal(saved)
        assert said.startswith(f"{saved / CARD_FILE}: --model smp:Unet/tu-hf-hub:timm/resnet18: no encoder")

    def test_a_card_of_another_version_is_refused(self, saved: Path) -> None:
        self.edit_card(saved, tricks=3)
        assert f"{saved / CARD_FILE}: not a model card of this version" in self.refusal(saved)

    def test_a_card_with_an_unknown_network_is_refused(self, saved: Path) -> None:
        self.edit_card(saved, architecture={"name": "unet3"})
        assert "must be `unet` or `smp:ARCHITECTURE/ENCODER`" in self.refusal(saved)

    @pytest.mark.parametrize("field", [{"width": 0}, {"depth": "deep"}, {"mean": [0.5]}, {"std": None}])
    def test_a_card_with_an_impossible_network_is_refused(self, saved: Path, field: dict[str, Any]) -> None:
        self.edit_card(saved, architecture=asdict(SMALL_UNET) | field)
        assert str(saved) in self.refusal(saved)

    def test_weights_of_another_network_are_refused(self, saved: Path) -> None:
        self.edit_card(saved, architecture=asdict(replace(SMALL_UNET, width=8)))
        assert f"{saved / WEIGHTS_FILE}: cannot be loaded as the {CARD_FILE} beside it says" in self.refusal(saved)

    def test_missing_weights_are_refused(self, saved: Path) -> None:
        (saved / WEIGHTS_FILE).unlink()
        assert f"{saved / WEIGHTS_FILE}: cannot be loaded" in self.refusal(saved)

    @pytest.mark.parametrize("keep", [0, 7, 1000, -1])
    def test_weights_that_are_cut_off_are_refused(self, saved: Path, keep: int) -> None:
        content = (saved / WEIGHTS_FILE).read_bytes()
        (saved / WEIGHTS_FILE).write_bytes(content[:keep])
        assert f"{saved / WEIGHTS_FILE}: cannot be loaded" in self.refusal(saved)

    def test_weights_without_one_of_the_tensors_are_refused(self, saved: Path) -> None:
        weights = load_file(saved / WEIGHTS_FILE)
        del weights["head.bias"]
        save_file(weights, saved / WEIGHTS_FILE)
        assert f"{saved / WEIGHTS_FILE}: cannot be loaded" in self.refusal(saved)
