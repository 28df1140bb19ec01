import json
from dataclasses import replace
from typing import Any

import pytest
from finished_runs import network

from kaggle_tools.results.records.masks import Blended, ClassRecord, Record
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
    "precision": "bf16-mixed",
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


def test_how_masks_of_each_class_were_made_is_recorded() -> None:
    record = Record(competition="clouds", classes={"Fish": ClassRecord(0.4, 64, 0), "Sugar": ClassRecord(0.5, 0, 0)})
    recorded = json.loads(json.dumps(record.to_json()))
    assert recorded["classes"]["Fish"] == {"threshold": 0.4, "smallest_part": 64, "smallest_hole": 0}
    assert Record.from_json(recorded) == record
    assert "classes" not in Record(competition="clouds").to_json()
