"""What this machine has of what ckptkit can use: versions, extras, a GPU, the Hub's login, engines. None is imported.

What is installed is read off the metadata of packages, so that looking takes no longer than any other quick command.
"""

from __future__ import annotations

import os
import platform
import sys
from collections import Counter
from collections.abc import Iterator
from enum import Enum
from importlib import metadata
from pathlib import Path
from typing import Any

from ckptkit import __version__
from ckptkit.engines.registry import engines
from ckptkit.errors import DISTRIBUTION, install
from ckptkit.record import record
from ckptkit.shown import Look, Shown

#: Extra -> the packages that it brings, and what it is for.
EXTRAS = {
    "fast": (("numba", "llvmlite"), "compiled loops where values change"),
    "gpu": (("torch", "triton"), "the golden check on a GPU"),
    "fsspec": (("fsspec",), "URLs beside hf://"),
    "s3": (("fsspec", "s3fs"), "s3:// URLs"),
    "gcs": (("fsspec", "gcsfs"), "gs:// URLs"),
}
#: Shell -> the files below the home folder that may set completion up.
_COMPLETIONS = {
    "bash": (".bashrc", ".bash_profile"),
    "zsh": (".zshrc",),
    "fish": (".config/fish/completions/ckptkit.fish",),
}
#: What ckptkit itself stands on.
_NEEDED = ("numpy", "click", "rich", "huggingface-hub", "jsonschema", "pyyaml")


class State(str, Enum):
    """How a check came out: as it should be, absent though nothing needs it, or wrong."""

    OK = "ok"
    ABSENT = "absent"
    WRONG = "wrong"


@record
class Check:
    """One thing that was looked at: in which group, what, how it is, and what to do about it."""

    group: str
    name: str
    state: State
    found: str
    help: str = ""

    def to_json(self) -> dict[str, str]:
        """A JSON object, as in ``schemas/doctor.json``."""
        return {
            "group": self.group,
            "name": self.name,
            "state": self.state.value,
            "found": self.found,
            **({"help": self.help} if self.help else {}),
        }


