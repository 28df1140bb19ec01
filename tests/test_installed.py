"""The wheel, installed into an environment of its own and used from a folder that is not the checkout.

Nothing is downloaded: the environment finds the libraries where this one has them.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest
from finished_runs import draw_photos, write_run
from packaging.requirements import Requirement

import kaggle_tools

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ["pyproject.toml", "README.md", "LICENSE", "requirements.txt", "kaggle_tools", "tests", "docs"]


def run(*command: object, cwd: Path) -> str:
    """What the command prints, without what would lead Python to the checkout; it must succeed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def pip(*arguments: object, cwd: Path) -> str:
    return run(sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments, cwd=cwd)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: what an earlier build left in the checkout would be packed with it."""
    copy, built = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy)
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", built, copy, cwd=built)
    (file,) = built.iterdir()
    return file


@pytest.fixture(scope="module")
def bin_folder(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment in which only the wheel was installed."""
    environment = tmp_path_factory.mktemp("environment")
    venv.create(environment, with_pip=False, symlinks=True)
    pip("--python", environment, "install", "--no-deps", "--no-index", wheel, cwd=environment)
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return environment / "bin"


def names_in(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def metadata_of(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_bytes(archive.read(name))


def test_the_wheel_holds_the_package_with_its_templates_and_types_and_nothing_else(wheel: Path) -> None:
    packed = {name for name in names_in(wheel) if ".dist-info/" not in name}
    package = ROOT / "kaggle_tools"
    files = {path.relative_to(ROOT).as_posix() for path in package.rglob("*") if path.is_file()}
    assert packed == {name for name in files if "__pycache__" not in name}
    assert {"kaggle_tools/py.typed", "kaggle_tools/report/templates/page.html"} <= packed


def test_the_wheel_asks_for_what_requirements_txt_lists(wheel: Path) -> None:
    lines = [line.partition("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines()]
    listed = {str(Requirement(line)) for line in lines if line}
    assert {str(Requirement(text)) for text in metadata_of(wheel).get_all("Requires-Dist", [])} == listed


@pytest.mark.parametrize(
    ("own", "count"),
    [({}, "30000"), ({"GOMP_SPINCOUNT": "5"}, "5"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_threads_that_wait_do_not_spin_for_long_where_nobody_says_so(own: dict[str, str], count: str) -> None:
    code = "import os, sys, kaggle_tools; print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)"
    kept = {name: value for name, value in os.environ.items() if name not in {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=kept | own)
    assert done.stdout.split() == [count, "False"]


def test_the_wheel_has_the_version_and_the_licence_of_the_project(wheel: Path) -> None:
    metadata = metadata_of(wheel)
    assert metadata["Version"] == kaggle_tools.__version__
    assert metadata["License-Expression"] == "MIT"
    assert any(name.endswith("/licenses/LICENSE") for name in names_in(wheel))


def test_malicious_releases_of_lightning_are_excluded(wheel: Path) -> None:
    asked = [Requirement(text) for text in metadata_of(wheel).get_all("Requires-Dist", [])]
    (lightning,) = (requirement for requirement in asked if requirement.name == "lightning")
    assert not any(version in lightning.specifier for version in ("2.6.2", "2.6.3"))
    assert "2.6.6" in lightning.specifier


def test_the_installed_command_lists_every_command(bin_folder: Path, tmp_path: Path) -> None:
    said = run(bin_folder / "kaggle-tools", "--help", cwd=tmp_path)
    for command in ("train", "infer", "submit", "download", "demo-data", "report", "check"):
        assert f" {command} " in said


def test_the_installed_package_is_the_one_that_runs(bin_folder: Path, tmp_path: Path) -> None:
    where = "import kaggle_tools.__main__ as m; print(m.__file__)"
    file = Path(run(bin_folder / "python", "-c", where, cwd=tmp_path).strip())
    assert file.is_relative_to(bin_folder.parent)
    assert "kaggle_tools" in run(bin_folder / "python", "-m", "kaggle_tools", "--help", cwd=tmp_path)


def test_the_installed_command_checks_a_submission(bin_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "sample.csv").write_text("img,rle_mask\nab12_01.jpg,1 1\nab12_02.jpg,1 1\n")
    (tmp_path / "mine.csv").write_text("img,rle_mask\nab12_01.jpg,5 30\nab12_02.jpg,7 20\n")
    said = run(bin_folder / "kaggle-tools", "check", "mine.csv", "--sample", "sample.csv", cwd=tmp_path)
    assert "mine.csv: 2 masks, nothing wrong" in said


def test_the_installed_command_writes_the_page_of_a_run(bin_folder: Path, tmp_path: Path) -> None:
    errors = {f"ab{car}_{angle:02}": (car, angle) for car in range(2) for angle in range(1, 3)}
    draw_photos(tmp_path / "data", list(errors))
    write_run(tmp_path / "run", tmp_path / "data", {0: errors})
    said = run(bin_folder / "kaggle-tools", "report", "run", cwd=tmp_path)
    assert "page: run/report.html" in said
    assert "<svg" in (tmp_path / "run" / "report.html").read_text()


def test_make_takes_pytorch_from_an_index_that_is_named(tmp_path: Path) -> None:
    """The Makefile's own command, with wheels that hold nothing in the place of PyTorch's build for CPUs."""
    index, environment = tmp_path / "index", tmp_path / "environment"
    pinned = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch")]
    versions = {name: f"{version}+cpu" for name, _, version in (line.partition("==") for line in pinned)}
    for name in ("torch", "torchvision"):
        write_empty_wheel(index / name, name, versions[name])
    venv.create(environment, with_pip=False, symlinks=True)
    said = run("make", "--always-make", "--dry-run", "test", f"TORCH_INDEX={index.as_uri()}", cwd=ROOT)
    (line,) = (line for line in said.splitlines() if index.as_uri() in line)
    arguments = shlex.split(line.partition(" -m pip ")[2])
    pip("--python", environment, *arguments, cwd=ROOT)
    installed = {path.name for path in environment.glob("lib/python*/site-packages/*.dist-info")}
    assert installed == {f"{name}-{versions[name]}.dist-info" for name in ("torch", "torchvision")}


def test_what_is_installed_beside_pytorch_of_another_index_is_locked_and_needs_no_cuda(tmp_path: Path) -> None:
    shutil.copy(ROOT / "requirements.lock", tmp_path)
    (tmp_path / ".venv").mkdir()
    said = run("make", "--always-make", "--dry-run", "test", "TORCH_INDEX=https://index", cwd=ROOT)
    (line,) = (line for line in said.splitlines() if line.startswith("awk"))
    run("sh", "-c", line, cwd=tmp_path)
    whole, rest = (
        re.findall(r"^[a-z0-9].*(?:\n +.*)*", (folder / name).read_text(), re.MULTILINE)
        for folder, name in ((ROOT, "requirements.lock"), (tmp_path / ".venv", "without-torch.lock"))
    )
    of_torch = re.compile(r"(torch|torchvision|triton|nvidia-.*|cuda-.*)==")
    assert rest == [pin for pin in whole if not of_torch.match(pin)]
    assert len(rest) > 100


def test_make_refuses_a_file_whose_hash_is_another(tmp_path: Path) -> None:
    write_empty_wheel(tmp_path / "index", "six", "1.17.0")
    (tmp_path / "requirements.lock").write_text(f"six==1.17.0 --hash=sha256:{'0' * 64}\n")
    said = run("make", "--always-make", "--dry-run", "test", cwd=ROOT)
    (line,) = (line for line in said.splitlines() if line.endswith("-r requirements.lock"))
    arguments = [*shlex.split(line.partition(" -m pip ")[2]), "--no-index", "--find-links", tmp_path / "index"]
    with pytest.raises(AssertionError, match="DO NOT MATCH THE HASHES"):
        pip(*arguments, "--target", tmp_path / "installed", cwd=tmp_path)


def write_empty_wheel(folder: Path, name: str, version: str) -> None:
    """A page of an index, and the one wheel that it leads to."""
    folder.mkdir(parents=True)
    file = f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(folder / file, "w") as archive:
        info = f"{name}-{version}.dist-info"
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    (folder / "index.html").write_text(f'<a href="{file.replace("+", "%2B")}">{file}</a>')
