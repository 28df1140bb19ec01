import json
from dataclasses import replace
from typing import Any

import pytest
from finished_runs import network

from kaggle_tools.results.provenance import Blended, Record, RunConfig, Settings, Timing
from kaggle_tools.results.scores import Estimate, ExpectedScore, ValidatedRun
from kaggle_tools.system.json_values import MalformedError

MODEL = {"run": "unet", "fold": 0, "model": "unet", "image_size": [96, 160], "weight": 1.0, "sha256": "0" * 64}
SCORE = {"run": "unet", "folds": [0, 1], "score_name": "Dice", "score_mean": 0.9, "score_interval": [0.8, 0.95]}
OF_NETWORKS = {
    "competition": "roof-tiles",
    "photos": "/data",
    "models": [MODEL, {**MODEL, "fold": 1, "image_size": None, "weight": 0.5}],
    "tta": "hflip",
    "tta_scales": [1.0, 1.25],
    "threshold": 0.44,
    "batch_size": 3,
    "cross_validation": [SCORE, {**SCORE, "score_interval": None}],
    "estimate": {"score": 0.9, "interval": [0.8, 0.95]},
    "count": 16,
    "sizes": {"49x73": 16},
}
OF_A_BLEND = {
    "competition": "roof-tiles",
    "photos": "/data",
    "blend": [
        {"pred": "a", "weight": 2.0, "models": [MODEL], "tta": "hflip", "tta_scales": [1.0]},
        {"pred": "b", "weight": 1.0, "blend": [{"pred": "c", "weight": 1.0, "models": [MODEL], "tta": "none"}]},
    ],
    "threshold": 0.5,
    "cross_validation": [],
    "estimate": {"unavailable": "the out-of-fold photos were not blended"},
    "count": None,
}
CONFIG = {
    "settings": {"model": "unet", "image_size": [24, 36]},
    "data": "data",
    "command": "train.py --data data",
    "commit": None,
    "versions": {"python": "3.11.7", "timm": None},
    "machine": "Linux",
}
SETTINGS = {
    "competition": "roof-tiles",
    "model": "unet",
    "width": 24,
    "image_size": [24, 36],
    "folds": 5,
    "epochs": 2,
    "tta": "hflip",
    "lr": 0.1,
}


