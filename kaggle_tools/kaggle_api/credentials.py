"""The credentials for Kaggle: where they are, whether they can be sent, and how they are kept out of every text.

The `kaggle` package looks for them while it is imported, takes whatever it finds, and quotes it in what it raises.
So they are read here first, in the order in which the package looks. Imports neither the package nor another module
of ours.
"""

import base64
import codecs
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

NONE_FOUND = (
    "no valid Kaggle credentials on this machine. At https://www.kaggle.com/settings, under API, make a token; then "
    "either save the file kaggle.json in the folder .kaggle of your home folder, or put the token into the "
    "environment variable KAGGLE_API_TOKEN"
)
REMEDY = "Save it anew, as plain text in one line; a new one is made at https://www.kaggle.com/settings"

LONGEST = 255
"""Characters of a token: the package first asks whether there is a file of this name, and longer names are an error."""
LARGEST = 1 << 16
"""Bytes that are read of a file."""
TOKEN = re.compile(r"[\w.~+/-]+=*", re.ASCII)
"""What can stand in a header (RFC 6750, section 2.1)."""


MARKED = "begins with a byte order mark"


class CredentialsError(Exception):
    """What is wrong with the credentials, where they are, and what to do. It never quotes them."""


class NoneFoundError(CredentialsError):
    """There are none where the package looks for them."""


class Credentials(NamedTuple):
    """What the package will use."""

    source: str
    """The file or the variable that holds it."""
    secrets: tuple[str, ...]
    """What must not be shown."""


def find(environment: Mapping[str, str]) -> Credentials:
    """The credentials that the package will use: a token, a key, or those of its own login in a browser.

    Raises:
        CredentialsError: there are none, or those that the package would take cannot be sent.
    """
    found = _token(environment) or _key(environment) or _login()
    if found:
        return found
    path = config_folder(environment) / "kaggle.json"
    raise NoneFoundError(f"{NONE_FOUND}. ({path} gives no user name and key.)" if path.exists() else NONE_FOUND)


def config_folder(environment: Mapping[str, str]) -> Path:
    """Where the package looks for kaggle.json; it makes this folder where it is missing."""
    if environment.get("KAGGLE_CONFIG_DIR"):
        return Path(environment["KAGGLE_CONFIG_DIR"])
    folder = _home_file("")
    if _exists(folder) or not sys.platform.startswith("linux"):
        return folder
    return Path(environment.get("XDG_CONFIG_HOME") or folder.with_name(".config")) / "kaggle"


def without(text: str, secrets: tuple[str, ...]) -> str:
    """The text with `***` in place of the secrets."""
    forms = {form for secret in secrets for form in (secret, quote(secret, safe=""))}
    for form in sorted(forms, key=len, reverse=True):  # a secret may be a part of another one
        text = text.replace(form, "***")
    return text


def masked(text: str, secrets: tuple[str, ...]) -> str:
    """As `without`, also without whatever has the form of credentials, and without the signatures of addresses."""
    shapes = r"""(?i)\b(Bearer|Basic)\b[\s:="'%]*\S+|KGAT_[\w.~+/=%-]*"""
    return re.sub(r"\?\S+", "?…", re.sub(shapes, "***", without(text, secrets)))


def _token(environment: Mapping[str, str]) -> Credentials | None:
    for source, token in _tokens(environment):
        if token:
            return Credentials(source, (_usable(token, "token", source),))
    return None


