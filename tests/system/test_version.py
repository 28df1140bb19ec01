import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kaggle_tools.system import version
from kaggle_tools.system.version import RECORDED_PACKAGES, commit, installed_versions

SAY_COMMIT = "from kaggle_tools.system.version import commit; print(commit())"


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    done = subprocess.run(["git", "-C", folder, *identity, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with nothing but the module in its package."""
    package = tmp_path / "kaggle_tools" / "system"
    package.mkdir(parents=True)
    for folder in (package.parent, package):
        (folder / "__init__.py").touch()
    shutil.copy(version.__file__, package / "version.py")
    return tmp_path


def commit_said_in(folder: Path) -> str:
    command = [sys.executable, "-B", "-c", SAY_COMMIT]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def test_the_commit_of_a_clean_checkout_is_that_of_git(checkout: Path) -> None:
    git(checkout, "init", "-q")
    git(checkout, "add", ".")
    git(checkout, "commit", "-qm", "first")
    assert commit_said_in(checkout) == git(checkout, "rev-parse", "HEAD")


def test_the_commit_is_marked_where_a_file_differs(checkout: Path) -> None:
    git(checkout, "init", "-q")
    git(checkout, "add", ".")
    git(checkout, "commit", "-qm", "first")
    (checkout / "kaggle_tools" / "__init__.py").write_text("changed = True\n")
    assert commit_said_in(checkout) == git(checkout, "rev-parse", "HEAD") + "-dirty"


def test_a_repository_around_an_installed_package_is_not_its_commit(checkout: Path, tmp_path: Path) -> None:
    site_packages = tmp_path / "project" / ".venv" / "site-packages"
    site_packages.mkdir(parents=True)
    shutil.move(checkout / "kaggle_tools", site_packages)
    git(tmp_path / "project", "init", "-q")
    git(tmp_path / "project", "commit", "-qm", "of another project", "--allow-empty")
    assert commit_said_in(site_packages) == "None"


def test_outside_of_any_repository_there_is_no_commit(checkout: Path) -> None:
    assert commit_said_in(checkout) == "None"


def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert commit() is None


def test_versions_are_those_of_python_and_of_every_recorded_package() -> None:
    versions = installed_versions()
    assert list(versions) == ["python", *RECORDED_PACKAGES]
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))