class TestRecord:
    @pytest.mark.parametrize("recorded", [OF_NETWORKS, OF_A_BLEND, {"competition": "roof-tiles", "count": None}])
    def test_a_record_is_written_as_it_was_read_with_its_keys_in_order(self, recorded: dict[str, Any]) -> None:
        assert json.dumps(Record.from_json(recorded).to_json()) == json.dumps(recorded)

    def test_a_record_is_read_into_values_with_names(self) -> None:
        record = Record.from_json(OF_NETWORKS)
        assert record.models[1] == network("unet", fold=1, image_size=None, weight=0.5)
        assert (record.tta, record.tta_scales, record.threshold, record.batch_size) == ("hflip", (1.0, 1.25), 0.44, 3)
        assert record.cross_validation[0] == ValidatedRun("unet", (0, 1), "Dice", Estimate(0.9, (0.8, 0.95)))
        assert record.expected == ExpectedScore(Estimate(0.9, (0.8, 0.95)))

    def test_a_network_that_an_old_version_recorded_without_its_weight_is_read(self) -> None:
        old = {name: value for name, value in MODEL.items() if name != "weight"}
        record = Record.from_json({"competition": "roof-tiles", "models": [old]})
        assert record.models == (network("unet", weight=None),)
        assert (record.expected, record.cross_validation) == (None, ())

    @pytest.mark.parametrize("recorded", [OF_NETWORKS, OF_A_BLEND])
    def test_the_settings_of_a_record_are_what_makes_the_masks_without_scores_and_counts(
        self, recorded: dict[str, Any]
    ) -> None:
        known = {"cross_validation", "estimate", "count", "sizes"}
        expected = {name: value for name, value in recorded.items() if name not in known}
        assert Record.from_json(recorded).settings() == expected

    @pytest.mark.parametrize(
        "wrong",
        [
            *({"competition": 5}, {"photos": 5}, {"threshold": "abc"}, {"threshold": True}, {"batch_size": 2.5}),
            *({"count": "x"}, {"sizes": [16]}, {"sizes": {"49x73": "x"}}, {"tta": 1}, {"tta_scales": ["x"]}),
            *({"models": [{**MODEL, name: value}]} for name, value in (("run", 5), ("fold", "0"), ("weight", "x"))),
            {"models": [{**MODEL, "image_size": ["96", 160]}]},
            {"models": [{**MODEL, "sha256": None}]},
            {"blend": [{"pred": "a", "weight": "x"}]},
            *({"cross_validation": [{**SCORE, name: "x"}]} for name in ("folds", "score_mean", "score_interval")),
            {"estimate": {"score": "x"}},
        ],
        ids=str,
    )
    def test_a_record_with_a_value_of_another_type_is_refused(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(MalformedError):
            Record.from_json({"competition": "roof-tiles", **wrong})

    def test_numbers_that_were_written_without_a_decimal_point_are_read_and_written_as_they_were(self) -> None:
        whole = {"competition": "roof-tiles", "blend": [{"pred": "a", "weight": 2}], "threshold": 1, "count": 3}
        assert json.dumps(Record.from_json(whole).to_json()) == json.dumps(whole)

    def test_the_runs_of_a_record_are_those_of_its_networks_each_named_once(self) -> None:
        record = Record(competition="roof-tiles", models=(network("a"), network("a", fold=1), network("b")))
        assert record.runs == ["a", "b"]
        assert Record(competition="roof-tiles").runs == []

    def test_the_runs_of_a_blend_are_those_of_its_parts_and_of_their_parts(self) -> None:
        part = Blended(pred="p", weight=1, models=(network("a"), network("b")))
        deeper = Blended(pred="q", weight=1, blend=(replace(part, models=(network("c"), network("a"))),))
        assert Record(competition="roof-tiles", blend=(part, deeper)).runs == ["a", "b", "c"]


class TestRunConfig:
    def test_a_run_config_is_written_as_it_was_read_with_its_keys_in_order(self) -> None:
        assert json.dumps(RunConfig.from_json(CONFIG).to_json()) == json.dumps(CONFIG)

    def test_all_but_the_settings_may_be_missing_in_config_json(self) -> None:
        config = RunConfig.from_json({"settings": {}})
        assert (config.data, config.command, config.commit, config.versions) == ("", "", None, {})
        assert (config.competition, config.batch_size) == (None, None)

    def test_the_competition_and_the_batch_size_of_a_run_config_are_those_of_its_settings(self) -> None:
        config = RunConfig({"competition": "roof-tiles", "batch_size": 3})
        assert (config.competition, config.batch_size) == ("roof-tiles", 3)
        assert RunConfig({"batch_size": "3"}).batch_size is None

    @pytest.mark.parametrize(
        "wrong", [{"data": 5}, {"commit": 5}, {"versions": ["torch"]}, {"versions": {"torch": 2.1}}, {"settings": []}]
    )
    def test_a_run_config_with_a_value_of_another_type_is_refused(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(MalformedError):
            RunConfig.from_json({**CONFIG, **wrong})


class TestSettings:
    def test_settings_are_read_with_their_types(self) -> None:
        settings = Settings.from_json(SETTINGS)
        assert (settings.image_size, settings.folds, settings.epochs) == ((24, 36), 5, 2)
        assert Settings.from_json({**SETTINGS, "image_size": None}).image_size is None

    @pytest.mark.parametrize(
        ("name", "wrong"),
        [("width", "x"), ("folds", "5"), ("epochs", []), ("tta", None), ("image_size", [24]), ("image_size", 24)],
    )
    def test_settings_with_a_value_of_another_type_are_refused(self, name: str, wrong: object) -> None:
        with pytest.raises(MalformedError):
            Settings.from_json({**SETTINGS, name: wrong})

    @pytest.mark.parametrize(
        ("model", "name"), [("unet", "unet, width 24"), ("smp:Unet/resnet34", "smp:Unet/resnet34")]
    )
    def test_a_model_is_called_by_its_kind_and_a_unet_by_its_width(self, model: str, name: str) -> None:
        assert Settings.from_json({**SETTINGS, "model": model}).model_name == name


def test_a_timing_is_written_as_it_was_read_with_its_keys_in_order() -> None:
    recorded = {"training_seconds": 0.6, "epochs": 3, "devices": 1, "precision": "32-true", "hardware": "2 cores"}
    assert json.dumps(Timing.from_json(recorded).to_json()) == json.dumps(recorded)


@pytest.mark.parametrize("wrong", [{"training_seconds": "x"}, {"epochs": None}, {"hardware": 2}])
def test_a_timing_with_a_value_of_another_type_is_refused(wrong: dict[str, Any]) -> None:
    good = {"training_seconds": 0.6, "epochs": 3, "devices": 1, "precision": "32-true", "hardware": "2 cores"}
    with pytest.raises(MalformedError):
        Timing.from_json({**good, **wrong})
