from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from known_networks import (
    CPU,
    UNFLIPPED,
    Constant,
    RampNet,
    batch_through,
    bilinear,
    card_of,
    flipped_mean,
    member,
    mix_of,
    noise,
    probability,
    ramp_probabilities,
    unet,
)
from torch import Tensor, nn

from kaggle_tools.data.images import resize
from kaggle_tools.data.loading.fitting import InputSize
from kaggle_tools.errors import InputError
from kaggle_tools.inference.ensemble import Ensemble, Member, choose_tta, load_members
from kaggle_tools.models.segmenter import Architecture, build
from kaggle_tools.models.weights import save
from kaggle_tools.results import run_folder


class TestEnsembles:
    def test_each_input_size_is_listed_once(self) -> None:
        members = [member(RampNet(), size) for size in ((40, 56), None, (40, 56))]
        assert Ensemble(members, CPU, tta="none", scales=(1, 0.5)).input_sizes == [
            InputSize((40, 56), 1),
            InputSize((40, 56), 0.5),
            InputSize(None, 1),
            InputSize(None, 0.5),
        ]

    def test_probabilities_of_networks_are_averaged_not_their_logits(self) -> None:
        found = probability([member(Constant(4)), member(Constant(-2))], noise((4, 6)))
        assert found == pytest.approx(0.5506084)

    def test_every_network_counts_once_whatever_its_size(self) -> None:
        members = [member(Constant(4), (32, 32)), member(Constant(0), (16, 16)), member(Constant(4), (32, 32))]
        found = probability(members, noise((16, 20)), "flips")
        assert found == pytest.approx((0.9820138 + 0.5 + 0.9820138) / 3)

    def test_each_network_sees_the_photo_at_its_own_size(self) -> None:
        sizes = [(40, 56), None, (64, 96)]
        members = [member(RampNet(), size, multiple=32) for size in sizes]
        found = probability(members, noise((127, 191)), "hflip")
        expected = [
            bilinear(flipped_mean(ramp_probabilities, resize(noise((127, 191)), size), "hflip"), (127, 191))
            for size in [(40, 56), (127, 191), (64, 96)]
        ]
        assert np.allclose(found, np.mean(expected, axis=0), atol=1e-5)

    def test_each_network_has_the_weight_that_is_given_to_it(self) -> None:
        members = [member(Constant(4), weight=5), member(Constant(-2), weight=2), member(Constant(0), weight=3)]
        found = probability(members, noise((4, 6)))
        assert found == pytest.approx(0.5 * 0.9820138 + 0.2 * 0.1192029 + 0.3 * 0.5)

    def test_an_ensemble_prepares_no_gradient(self) -> None:
        found = mix_of([member(nn.Conv2d(3, 1, 1))], noise((8, 8)), tta="flips")
        assert not found.probability_BCHW.requires_grad

    def test_each_network_is_compiled_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        compiled: list[nn.Module] = []
        monkeypatch.setattr(nn.Module, "compile", lambda model: compiled.append(model))
        members = [member(RampNet()), member(Constant(0))]
        Ensemble(members, CPU, tta="none").compile()
        assert compiled == [member.model for member in members]


class Brighter(nn.Module):
    """Foreground, with the probability 0.9820138, is what is redder than a threshold; the rest has 0.0179862."""

    def __init__(self, threshold: int) -> None:
        super().__init__()
        self.threshold = threshold

    def forward(self, images_BCHW: Tensor) -> Tensor:
        return torch.where(images_BCHW[:, :1] * 255 > self.threshold, 4.0, -4.0)


