"""Build and find the interop environments: real libraries whose pins clash, one environment each.

An environment is a virtual environment keyed by its requirements file and the Python version, so it is
built once per machine and rebuilt when a pin changes. The one of the browser is a folder of npm's instead, keyed by
its lock file, and a Chromium that is on the machine. Nothing here imports outside the standard library,
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
import tarfile
import tempfile
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
    "llamacpp": "llama.cpp's convert_hf_to_gguf.py: what it makes of a checkpoint",
    "llamacpp-b8643": "the same of an older build",
    "kernels": "CPU torch and Triton: the FP8 kernels interpreted and compiled offline, Hopper in software",
    "browser": "Chromium, what drives it and axe: the page of ckptkit report",
}
#: Packages of npm and no Python: the pins are in ``requirements/<name>/package-lock.json``.
OF_NPM = frozenset({"browser"})
#: What Chromium is called where it is installed.
_CHROMIUM = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
#: Those that only a record of another release takes, built when somebody asks for it by name.
BY_NAME_ONLY = frozenset({"vllm-0.31", "llamacpp-b8643"})


class EnvironmentBuildError(RuntimeError):
    """An environment could not be built; the message ends with the last lines of the log."""


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


def sources(name: str) -> list[tuple[str, str, tuple[str, ...]]]:
    """What is unpacked for an environment and not installed, to be run from its folder ``source``.

    A line ``# source: PACKAGE==VERSION FOLDER PATH ...`` names a source distribution, a folder in it, and the files and
    folders below that which are taken: that is how Python that comes with a program is had without building it.
    """
    found = []
    for line in (REQUIREMENTS / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("# source:"):
            package, folder, *paths = line.removeprefix("# source:").split()
            found.append((package, folder, tuple(paths)))
    return found


def environment_path(name: str) -> Path:
    """Where the environment of this name and these pins lives, built or not."""
    key = hashlib.sha256()
    if name in OF_NPM:
        key.update((REQUIREMENTS / name / "package-lock.json").read_bytes())
        return cache_root() / f"{name}-{key.hexdigest()[:12]}"
    key.update((REQUIREMENTS / f"{name}.txt").read_bytes())
    key.update(f"{sys.version_info[0]}.{sys.version_info[1]}".encode())
    return cache_root() / f"{name}-{key.hexdigest()[:12]}"


def ensure(name: str) -> Path:
    """Return the interpreter of an environment, building it first when it is missing or half built.

    Of one of npm's packages it is their folder.
    """
    folder = environment_path(name)
    interpreter = folder / "node_modules" if name in OF_NPM else folder / "bin" / "python"
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
        if name in OF_NPM:
            shutil.copytree(REQUIREMENTS / name, folder)
            _run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(folder)], folder, name)
        else:
            venv.create(folder, with_pip=True)
            for step in install_steps(name):
                _run([str(interpreter), "-m", "pip", "install", "--no-input", *step], folder, name)
            for source in sources(name):
                _unpack(interpreter, folder, name, *source)
        complete.touch()
    return interpreter


def _unpack(interpreter: Path, folder: Path, name: str, package: str, inside: str, paths: tuple[str, ...]) -> None:
    """Take a part of a source distribution into the folder ``source`` of an environment."""
    with tempfile.TemporaryDirectory() as scratch:
        options = ["--no-deps", "--no-binary", package.partition("==")[0], "--dest", scratch]
        _run([str(interpreter), "-m", "pip", "download", "--no-input", *options, package], folder, name)
        (archive,) = Path(scratch).glob("*.tar.gz")
        with tarfile.open(archive) as opened:
            for member in opened:
                within = member.name.partition("/")[2].removeprefix(f"{inside}/")
                if member.isfile() and any(within == path or within.startswith(f"{path}/") for path in paths):
                    member.name = within
                    opened.extract(member, folder / "source", filter="data")


def _run(command: list[str], folder: Path, name: str) -> None:
    """A step of building an environment. Raises EnvironmentBuildError."""
    log = folder / "build.log"
    with open(log, "ab") as sink:
        try:
            code = subprocess.run(command, stdout=sink, stderr=subprocess.STDOUT, check=False).returncode
        except FileNotFoundError as error:
            raise EnvironmentBuildError(f"{name} needs {command[0]}, which is not on this machine") from error
    if code:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise EnvironmentBuildError(f"{' '.join(command)} failed for {name}:\n{tail}")


def chromium() -> Path | None:
    """The browser of this machine (``CKPTKIT_CHROMIUM``, or what is on the path), if there is one."""
    named = os.environ.get("CKPTKIT_CHROMIUM")
    found = named or next(filter(None, map(shutil.which, _CHROMIUM)), None)
    return None if found is None else Path(found)


def ensure_chromium() -> Path:
    """The browser of this machine; where packages of Debian may be installed, it is, if it was not there."""
    found = chromium()
    if found is None:
        install("chromium")
        found = chromium()
    if found is None:
        raise EnvironmentBuildError("Debian's chromium is installed, and is not on the path")
    return found


def ensure_program(name: str) -> Path:
    """A program of this machine; that of Debian's package of its name where it was not there and may be installed."""
    if shutil.which(name) is None:
        install(name)
    found = shutil.which(name)
    if found is None:
        raise EnvironmentBuildError(f"Debian's {name} is installed, and is not on the path")
    return Path(found)


def install(package: str) -> None:
    """Install a package of Debian's. Raises EnvironmentBuildError where that cannot be done."""
    if os.geteuid() or shutil.which("apt-get") is None:
        raise EnvironmentBuildError(f"no {package} here: install one, and put it on the path")
    folder = cache_root() / package
    folder.mkdir(parents=True, exist_ok=True)
    print(f"interop: installing Debian's {package}", file=sys.stderr, flush=True)
    _run(["apt-get", "update", "-q"], folder, package)
    _run(["apt-get", "install", "-q", "-y", "--no-install-recommends", package], folder, package)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *ENVIRONMENTS], help="which environments")
    parser.add_argument("--all", action="store_true", help="every environment that make interop takes")
    arguments = parser.parse_args()
    for name in [n for n in ENVIRONMENTS if n not in BY_NAME_ONLY] if arguments.all else arguments.names:
        try:
            if name == "browser":
                print(ensure_chromium())
            print(ensure(name))
        except EnvironmentBuildError as error:
            if name != "browser" or name in arguments.names:
                raise
            print(f"interop: {error}\ninterop: the page of ckptkit report is not tested here", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
