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


def quantization(model: Built, work: Path, scheme: str, peer: str | None) -> Contest:
    """Quantizing plain weights for compressed-tensors, against copying them, and llm-compressor's own way."""
    destination = work / "output"

    def prepare() -> None:
        shutil.rmtree(destination, ignore_errors=True)
        os.sync()
        warm(model.folder)

    paths, copy = [str(model.folder), str(destination)], "cp -r"
    convert = ["convert", "--to", "ct", "--scheme", scheme, *paths, "--no-fsync"]
    contestants = [
        Contestant(copy, ["cp", "-r", *paths], copy, prepare),
        Contestant(f"ckptkit convert --scheme {scheme} -j1", ckptkit(*convert, "-j1"), copy, prepare),
        Contestant(f"ckptkit convert --scheme {scheme} -j2", ckptkit(*convert, "-j2"), copy, prepare),
    ]
    if peer is not None:
        script = [peer, str(PEERS / "model_free.py"), *paths, scheme]
        contestants.append(Contestant("llm-compressor model_free_ptq", script, copy, prepare))
    title = f"BF16 to {scheme}, {model.data_bytes / 1e9:.3g} GB, {model.tensors} tensors in {model.shards} shards"
    return Contest(f"quantize-{scheme}", title, contestants)


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
        "ckptkit convert": ["convert", "quark→ct", small, str(output)],
    }
    contestants = [Contestant(bare, [sys.executable, "-c", "pass"], bare)]
    contestants += [Contestant(name, ckptkit(*arguments), bare, prepare) for name, arguments in commands.items()]
    return Contest("start-up", "start-up, with a checkpoint of 100 kB", contestants)