def _tokens(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The places of a token, and what is there, in the package's order."""
    if environment.keys() >= {"KAGGLE_KERNEL_RUN_TYPE", "KAGGLE_DATA_PROXY_URL", "KAGGLE_API_V1_TOKEN"}:
        yield _named_file(environment, "KAGGLE_API_V1_TOKEN")  # in a notebook at Kaggle
    token = environment.get("KAGGLE_API_TOKEN", "")
    if token and _exists(Path(token)):
        yield _named_file(environment, "KAGGLE_API_TOKEN")
    elif token:
        yield "the variable KAGGLE_API_TOKEN", token
    else:
        for path in (_home_file("access_token"), _home_file("access_token.txt")):
            yield str(path), _text(path).strip()


def _named_file(environment: Mapping[str, str], variable: str) -> tuple[str, str]:
    path = environment[variable]
    if not _exists(Path(path)):
        return f"the variable {variable}", ""  # a message must not quote it: it may be a token that was put there
    return f"{path}, which the variable {variable} names", _text(Path(path)).strip()


def _key(environment: Mapping[str, str]) -> Credentials | None:
    """User name and key, from kaggle.json and from variables, which take precedence."""
    path = config_folder(environment) / "kaggle.json"
    variables = {name: f"KAGGLE_{name.upper()}" for name in ("username", "key", "token")}
    given = {name: environment[variable] for name, variable in variables.items() if variable in environment}
    fields = given if given.keys() >= {"username", "key"} else _json_object(path) | given
    if not fields.keys() >= {"username", "key"}:
        return None
    sources = {name: f"the variable {variables[name]}" if name in given else str(path) for name in variables}
    checked = {name: _usable(fields[name], name, sources[name]) for name in variables if name in fields}
    pair = f"{checked['username']}:{checked['key']}"
    secrets = [value for name, value in checked.items() if name != "username"]
    return Credentials(sources["key"], (*secrets, base64.b64encode(pair.encode()).decode()))


def _login() -> Credentials | None:
    """What `kaggle auth login` has saved."""
    path = _home_file("credentials.json")
    fields = _json_object(path)
    if not fields.get("refresh_token"):
        return None
    names = [name for name in ("refresh_token", "access_token") if fields.get(name)]
    return Credentials(str(path), tuple(_usable(fields[name], name, str(path)) for name in names))


def _usable(value: object, name: str, source: str) -> str:
    """The value, if it can be sent to Kaggle."""
    if problem := _problem(value):
        raise CredentialsError(f"{source}: the {name} {problem}. {REMEDY}")
    return str(value)


def _problem(value: object) -> str:
    if not isinstance(value, str):
        return "is not a text: it must stand in quotes"
    if not value.strip():
        return "is empty"
    if value.startswith("\ufeff"):
        return MARKED
    if "\n" in value.strip() or "\r" in value.strip():
        return "has several lines"
    if "\n" in value or "\r" in value:
        return "ends with a line break"
    if value.startswith("{"):
        return "is JSON, which belongs into the file kaggle.json"
    if not TOKEN.fullmatch(value):
        return "has a character that cannot be sent, such as a space, a quotation mark or an accent"
    return "is too long to be one" if len(value) > LONGEST else ""


def _json_object(path: Path) -> dict[str, Any]:
    """The JSON object of a file; empty without the file."""
    text = _text(path)
    if not text and not _exists(path):
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        bare = TOKEN.fullmatch(text.strip())
        what = "holds a bare token, which belongs into the file access_token beside it" if bare else "is not JSON"
        raise CredentialsError(f"{path}: {what}. Download it anew at https://www.kaggle.com/settings") from None
    if not isinstance(value, dict):
        raise CredentialsError(f"{path}: is not a JSON object. Download it anew at https://www.kaggle.com/settings")
    return value


def _text(path: Path) -> str:
    """The text of a file; empty without the file."""
    try:
        if not path.is_file():
            return _not_a_file(path)
        with path.open("rb") as file:
            content = file.read(LARGEST)
    except OSError as error:
        raise CredentialsError(f"{path}: cannot be read ({error.strerror})") from None
    if content.startswith(codecs.BOM_UTF8):
        raise CredentialsError(f"{path}: {MARKED}. {REMEDY}")
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in content:
        raise CredentialsError(f"{path}: is UTF-16. {REMEDY}")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise CredentialsError(f"{path}: is not UTF-8. {REMEDY}") from None


def _not_a_file(path: Path) -> str:
    if _exists(path):
        raise CredentialsError(f"{path}: is {'a folder' if path.is_dir() else 'no regular file'}. {REMEDY}")
    return ""


def _exists(path: Path) -> bool:
    return os.path.exists(path)  # noqa: PTH110 (`path.exists()` raises where a folder on the way cannot be read)


def _home_file(name: str) -> Path:
    """A file in the folder .kaggle of the home folder, or the folder itself."""
    return Path(os.path.expanduser("~")) / ".kaggle" / name  # noqa: PTH111 (`Path.home()` raises without a home)
