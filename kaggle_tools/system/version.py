"""Which version of this code is at work, and which versions of Python and the libraries."""

import importlib.metadata
import platform
import subprocess
from pathlib import Path

RECORDED_PACKAGES = (
    "torch",
    "lightning",
    "segmentation-models-pytorch",
    "timm",
    "albumentations",
    "opencv-python-headless",
    "pillow",
    "numpy",
)
"""The libraries on whose version the result of a training may depend."""


def commit() -> str | None:
    """The commit of this code, marked where files differ from it; None where it does not lie in a checkout of its own.

    An installed package may lie in an environment inside of another repository, whose commit says nothing of it.
    """
    checkout = Path(__file__).resolve().parents[2]
    try:
        if Path(_git(checkout, "rev-parse", "--show-toplevel")).resolve() != checkout:
            return None
        return _git(checkout, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        return None


def installed_versions() -> dict[str, str | None]:
    """The version of Python and of each of `RECORDED_PACKAGES`; None where it is not installed."""
    return {"python": platform.python_version(), **{name: _version(name) for name in RECORDED_PACKAGES}}


def _git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True).stdout.strip()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
