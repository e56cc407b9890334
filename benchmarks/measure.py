"""Measuring whole processes: wall time, CPU time, peak memory, and what else the machine was doing.

This process stays small on purpose. Linux hands the peak memory of the process that starts a command on to the
command, so nothing that is measured can show less than this process holds (18 MiB).
"""

from __future__ import annotations

import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: Free memory above this makes copies slow on virtual machines: its first touch asks the host for it.
_FREE_LIMIT = 1 << 30


@dataclass(frozen=True)
class Sample:
    """One run of a command. ``load`` is the one-minute load average when it began."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    load: float

    def to_json(self) -> dict[str, float]:
        return {
            "seconds": round(self.seconds, 4),
            "cpu_seconds": round(self.cpu_seconds, 4),
            "peak_bytes": self.peak_bytes,
            "load": round(self.load, 2),
        }


@dataclass
class Contestant:
    """A way to do a job. ``against`` names the one that its ratio refers to; ``prepare`` is not timed.

    ``code`` is the exit code of a job that was done.
    """

    name: str
    command: Sequence[str]
    against: str
    prepare: Callable[[], None] = lambda: None
    code: int = 0
    #: Whether it may be unable to do the job: it is then left out.
    may_fail: bool = False
    samples: list[Sample] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """The median wall time."""
        return statistics.median(sample.seconds for sample in self.samples)

    @property
    def peak_bytes(self) -> int:
        return max(sample.peak_bytes for sample in self.samples)


class CommandFailedError(RuntimeError):
    """A contestant did not finish its job; the message ends with what it said."""


def run(command: Sequence[str], code: int = 0) -> Sample:
    """Run a command once, its output thrown away. ``code`` is what it has to end with.

    Python may keep what it compiles, as it does for whoever has installed a package.
    """
    load = os.getloadavg()[0]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryFile() as errors:
        begin = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != code:
            errors.seek(0)
            said = errors.read().decode(errors="replace")[-2000:]
            raise CommandFailedError(f"{' '.join(command)} ended with code {process.returncode}:\n{said}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Sample(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit, load)


def interleave(
    contestants: Sequence[Contestant], rounds: int, say: Callable[[str], None], seconds: float = math.inf
) -> list[Contestant]:
    """Run all contestants in turn, round after round, each round starting with another one; those that could run.

    A noisy minute then hurts all of them, and the ratio of their medians stays meaningful. A round before the first
    warms caches up and is not counted. After the first that counts there is no other for which ``seconds`` are too few.
    """
    begin = time.monotonic()
    running, longest = list(contestants), 0.0
    for number in range(rounds + 1):
        since = time.monotonic()
        if number > 1 and since + longest > begin + seconds:
            break
        shift = number % len(running)
        for contestant in (*running[shift:], *running[:shift]):
            contestant.prepare()
            try:
                sample = run(contestant.command, contestant.code)
            except CommandFailedError as error:
                if number or not contestant.may_fail:
                    raise
                running.remove(contestant)
                say(f"left out: {error}")
                continue
            if number:
                contestant.samples.append(sample)
            say(f"{f'round {number}' if number else 'warm-up'}: {contestant.name}: {sample.seconds:.3f} s")
        longest = max(longest, time.monotonic() - since)
    return running


def warm(folder: Path) -> None:
    """Bring the files of a folder into the page cache."""
    buffer = bytearray(1 << 20)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with open(path, "rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass


class MemoryFiller:
    """Keeps free memory low with clean page cache, so that every copy recycles pages that the machine holds.

    A virtual machine gives free memory back to its host, and taking it again is several times slower than a copy.
    The cache is that of a sparse file: it costs no disk, and the kernel drops it first when memory is wanted.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "page-cache-filler"
        self._size = _memory("MemTotal")
        with open(self._path, "wb") as file:
            file.truncate(self._size)
        self._position = 0

    def fill(self) -> None:
        """Read the sparse file on until little memory is free."""
        buffer = bytearray(1 << 20)
        with open(self._path, "rb", buffering=0) as file:
            for count in range(self._size // len(buffer)):
                if count % 64 == 0 and _memory("MemFree") < _FREE_LIMIT:
                    return
                file.seek(self._position)
                self._position = (self._position + file.readinto(buffer)) % self._size

    def close(self) -> None:
        self._path.unlink(missing_ok=True)


def describe_machine() -> dict[str, Any]:
    """Where the figures come from."""
    cpu = platform.processor()
    if (info := Path("/proc/cpuinfo")).exists():
        models = (line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line)
        cpu = next(models, cpu)
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_bytes": _memory("MemTotal"),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def file_system(folder: Path) -> str:
    """The type of the file system that a folder is on."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    except OSError:
        return "unknown file system"
    inside = [(len(point), kind) for point, kind in mounts if folder.resolve().is_relative_to(point)]
    return max(inside)[1] if inside else "unknown file system"


def _memory(key: str) -> int:
    """A figure of /proc/meminfo in bytes; 0 where there is none."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith(f"{key}:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0