class TestVotes:
    def test_each_network_has_one_vote_whatever_its_weight(self) -> None:
        photo = np.zeros((1, 5, 3), dtype=np.uint8)
        photo[0, :, 0] = [0, 60, 120, 180, 240]
        members = [member(Brighter(30), weight=7), member(Brighter(90)), member(Brighter(200), weight=0.5)]
        votes = mix_of(members, photo).votes_BCHW
        assert votes.dtype == torch.uint8
        assert votes.tolist() == [[[[0, 1, 2, 2, 3]]]]

    def test_a_network_votes_for_pixels_that_reach_the_threshold(self) -> None:
        members = [member(Constant(logit)) for logit in (-1.0, 0.0, 2.0, 3.0)]  # 0.269, 0.5, 0.881 and 0.953
        counted = {
            cut: mix_of(members, noise((1, 2)), threshold=cut).votes_BCHW.tolist()[0][0][0] for cut in (0.2, 0.5, 0.9)
        }
        assert counted == {0.2: [4, 4], 0.5: [3, 3], 0.9: [1, 1]}

    def test_votes_for_a_class_are_counted_from_its_own_threshold_on(self) -> None:
        class TwoClasses(nn.Module):
            def forward(self, images_BCHW: Tensor) -> Tensor:
                return torch.zeros_like(images_BCHW[:, :2])  # 0.5 for both

        votes = mix_of([member(TwoClasses())], noise((1, 2)), class_thresholds=[0.4, 0.6]).votes_BCHW
        assert votes.tolist() == [[[[1, 1]], [[0, 0]]]]

    def test_a_vote_is_of_the_mean_over_flips(self) -> None:
        class LeftPixel(nn.Module):
            def forward(self, images_BCHW: Tensor) -> Tensor:
                logits = torch.full_like(images_BCHW[:, :1], -4)
                logits[..., 0] = 4
                return logits

        # Turned back, the left of the other flip is the right: both have the mean (0.9820138 + 0.0179862) / 2.
        photo = noise((1, 3))
        votes = {cut: mix_of([member(LeftPixel())], photo, tta="hflip", threshold=cut)[1] for cut in (0.49, 0.51)}
        assert votes[0.49].tolist() == [[[[1, 0, 1]]]]
        assert votes[0.51].tolist() == [[[[0, 0, 0]]]]


