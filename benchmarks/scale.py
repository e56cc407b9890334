"""``python -m benchmarks.scale``: what the largest checkpoints cost: 1,000,000 tensors, 10,000 shards, 200 GB in one.

The files are sparse, so that all of it needs a few hundred megabytes of disk for a minute. Each command is a process of
its own; what is measured is its time, its peak memory and the bytes that it reads.
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.measure import describe_machine
from benchmarks.models import FIXTURES, INDEX_FILE

_CONFIG = FIXTURES / "llama" / "llmcompressor-dynamic" / "config.json"
_WIDTH = {"F8_E4M3": 1, "BF16": 2}
#: What is run on each: ``@`` is the folder.
COMMANDS: dict[str, tuple[str, ...]] = {
    "inspect": ("inspect", "@"),
    "validate": ("validate", "@", "--output-format", "concise"),
    "plan a conversion": ("convert", "--to", "quark", "--dry-run", "@"),
}
_SCRIPT = """
import atexit, sys
place = sys.argv.pop(1)
def note():
    with open("/proc/self/io") as io, open(place, "w") as out:
        out.write(io.readline().split()[1])
atexit.register(note)
import rich.console, ckptkit.cli.validate, ckptkit.cli.inspect, ckptkit.cli.convert
from ckptkit.cli.main import main
main()
"""


class Cost(NamedTuple):
    """What a command took: ``cpu`` in seconds of work, and in ``read`` all bytes, those of Python's modules too."""

    seconds: float
    cpu: float
    peak: int
    read: int
    code: int


def million(folder: Path, tensors: int = 1_000_000) -> Path:
    """One shard whose header, of some 80 MB, holds so many tensors: half of them weights, half scales."""
    folder.mkdir()
    _config(folder)
    _shard(folder / "model.safetensors", _modules(range(tensors // 2), (1, 1)))
    return folder


def shards(folder: Path, count: int = 10_000) -> Path:
    """So many shards of one module, and an index."""
    folder.mkdir()
    _config(folder)
    weight_map: dict[str, str] = {}
    total = 0
    for number in range(count):
        file = f"model-{number + 1:05d}-of-{count:05d}.safetensors"
        tensors = list(_modules([number], (1, 16)))
        _shard(folder / file, tensors)
        weight_map.update((name, file) for name, _, _ in tensors)
        total += 18
    (folder / INDEX_FILE).write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}))
    return folder


def sparse(folder: Path, nbytes: int = 200 << 30) -> Path:
    """One shard of so many bytes, of which next to none take room."""
    folder.mkdir()
    _config(folder)
    _shard(folder / "model.safetensors", _modules(range(nbytes >> 31), (1 << 14, 1 << 17)))
    return folder


CHECKPOINTS: dict[str, Callable[[Path], Path]] = {
    "1,000,000 tensors": million,
    "10,000 shards": shards,
    "a shard of 200 GB": sparse,
}


def _modules(numbers: Iterable[int], shape: tuple[int, int]) -> Iterator[tuple[str, str, tuple[int, int]]]:
    for number in numbers:
        module = f"model.layers.{number // 1000}.m{number % 1000}"
        yield f"{module}.weight", "F8_E4M3", shape
        yield f"{module}.weight_scale", "BF16", (shape[0], 1)


def _config(folder: Path) -> None:
    config = json.loads(_CONFIG.read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 1000}), encoding="utf-8")


def _shard(path: Path, tensors: Iterable[tuple[str, str, tuple[int, int]]]) -> None:
    header: dict[str, Any] = {}
    offset = 0
    for name, dtype, shape in tensors:
        end = offset + shape[0] * shape[1] * _WIDTH[dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": (offset, end)}
        offset = end
    raw = json.dumps(header, separators=(",", ":")).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        file.truncate(8 + len(raw) + offset)


def measured(command: Iterable[str], folder: Path, *, limit: int | None = None) -> Cost:
    """Run a command on a folder; ``limit`` is the most address space that it may take, in bytes."""
    import resource

    def limited() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    words = [word.replace("@", str(folder)) for word in command]
    with tempfile.TemporaryDirectory() as place, open(f"{place}/said", "w+b") as said:
        begin = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-c", _SCRIPT, f"{place}/read", *words],
            stdout=subprocess.DEVNULL,
            stderr=said,
            preexec_fn=limited,
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        if process.returncode not in (0, 1):
            raise RuntimeError(f"{' '.join(words)}: {said.read()[-2000:].decode(errors='replace')}")
        read = int(Path(place, "read").read_text())
    return Cost(
        round(seconds, 2), round(usage.ru_utime + usage.ru_stime, 2), usage.ru_maxrss * 1024, read, process.returncode
    )


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", type=Path, help="where to keep the figures, for docs/robustness.md")
    options = parser.parse_args(arguments)
    figures: dict[str, dict[str, dict[str, float]]] = {}
    loads = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory(prefix="ckptkit-scale-") as place:
        for number, (name, build) in enumerate(CHECKPOINTS.items()):
            folder = build(Path(place) / str(number))
            figures[name] = {}
            for what, command in COMMANDS.items():
                cost = measured(command, folder)
                figures[name][what] = cost._asdict()
                loads.append(os.getloadavg()[0])
                print(
                    f"  {name}, {what}: {cost.seconds:.1f} s, {cost.cpu:.1f} s of work, {cost.peak >> 20:,} MiB, "
                    f"reads {cost.read / 1e6:,.1f} MB",
                    flush=True,
                )
    document = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": describe_machine(),
        "load": [round(min(loads), 1), round(max(loads), 1)],
        "checkpoints": figures,
    }
    if options.record:
        options.record.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
