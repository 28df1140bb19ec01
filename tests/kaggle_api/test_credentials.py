"""Where credentials are found, which are no good, and what of a text is struck out."""

import base64
from pathlib import Path

import pytest

from kaggle_tools.kaggle_api import credentials
from kaggle_tools.kaggle_api.credentials import CredentialsError, find, masked

TOKEN = "KGAT_5ec2e7"
KEY = '{"username": "tester", "key": "5ec2e7"}'
PAIR = base64.b64encode(b"tester:5ec2e7").decode()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with an empty folder .kaggle, which is returned."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".kaggle").mkdir()
    return tmp_path / ".kaggle"


def refusal(environment: dict[str, str] | None = None) -> str:
    with pytest.raises(CredentialsError) as caught:
        find(environment or {})
    assert "5ec2e7" not in str(caught.value)
    return str(caught.value)


def test_credentials_are_looked_for_in_the_order_of_the_kaggle_package(home: Path, tmp_path: Path) -> None:
    (home / "credentials.json").write_text('{"refresh_token": "5ec2e7r", "access_token": "5ec2e7a"}')
    assert find({}) == (str(home / "credentials.json"), ("5ec2e7r", "5ec2e7a"))
    (home / "kaggle.json").write_text(KEY)
    assert find({}) == (str(home / "kaggle.json"), ("5ec2e7", PAIR))
    (home / "access_token.txt").write_text(f"{TOKEN}\r\n")  # the package strips the ends of a file
    assert find({}) == (str(home / "access_token.txt"), (TOKEN,))
    (home / "access_token").write_text("KGAT_0")
    assert find({}) == (str(home / "access_token"), ("KGAT_0",))
    assert find({"KAGGLE_API_TOKEN": TOKEN}) == ("the variable KAGGLE_API_TOKEN", (TOKEN,))
    (tmp_path / "named").write_text("KGAT_1\n")
    source = f"{tmp_path / 'named'}, which the variable KAGGLE_API_TOKEN names"
    assert find({"KAGGLE_API_TOKEN": str(tmp_path / "named")}) == (source, ("KGAT_1",))


def test_variables_take_precedence_over_the_fields_of_kaggle_json(home: Path) -> None:
    (home / "kaggle.json").write_text(KEY.replace("tester", "another"))
    assert find({"KAGGLE_USERNAME": "tester"}) == (str(home / "kaggle.json"), ("5ec2e7", PAIR))
    (home / "kaggle.json").write_text("not needed")
    both = {"KAGGLE_USERNAME": "tester", "KAGGLE_KEY": "5ec2e7"}
    assert find(both) == ("the variable KAGGLE_KEY", ("5ec2e7", PAIR))


