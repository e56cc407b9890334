"""Kernels are built once, and nothing of torch or Triton is imported before."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import ckptkit.kernels
from ckptkit.errors import UsageError
from ckptkit.kernels import build

ROOT = Path(__file__).resolve().parents[2]
MODULES = [info.name for info in pkgutil.walk_packages(ckptkit.kernels.__path__, "ckptkit.kernels.")]


def test_every_module_imports_without_torch_and_triton() -> None:
    code = "import sys; sys.modules['torch'] = sys.modules['triton'] = None\n"
    code += "\n".join(f"import {name}" for name in [*MODULES, "ckptkit.cli.golden"])
    code += "\nassert 'numpy' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert len(MODULES) >= 14


def test_kernels_are_built_once_however_many_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    built = []

    def make(module: object) -> dict[str, object]:
        built.append(module)
        return {"gemm_portable": object()}

    monkeypatch.setattr(build, "_toolkit", None)
    monkeypatch.setattr(build, "make_kernels", make)
    barrier = threading.Barrier(8)
    found = []

    def ask() -> None:
        barrier.wait()
        found.append(build.toolkit())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    assert len({id(kit) for kit in found}) == 1


def test_the_interpreter_cannot_be_wished_for_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    importlib.import_module("triton")
    build.use_interpreter()  # already wished for
    monkeypatch.delenv("TRITON_INTERPRET")
    with pytest.raises(UsageError, match="already imported"):
        build.use_interpreter()
