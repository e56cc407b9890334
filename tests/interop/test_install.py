"""The built wheel and sdist: complete, installed on every Python that is here, and run by uvx and pipx."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import ckptkit
from tests.interop.pythons import ensure

ROOT = Path(__file__).resolve().parents[2]
FIXTURE = ROOT / "fixtures" / "real" / "llama" / "quark-ptpc"
VERSIONS = ("3.10", "3.11", "3.12", "3.13", "3.14")


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command away from the repository; what it prints."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run([*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist, built from a copy: nothing of this work tree gets in or is left."""
    folder = tmp_path_factory.mktemp("built")
    names = run("git", "ls-files", cwd=ROOT).splitlines()
    for name in names:
        if not name.startswith(("fixtures/", "tests/")) and (ROOT / name).is_file():
            target = folder / "source" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)
    run(sys.executable, "-m", "build", "--outdir", folder, folder / "source", cwd=folder)
    return folder


def wheel(built: Path) -> Path:
    (found,) = built.glob("ckptkit_fp8-*.whl")
    return found


def test_wheel_and_sdist_hold_every_file_of_the_package(built: Path) -> None:
    kept = run("git", "ls-files", "ckptkit", cwd=ROOT).splitlines()
    assert "ckptkit/kernels/golden/hashes.json" in kept and "ckptkit/schemas/report.json" in kept
    with zipfile.ZipFile(wheel(built)) as archive:
        assert set(kept) <= set(archive.namelist())
        (metadata,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        assert "Name: ckptkit-fp8\n" in archive.read(metadata).decode()
    (sdist,) = built.glob("ckptkit_fp8-*.tar.gz")
    with tarfile.open(sdist) as archive:
        assert {f"ckptkit_fp8-{ckptkit.__version__}/{name}" for name in (*kept, "README.md", "LICENSE")} <= {
            *archive.getnames()
        }


@pytest.mark.parametrize("version", VERSIONS)
def test_it_runs_where_it_is_installed(version: str, built: Path, tmp_path: Path) -> None:
    python = ensure(version)
    if python is None:
        pytest.skip(f"no Python {version} here")
    run(python, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    binaries = tmp_path / "venv" / "bin"
    run(binaries / "pip", "install", "--quiet", "--disable-pip-version-check", wheel(built), cwd=tmp_path)
    assert ckptkit.__version__ in run(binaries / "ckptkit", "--version", cwd=tmp_path)
    assert run(binaries / "ckptkit-fp8", "validate", FIXTURE, cwd=tmp_path).startswith("clean:")
    assert "written" in run(binaries / "ckptkit", "convert", "quark→ct", FIXTURE, "out", cwd=tmp_path)
    assert "the same model" in run(binaries / "ckptkit", "diff", FIXTURE, "out", cwd=tmp_path)
    assert re.search(rf"Python +{re.escape(version)}\.", run(binaries / "ckptkit", "doctor", cwd=tmp_path))
    code = "from ckptkit.kernels.golden import cases; print(len(cases.recorded()))"
    assert int(run(binaries / "python", "-c", code, cwd=tmp_path)) > 0


def test_uvx_and_pipx_run_it(built: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    binaries = tmp_path / "venv" / "bin"
    run(binaries / "pip", "install", "--quiet", "--disable-pip-version-check", "uv", "pipx", cwd=tmp_path)
    shown = run(
        binaries / "uvx", "--python", sys.executable, "--from", wheel(built), "ckptkit", "--version", cwd=tmp_path
    )
    assert ckptkit.__version__ in shown
    shown = run(binaries / "pipx", "run", "--spec", wheel(built), "ckptkit", "validate", FIXTURE, cwd=tmp_path)
    assert shown.startswith("clean:")