@record(repr=False)
class Examination(Shown):
    """Everything that was looked at, in the order in which people are shown it."""

    checks: tuple[Check, ...]

    def _look(self) -> Look:
        counted = Counter(check.state.value for check in self.checks)
        rows = ((check.group, check.name, check.state.value, check.found, check.help) for check in self.checks)
        columns = ("group", "what", "state", "found", "help")
        facts = [f"{count:,} {state}" for state, count in counted.items()]
        return Look(f"ckptkit {__version__}", facts, columns, rows, len(self.checks))

    @property
    def healthy(self) -> bool:
        """Whether nothing is wrong; what is absent need not be there."""
        return all(check.state is not State.WRONG for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """A JSON object as described by ``schemas/doctor.json``."""
        return {"version": __version__, "healthy": self.healthy, "checks": [check.to_json() for check in self.checks]}


def examine() -> Examination:
    """Look at this machine and this Python environment. No network, and no secret is read into the result."""
    groups = (_versions(), _extras(), _gpu(), _hub(), _engines(), _completion())
    return Examination(tuple(check for group in groups for check in group))


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _versions() -> Iterator[Check]:
    yield Check("versions", "ckptkit", State.OK, f"{__version__} in {Path(__file__).parent}")
    yield from _namesake()
    yield Check("versions", "Python", State.OK, f"{platform.python_version()} at {sys.executable}")
    for package in _NEEDED:
        found = _version(package)
        if found is None:
            yield Check("versions", package, State.WRONG, "not installed", f"pip install {package}")
        else:
            yield Check("versions", package, State.OK, found)


def _namesake() -> Iterator[Check]:
    """The tool that is called ``ckptkit`` on the package index has our import and our command: one hides the other."""
    try:
        found = metadata.metadata("ckptkit")
    except metadata.PackageNotFoundError:
        return
    other = found["Name"] == "ckptkit" and "FP8" not in (found["Summary"] or "")
    if other:
        what = f"{found['Version']} is another tool ({found['Summary']}): it has our import and our command"
        way = f"pip uninstall ckptkit; pip install --force-reinstall --no-deps {DISTRIBUTION}"
        yield Check("versions", "namesake", State.WRONG, what, way)


def _extras() -> Iterator[Check]:
    for extra, (packages, purpose) in EXTRAS.items():
        found = {package: _version(package) for package in packages}
        if all(found.values()):
            listed = ", ".join(f"{package} {version}" for package, version in found.items())
            yield Check("extras", extra, State.OK, f"{listed}: {purpose}")
        else:
            missing = " and ".join(package for package, version in found.items() if version is None)
            yield Check("extras", extra, State.ABSENT, f"no {missing}: {purpose}", install(extra))


def _gpu() -> Iterator[Check]:
    """What the drivers say, without a library that would take seconds to load."""
    nvidia = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    amd = sorted(Path("/sys/class/kfd/kfd/topology/nodes").glob("*/properties"))
    names = [found for path in nvidia if (found := _field(path, "Model:"))]
    targets = [found for path in amd if (found := _field(path, "gfx_target_version")) not in (None, "0")]
    names += [
        f"AMD gfx{int(found) // 10000}{int(found) // 100 % 100}{int(found) % 100:x}" for found in targets if found
    ]
    if names:
        yield Check("GPU", "driver", State.OK, ", ".join(names))
    else:
        help_text = "only 'ckptkit golden' uses one; it says what it runs instead"
        yield Check("GPU", "driver", State.ABSENT, "no NVIDIA or AMD GPU", help_text)


def _gfx(target: int) -> str:
    """A target as AMD's compilers call it.

    >>> _gfx(90402), _gfx(90010)
    ('gfx942', 'gfx90a')
    """
    return f"gfx{target // 10000}{target // 100 % 100}{target % 100:x}"


def _field(path: Path, key: str) -> str | None:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return next((line.removeprefix(key).strip() for line in lines if line.startswith(key)), None)


def _hub() -> Iterator[Check]:
    """Whether there is a token, and where; never the token."""
    from huggingface_hub import constants, get_token

    if get_token() is not None:
        where = "HF_TOKEN" if os.environ.get("HF_TOKEN") else constants.HF_TOKEN_PATH
        yield Check("Hub", "login", State.OK, f"a token in {where}")
    else:
        yield Check("Hub", "login", State.ABSENT, "no token", "for private repositories and uploads: hf auth login")
    yield Check("Hub", "endpoint", State.OK, constants.ENDPOINT)
    cache = Path(constants.HF_HUB_CACHE)
    if cache.is_dir() and not os.access(cache, os.R_OK | os.X_OK):
        yield Check("Hub", "cache", State.WRONG, f"{cache} cannot be read", "check its permissions")
    else:
        found = f"{cache}" if cache.is_dir() else f"{cache} is not there yet"
        yield Check("Hub", "cache", State.OK if cache.is_dir() else State.ABSENT, found)


def _engines() -> Iterator[Check]:
    for engine in engines().values():
        releases = tuple(dict.fromkeys(map(str, engine.releases)))
        found = None if engine.package is None else _version(engine.package)
        if found is None:
            listed = " and ".join(releases)
            yield Check("engines", engine.label, State.ABSENT, f"not in this environment; verdicts are for {listed}")
        else:
            which = "which verdicts are for" if found in releases else f"verdicts are for {' and '.join(releases)}"
            yield Check("engines", engine.label, State.OK, f"{found}, {which}")


def _completion() -> Iterator[Check]:
    """Whether the shell's start-up files mention completion for this command."""
    shell = Path(os.environ.get("SHELL", "")).name
    files = _COMPLETIONS.get(shell, ())
    if not files:
        yield Check("shell", "completion", State.ABSENT, f"not known for {shell or 'this shell'}")
        return
    mark = "ckptkit" if shell == "fish" else "_CKPTKIT_COMPLETE"
    here = [name for name in files if _mentions(Path.home() / name, mark)]
    if here:
        yield Check("shell", "completion", State.OK, f"~/{here[0]}")
    else:
        first = files[0]
        way = f"ckptkit completion {shell} {'>' if shell == 'fish' else '>>'} ~/{first}"
        yield Check("shell", "completion", State.ABSENT, f"not set up for {shell}", way)


def _mentions(path: Path, word: str) -> bool:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return word in file.read(1 << 20)
    except OSError:
        return False
