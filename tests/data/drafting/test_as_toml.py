import tomllib

from kaggle_tools.data.drafting.as_toml import as_toml
from kaggle_tools.data.drafting.conclusions import Finding


def test_each_field_stands_below_where_it_comes_from_and_is_read_as_it_was_found() -> None:
    fields = {
        "slug": Finding("roof-tiles", "guessed", "look it up"),
        "photo_size": Finding([6, 8], "seen", "all 5 photos"),
        "id_column": Finding('a "b" ü\\', "seen", "header"),
        "blank_share": Finding(0.39, "concluded", "of 500"),
        "train_table": Finding({"id_pattern": "{stem}.jpg", "id_column": 'a "b"'}, "seen", "header"),
    }
    text = as_toml(fields, "data/roofs")
    assert tomllib.loads(text) == {name: found.value for name, found in fields.items()}
    assert '# guessed: look it up\nslug = "roof-tiles"\n' in text
    assert text.startswith("# Drafted from what lies in data/roofs.")
