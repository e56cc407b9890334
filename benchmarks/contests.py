"""What is measured against what: the commands of every contest, each with the limit that it is compared with."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import Contestant, MemoryFiller, warm
from benchmarks.models import FIXTURES, Built

ROOT = Path(__file__).resolve().parents[1]
PEERS = Path(__file__).resolve().parent / "peers"
#: Models below this size leave memory alone: filling it takes longer than the contest.
_SMALL = 1 << 28

_PARSE_HEADERS = """
import json, pathlib, sys
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.safetensors")):
    with open(path, "rb") as file:
        json.loads(file.read(int.from_bytes(file.read(8), "little")))
"""

#: The command as it is where the extra ``fast`` is not installed.
_NUMPY_ALONE = """
import sys
sys.modules["numba"] = sys.modules["llvmlite"] = None
from ckptkit.cli.main import main
main()
"""


@dataclass
class Contest:
    """Contestants that do the same job, and its name."""

    name: str
    title: str
    contestants: list[Contestant]


def ckptkit(*arguments: str) -> list[str]:
    """The command as users type it, or the module where no command is installed."""
    script = Path(sys.executable).parent / "ckptkit"
    return [str(script), *arguments] if script.exists() else [sys.executable, "-m", "ckptkit", *arguments]


def beside(contest: Contest, other: str) -> Contest:
    """The contest with every ckptkit contestant once more, run by the ``ckptkit`` command at ``other``.

    Another version may not know a format or an option; what it cannot do is left out.
    """
    entries = []
    for entry in contest.contestants:
        entries.append(entry)
        own = ckptkit()
        if list(entry.command[: len(own)]) == own:
            command = [other, *entry.command[len(own) :]]
            name = f"{entry.name} (the other version)"
            entries.append(Contestant(name, command, entry.against, entry.prepare, entry.code, may_fail=True))
    return Contest(contest.name, contest.title, entries)


def peer_interpreter(environment: str = "quark") -> str:
    """The interpreter of an environment, built where it is absent; by default that with compressed-tensors."""
    command = [sys.executable, str(ROOT / "tests" / "interop" / "environments.py"), environment]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def conversion(model: Built, work: Path, direction: str, peer: str | None) -> Contest:
    """Converting a folder into a new one, against copying it."""
    source, target = model.folder, direction.rpartition("→")[2]
    destination = work / "output"
    filler = MemoryFiller(work) if model.data_bytes > _SMALL else None

    def prepare() -> None:
        shutil.rmtree(destination, ignore_errors=True)
        os.sync()
        warm(source)
        if filler is not None:
            filler.fill()

    def contestant(name: str, command: list[str], against: str) -> Contestant:
        return Contestant(name, command, against, prepare)

    paths = [str(source), str(destination)]
    convert = ["convert", direction, *paths]
    copy, durable = "cp -r", "cp -r, sync"
    copy_and_sync = f"cp -r '{paths[0]}' '{paths[1]}' && sync '{paths[1]}'/* '{paths[1]}'"
    contestants = [
        contestant(copy, ["cp", "-r", *paths], copy),
        contestant("ckptkit convert -j1 --no-fsync", ckptkit(*convert, "-j1", "--no-fsync"), copy),
        contestant("ckptkit convert -j2 --no-fsync", ckptkit(*convert, "-j2", "--no-fsync"), copy),
        contestant(durable, ["sh", "-c", copy_and_sync], durable),
        contestant("ckptkit convert -j1", ckptkit(*convert, "-j1"), durable),
        contestant("ckptkit convert -j2", ckptkit(*convert, "-j2"), durable),
    ]
    if peer is not None:
        script = [peer, str(PEERS / "load_and_save.py"), *paths, target]
        contestants.append(contestant("load_file, rename, save_file", script, copy))
    if peer is not None and target == "ct":
        script = [peer, str(PEERS / "ct_convert.py"), *paths, "1"]
        contestants.append(contestant("compressed-tensors convert_checkpoint", script, copy))
    title = f"{direction}, {model.data_bytes / 1e9:.3g} GB, {model.tensors} tensors in {model.shards} shards"
    return Contest(f"convert-{model.name}", title, contestants)


def values(
    name: str, what: str, model: Built, work: Path, choices: list[str], peer: tuple[str, list[str]] | None = None
) -> Contest:
    """A conversion that works every value out, against reading the source and writing the result.

    ``choices`` are what the command is told besides the folders; ``peer`` is another tool that does the same, its name
    and its command up to them.
    """
    destination, kept = work / "output", work / f"kept-{name}"
    paths, limit = [str(model.folder), str(destination)], "cat, and cp of the result"

    def prepare() -> None:
        shutil.rmtree(destination, ignore_errors=True)
        if not kept.exists():
            for other in work.glob("kept-*"):
                shutil.rmtree(other)
            made = ckptkit("convert", *choices, paths[0], str(kept), "--no-fsync")
            subprocess.run(made, check=True, stdout=subprocess.DEVNULL)
        os.sync()
        warm(model.folder)
        warm(kept)

    def contestant(title: str, command: list[str]) -> Contestant:
        return Contestant(title, command, limit, prepare)

    convert = ["convert", *choices, *paths, "--no-fsync"]
    contestants = [
        contestant(limit, ["sh", "-c", f"cat '{paths[0]}'/*.safetensors > /dev/null && cp -r '{kept}' '{paths[1]}'"]),
        contestant("ckptkit convert -j1", ckptkit(*convert, "-j1")),
        contestant("ckptkit convert -j2", ckptkit(*convert, "-j2")),
        contestant("ckptkit convert -j2, numpy alone", [sys.executable, "-c", _NUMPY_ALONE, *convert, "-j2"]),
    ]
    if peer is not None:
        contestants.append(contestant(peer[0], [*peer[1], *paths]))
    title = f"{what}, {model.data_bytes / 1e9:.3g} GB, {model.tensors} tensors in {model.shards} shards"
    return Contest(name, title, contestants)


def headers(model: Built, direction: str) -> Contest:
    """Reading and checking the headers of many shards, against only reading them."""
    source = model.folder
    shards = sorted(str(path) for path in source.glob("*.safetensors"))
    cat = "cat *.safetensors"
    prepare: Callable[[], None] = lambda: warm(source)  # noqa: E731
    contestants = [
        Contestant(cat, ["cat", *shards], cat, prepare),
        Contestant("json.loads of every header", [sys.executable, "-c", _PARSE_HEADERS, str(source)], cat, prepare),
        Contestant("ckptkit inspect", ckptkit("inspect", str(source)), cat, prepare),
        Contestant(
            "ckptkit validate --level headers", ckptkit("validate", "--level", "headers", str(source)), cat, prepare
        ),
        Contestant("ckptkit validate", ckptkit("validate", str(source)), cat, prepare),
        Contestant(
            "ckptkit convert --dry-run",
            ckptkit("convert", direction, "--dry-run", str(source), str(source.parent / "never-written")),
            cat,
            prepare,
        ),
    ]
    return Contest(f"headers-{model.name}", f"{model.tensors:,} tensors in {model.shards} shards", contestants)


def difference(base: Built, model: Built) -> Contest:
    """Measuring how far each weight is off, against reading the bytes of both checkpoints."""
    folders = (base.folder, model.folder)
    shards = [str(path) for folder in folders for path in sorted(folder.glob("*.safetensors"))]
    cat = "cat of both"

    def prepare() -> None:
        for folder in folders:
            warm(folder)

    contestants = [
        Contestant(cat, ["cat", *shards], cat, prepare),
        Contestant("ckptkit diff", ckptkit("diff", *map(str, folders)), cat, prepare, code=1),
        Contestant("ckptkit diff of one with itself", ckptkit("diff", *[str(base.folder)] * 2), cat, prepare),
    ]
    title = f"{model.data_bytes / 1e9:.3g} GB in FP8 beside {base.data_bytes / 1e9:.3g} GB in BF16"
    return Contest(f"diff-{model.name}", title, contestants)


def start_up(work: Path) -> Contest:
    """Commands on a checkpoint of 100 kB, against an interpreter that does nothing."""
    bare = "python -c pass"
    small = str(FIXTURES / "llama" / "quark-fp8-kv")
    output = work / "small"
    prepare: Callable[[], None] = lambda: shutil.rmtree(output, ignore_errors=True)  # noqa: E731
    commands = {
        "ckptkit --help": ["--help"],
        "ckptkit inspect": ["inspect", small],
        "ckptkit validate": ["validate", small],
        "ckptkit convert --dry-run": ["convert", "quark→ct", "--dry-run", small, str(output)],
        "ckptkit convert": ["convert", "quark→ct", small, str(output)],
    }
    contestants = [Contestant(bare, [sys.executable, "-c", "pass"], bare)]
    contestants += [Contestant(name, ckptkit(*arguments), bare, prepare) for name, arguments in commands.items()]
    return Contest("start-up", "start-up, with a checkpoint of 100 kB", contestants)