def test_kaggle_json_may_lie_in_another_folder(home: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "kaggle.json").write_text(KEY)
    assert find({"KAGGLE_CONFIG_DIR": str(tmp_path / "other")}).source == str(tmp_path / "other" / "kaggle.json")


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (f"{TOKEN}\n", "ends with a line break"),
        (f"{TOKEN}\r", "ends with a line break"),
        (f"{TOKEN}\r\n{TOKEN}", "has several lines"),
        (f"\ufeff{TOKEN}", "begins with a byte order mark"),
        (f"{TOKEN} ", "has a character that cannot be sent"),
        (f'"{TOKEN}"', "has a character that cannot be sent"),
        (f"Bearer {TOKEN}", "has a character that cannot be sent"),
        (f"{TOKEN}\udcff", "has a character that cannot be sent"),
        (KEY, "is JSON, which belongs into the file kaggle.json"),
        (TOKEN * 30, "is too long"),
        (" ", "is empty"),
    ],
)
@pytest.mark.parametrize("name", ["token", "key"])
def test_a_variable_with_unusable_credentials_is_named(home: Path, name: str, value: str, problem: str) -> None:
    variable = "KAGGLE_API_TOKEN" if name == "token" else "KAGGLE_KEY"
    said = refusal({"KAGGLE_USERNAME": "tester", variable: value})
    assert said.startswith(f"the variable {variable}: the {name} {problem}")
    assert "https://www.kaggle.com/settings" in said


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (f"{TOKEN}\n{TOKEN}".encode(), "the token has several lines"),
        (TOKEN.encode("utf-16"), "is UTF-16"),
        (TOKEN.encode("utf-16-le"), "is UTF-16"),
        (TOKEN.encode("utf-8-sig"), "begins with a byte order mark"),
        (b"\xe4" + TOKEN.encode(), "is not UTF-8"),
    ],
)
def test_a_file_with_an_unusable_token_is_named(home: Path, content: bytes, problem: str) -> None:
    (home / "access_token").write_bytes(content)
    assert refusal().startswith(f"{home / 'access_token'}: {problem}")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{"username": "tester", "key": 5527}', "the key is not a text: it must stand in quotes"),
        ('{"username": "tester", "key": null}', "the key is not a text"),
        ('{"username": "tester", "key": ""}', "the key is empty"),
        ('{"username": ["tester"], "key": "5ec2e7"}', "the username is not a text"),
        ('{"username": "tester", "key": "5ec2e7\\n"}', "the key ends with a line break"),
        ("KGAT_5ec2e7\n", "holds a bare token, which belongs into the file access_token"),
        ('["tester", "5ec2e7"]', "is not a JSON object"),
        ('"5ec2e7"', "is not a JSON object"),
        (KEY[:-1], "is not JSON"),
        ("[" * 60_000, "is not JSON"),
        ("", "is not JSON"),
        ("\ufeff" + KEY, "begins with a byte order mark"),
    ],
)
def test_an_unusable_kaggle_json_is_named(home: Path, content: str, problem: str) -> None:
    (home / "kaggle.json").write_text(content)
    assert refusal().startswith(f"{home / 'kaggle.json'}: {problem}")


@pytest.mark.parametrize("name", ["access_token", "kaggle.json", "credentials.json"])
def test_a_folder_in_place_of_a_file_with_credentials_is_named(home: Path, name: str) -> None:
    (home / name).mkdir()
    assert refusal().startswith(f"{home / name}: is a folder")


def test_a_file_with_credentials_that_cannot_be_read_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    (home / "access_token").write_text(TOKEN)
    monkeypatch.setattr(Path, "open", refuse)
    assert refusal() == f"{home / 'access_token'}: cannot be read (Permission denied)"


def test_a_token_in_the_place_of_a_files_name_is_not_quoted(home: Path) -> None:
    notebook = {"KAGGLE_KERNEL_RUN_TYPE": "Interactive", "KAGGLE_DATA_PROXY_URL": "https://localhost"}
    assert refusal(notebook | {"KAGGLE_API_V1_TOKEN": "5ec2e7" * 100}).startswith("no valid Kaggle credentials")


def test_without_credentials_it_is_said_where_they_come_from(home: Path) -> None:
    assert refusal() == credentials.NONE_FOUND
    (home / "kaggle.json").write_text('{"username": "tester"}')
    assert refusal() == f"{credentials.NONE_FOUND}. ({home / 'kaggle.json'} gives no user name and key.)"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("token 5ec+2e7= is old", "token *** is old"),
        ("?token=5ec%2B2e7%3D&x", "?…"),
        ("at 5ec%2B2e7%3D", "at ***"),
        ("Invalid header value b'Bearer xyz.1\\n'", "Invalid header value b'***"),
        ('{"authorization": "basic eHl6"}', '{"authorization": "***'),
        ("bearer: xyz", "***"),
        ("a KGAT_0123-x, and kgat_9", "a ***, and ***"),
        ("https://storage/file?signature=abc was refused", "https://storage/file?… was refused"),
        ("forbearer of basics", "forbearer of basics"),
    ],
)
def test_secrets_and_what_has_their_form_are_struck_out(text: str, shown: str) -> None:
    assert masked(text, ("5ec+2e7=",)) == shown


def test_a_secret_within_another_one_leaves_no_rest() -> None:
    assert masked("5ec 5ec2e7", ("5ec", "5ec2e7")) == "*** ***"
