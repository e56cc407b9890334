"""Build and find the interop environments: real libraries whose pins clash, one environment each.

An environment is a virtual environment keyed by its requirements file and the Python version, so it is
built once per machine and rebuilt when a pin changes. Nothing here imports outside the standard library,
so any Python can run it:

    python tests/interop/environments.py quark          # build if missing, print its interpreter
    python tests/interop/environments.py --all
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "requirements"

#: name -> what it is for. The pins are in ``requirements/<name>.txt``.
ENVIRONMENTS = {
    "quark": "amd-quark, transformers and compressed-tensors: export, reload, decompress, logits",
    "llmcompressor": "llm-compressor: compressed-tensors exports",
    "modelopt": "NVIDIA ModelOpt: its own exports",
    "vllm": "the vLLM CPU wheel: loads and answers",
    "vllm-0.31": "the release before it, and the transformers that it wants",
    "sglang": "SGLang's own classes on a CPU: configs, skip lists, schemes, weights' hooks",
    "kernels": "CPU torch and Triton: the FP8 kernels interpreted and compiled offline, Hopper in software",
}
#: Those that only a record of another release takes, built when somebody asks for it by name.
BY_NAME_ONLY = frozenset({"vllm-0.31"})


class EnvironmentBuildError(RuntimeError):
    """pip could not build an environment; the message ends with the last lines of its log."""


def cache_root() -> Path:
    """The folder that holds all environments (``CKPTKIT_INTEROP_CACHE`` or the user's cache folder)."""
    override = os.environ.get("CKPTKIT_INTEROP_CACHE")
    if override:
        return Path(override)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "ckptkit" / "interop"


def install_steps(name: str) -> list[list[str]]:
    """The ``pip install`` argument lists of one environment, in order.

    A line ``# step: ARGS`` in the requirements file is a step of its own, taken before the file itself:
    that is how a wheel whose declared dependencies do not exist for CPU is installed with ``--no-deps``.
    """
    path = REQUIREMENTS / f"{name}.txt"
    steps = [
        line.removeprefix("# step:").split()
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.startswith("# step:")
    ]
    return [*steps, ["-r", str(path)]]


def environment_path(name: str) -> Path:
    """Where the environment of this name and these pins lives, built or not."""
    key = hashlib.sha256()
    key.update((REQUIREMENTS / f"{name}.txt").read_bytes())
    key.update(f"{sys.version_info[0]}.{sys.version_info[1]}".encode())
    return cache_root() / f"{name}-{key.hexdigest()[:12]}"


def ensure(name: str) -> Path:
    """Return the interpreter of an environment, building it first when it is missing or half built."""
    folder = environment_path(name)
    interpreter = folder / "bin" / "python"
    complete = folder / ".complete"
    if complete.exists():
        return interpreter
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.parent / f".{folder.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if complete.exists():
            return interpreter
        shutil.rmtree(folder, ignore_errors=True)
        print(f"interop: building {name} in {folder}", file=sys.stderr, flush=True)
        venv.create(folder, with_pip=True)
        log = folder / "pip.log"
        for step in install_steps(name):
            command = [str(interpreter), "-m", "pip", "install", "--no-input", *step]
            with open(log, "ab") as sink:
                code = subprocess.run(command, stdout=sink, stderr=subprocess.STDOUT, check=False).returncode
            if code:
                tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
                raise EnvironmentBuildError(f"pip install {' '.join(step)} failed for {name}:\n{tail}")
        complete.touch()
    return interpreter


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *ENVIRONMENTS], help="which environments")
    parser.add_argument("--all", action="store_true", help="every environment that make interop takes")
    arguments = parser.parse_args()
    for name in [n for n in ENVIRONMENTS if n not in BY_NAME_ONLY] if arguments.all else arguments.names:
        print(ensure(name))
    return 0


if __name__ == "__main__":
    sys.exit(main())