class TestOneNetworkAtATime:
    """From the CPU to the CPU nothing is copied; here it is, as to any other device."""

    @pytest.fixture
    def members(self) -> list[Member]:
        return [unet(seed, size) for seed, size in enumerate(((16, 24), None, (16, 24)))]

    @pytest.fixture
    def copying(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        plain = Tensor.to

        def to(self: Tensor, *target: Any, **options: Any) -> Tensor:
            moved = plain(self, *target, **options)
            return moved.clone() if target == (CPU,) else moved

        monkeypatch.setattr(Tensor, "to", to)
        return

    def tensors(self, member: Member) -> list[Tensor]:
        return [*member.model.parameters(), *member.model.buffers()]

    def homes(self, member: Member) -> list[int]:
        return [tensor.data_ptr() for tensor in self.tensors(member)]

    def moved(self, member: Member, home: list[int]) -> str:
        """How many of a network's parameters and buffers are elsewhere."""
        stayed = set(self.homes(member)) & set(home)
        return "all" if not stayed else "none" if stayed == set(home) else "some"

    @pytest.mark.parametrize("tta", UNFLIPPED)
    def test_one_network_at_a_time_gives_the_same_bits_as_all_together(
        self, members: list[Member], tta: str, copying: None
    ) -> None:
        photos = [noise((31, 47), seed) for seed in range(2)]
        settings: dict[str, Any] = {"tta": tta, "scales": (0.5, 1.0)}
        together = mix_of(members, *photos, **settings)
        in_turn = mix_of(members, *photos, **settings, in_turn=True)
        assert torch.equal(in_turn.probability_BCHW, together.probability_BCHW)
        assert torch.equal(in_turn.votes_BCHW, together.votes_BCHW)

    def test_of_networks_in_turn_only_the_one_that_works_is_on_the_device(
        self, members: list[Member], copying: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        at_home = [self.homes(member) for member in members]
        seen: list[tuple[int, list[str]]] = []

        def look(module: nn.Module, _: Any) -> None:
            working = next(at for at, member in enumerate(members) if member.model is module)
            seen.append((working, [self.moved(*pair) for pair in zip(members, at_home, strict=True)]))

        for one in members:
            one.model.register_forward_pre_hook(look)
        ensemble = Ensemble(members, CPU, tta="hflip", in_turn=True)
        for _ in range(2):
            batch_through(ensemble, noise((31, 47)))
        flips = [
            *[(0, ["all", "none", "none"])] * 2,
            *[(1, ["none", "all", "none"])] * 2,
            *[(2, ["none", "none", "all"])] * 2,
        ]
        assert seen == flips * 2

    def test_after_networks_worked_in_turn_every_tensor_is_where_it_was(
        self, members: list[Member], copying: None
    ) -> None:
        before = [(self.homes(member), [tensor.clone() for tensor in self.tensors(member)]) for member in members]
        mix_of(members, noise((31, 47)), in_turn=True)
        for one, (home, values) in zip(members, before, strict=True):
            assert self.homes(one) == home
            assert all(torch.equal(*pair) for pair in zip(self.tensors(one), values, strict=True))

    def test_after_a_network_failed_every_tensor_is_where_it_was(self, members: list[Member], copying: None) -> None:
        def fail(*_: Any) -> None:
            raise torch.OutOfMemoryError("too large")

        at_home = [self.homes(member) for member in members]
        members[1].model.register_forward_pre_hook(fail)
        with pytest.raises(torch.OutOfMemoryError):
            mix_of(members, noise((31, 47)), in_turn=True)
        assert [self.homes(member) for member in members] == at_home

    def test_networks_that_all_fit_stay_on_the_device(self, members: list[Member]) -> None:
        assert not Ensemble(members, CPU, tta="none").in_turn

    def test_networks_that_do_not_all_fit_leave_the_device_and_work_in_turn(self, members: list[Member]) -> None:
        went: list[tuple[int, str]] = []

        def moving(number: int, model: nn.Module) -> Any:
            def to(device: Any) -> nn.Module:
                went.append((number, str(device)))
                if (number, str(device)) == (1, "cuda"):
                    raise torch.OutOfMemoryError("too large")
                return model

            return to

        for number, one in enumerate(members):
            one.model.to = moving(number, one.model)  # type: ignore[method-assign]
        assert Ensemble(members, torch.device("cuda"), tta="none").in_turn
        assert went == [(0, "cuda"), (1, "cuda"), (0, "cpu"), (1, "cpu"), (2, "cpu")]


class TestLoading:
    @pytest.fixture
    def runs(self, tmp_path: Path) -> list[Path]:
        """Two runs, the first of folds 0 and 2, the second of fold 2 alone.

        Their networks have the same logit everywhere: -2 and 0, and 4 in the second run.
        """
        runs = [tmp_path / "first", tmp_path / "second"]
        for run, fold, logit in ((runs[0], 0, -2.0), (runs[0], 2, 0.0), (runs[1], 2, 4.0)):
            architecture = Architecture("unet", width=2, depth=1)
            network = build(architecture)
            network.net.head.weight.data.zero_()
            network.net.head.bias.data.fill_(logit)
            card = card_of((16, 16), architecture=architecture, fold=fold)
            save(network, card, run_folder.fold_folder(run, fold))
        return runs

    def found(self, runs: list[Path], folds: list[int] | None) -> list[tuple[str, int]]:
        members = load_members(runs, folds)
        assert not any(member.model.training for member in members)
        return [(member.folder.parent.name, member.card.fold) for member in members]

    def test_all_trained_folds_of_a_run_are_loaded(self, runs: list[Path]) -> None:
        assert self.found(runs, None) == [("first", 0), ("first", 2), ("second", 2)]

    def test_folds_that_are_named_are_loaded_once_each(self, runs: list[Path]) -> None:
        assert self.found(runs, [2, 2]) == [("first", 2), ("second", 2)]
        assert self.found(runs[:1], [2, 0]) == [("first", 0), ("first", 2)]

    def test_a_fold_that_a_run_does_not_have_is_named(self, runs: list[Path]) -> None:
        with pytest.raises(InputError, match=r"second/fold0/model\.json: missing"):
            load_members(runs, [0])

    def test_a_folder_without_networks_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no trained fold in it"):
            load_members([tmp_path], None)

    def test_networks_are_loaded_into_main_memory_with_the_channels_last(self, runs: list[Path]) -> None:
        for one in load_members(runs):
            weights = [tensor for tensor in one.model.parameters() if tensor.ndim == 4]
            assert {tensor.device for tensor in chain(one.model.parameters(), one.model.buffers())} == {CPU}
            assert all(tensor.is_contiguous(memory_format=torch.channels_last) for tensor in weights)

    def test_networks_are_loaded_with_the_normalisation_done_by_their_convolutions(self, runs: list[Path]) -> None:
        for one in load_members(runs):
            assert not any(isinstance(layer, nn.BatchNorm2d) for layer in one.model.modules())

    def test_the_members_of_a_run_share_its_weight_in_the_ensemble(self, runs: list[Path]) -> None:
        assert [member.weight for member in load_members(runs, weights=[1, 2])] == [0.5, 0.5, 2]
        assert [member.weight for member in load_members(runs, [2], [1, 2])] == [1, 2]
        assert [member.weight for member in load_members(runs)] == [1, 1, 1]

    def test_a_run_of_twice_the_weight_counts_twice_however_many_folds_it_has(self, runs: list[Path]) -> None:
        found = probability(load_members(runs, weights=[1, 2]), noise((16, 20)), "hflip")
        assert found == pytest.approx((0.5 * 0.1192029 + 0.5 * 0.5 + 2 * 0.9820138) / 3)
        turned = probability(load_members(runs[::-1], weights=[1, 2]), noise((16, 20)), "hflip")
        assert turned == pytest.approx((1 * 0.9820138 + 1 * 0.1192029 + 1 * 0.5) / 3)

    def test_without_weights_each_network_counts_once(self, runs: list[Path]) -> None:
        found = probability(load_members([runs[0]]), noise((16, 20)))
        assert found == pytest.approx((0.1192029 + 0.5) / 2)
        found = probability(load_members(runs), noise((16, 20)))
        assert found == pytest.approx((0.1192029 + 0.5 + 0.9820138) / 3)


def members_with(*ttas: tuple[str, tuple[float, ...]]) -> list[Member]:
    return [Member(None, card_of(None, tta=tta, tta_scales=scales), Path("fold0")) for tta, scales in ttas]  # type: ignore[arg-type]


class TestChoiceOfTta:
    def test_without_options_the_tta_is_that_of_the_held_out_photos(self, capsys: pytest.CaptureFixture[str]) -> None:
        members = members_with(("flips", (0.75, 1.0)), ("flips", (0.75, 1.0)))
        assert choose_tta(None, None, members) == ("flips", (0.75, 1.0))
        assert choose_tta("flips", (0.75, 1.0), members) == ("flips", (0.75, 1.0))
        assert capsys.readouterr().out == ""

    @pytest.mark.parametrize(
        ("tta", "scales", "chosen"),
        [
            ("none", None, ("none", (0.75, 1.0))),
            (None, (1.25,), ("flips", (1.25,))),
            ("hflip", (1.0,), ("hflip", (1.0,))),
        ],
    )
    def test_options_decide_the_tta_and_another_than_that_of_the_held_out_photos_is_noted(
        self, tta: Any, scales: Any, chosen: tuple, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert choose_tta(tta, scales, members_with(("flips", (0.75, 1.0)))) == chosen
        assert (
            capsys.readouterr().out
            == "note: the run's score and threshold were measured with another TTA than these masks\n"
        )

    def test_of_several_processes_only_the_first_notes_another_tta(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LOCAL_RANK", "1")
        assert choose_tta("none", None, members_with(("flips", (1.0,)))) == ("none", (1.0,))
        assert capsys.readouterr().out == ""

    @pytest.mark.parametrize("other", [("none", (1.0,)), ("flips", (0.5, 1.0))])
    def test_runs_that_were_scored_with_different_tta_need_both_options(self, other: tuple) -> None:
        members = members_with(("flips", (1.0,)), other)
        for tta, scales in ((None, None), ("none", None), (None, (1.0,))):
            with pytest.raises(InputError, match="scored with different TTA; give --tta and --tta-scales$"):
                choose_tta(tta, scales, members)  # type: ignore[arg-type]
        assert choose_tta("none", (1.0, 2.0), members) == ("none", (1.0, 2.0))
