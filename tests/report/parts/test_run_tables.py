from dataclasses import replace

import pandas as pd
from known_competitions import CARVANA

from kaggle_tools.report.parts.run_tables import class_table


def test_each_class_has_its_mean_score_its_blank_masks_and_its_pixels() -> None:
    table = pd.DataFrame(
        [
            ("fish", 1.0, 0, 0, 0),
            ("fish", 0.5, 10, 20, 0),
            ("sugar", 0.0, 0, 0, 7),
            ("sugar", 0.8, 8, 2, 2),
        ],
        columns=["class", "score", "true_positive", "false_negative", "false_positive"],
    )
    found = class_table(table, replace(CARVANA, classes=("sugar", "fish"), class_column="class"))
    assert [column.name for column in found.columns][:5] == [
        "class",
        "masks",
        "mean Dice",
        "truly blank",
        "predicted blank",
    ]
    assert found.rows == [
        ["sugar", 2, 0.4, 1, 0, 8 / 17, 8 / 10],
        ["fish", 2, 0.75, 1, 1, 10 / 10, 10 / 30],
    ]
