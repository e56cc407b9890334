"""Carrying out a plan: stage, copy, sync, check what was written, rename."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckptkit.conversion.plan import Plan
from ckptkit.errors import CkptkitError, ConversionRefused
from ckptkit.rules import engine
from ckptkit.rules.registry import Level, OnConversion, errors_that
from ckptkit.storage.container import open_container
from ckptkit.storage.source import LocalSource, Source
from ckptkit.storage.staging import check_destination, staging, sync_folder
from ckptkit.storage.writer import file_sizes, write_container


@dataclass(frozen=True)
class Result:
    """A conversion that was carried out: where, how fast, and by which means bytes were moved."""

    plan: Plan
    destination: Path
    seconds: float
    moved: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        return {
            "plan": self.plan.to_json(),
            "destination": str(self.destination),
            "seconds": round(self.seconds, 3),
            "bytes_by_method": self.moved,
        }


def check(plan: Plan, source: Source, destination: Path) -> None:
    """Everything about the destination that can be refused before the first byte."""
    root = getattr(source, "root", None)
    check_destination(destination, root, sum(file_sizes(plan.output).values()))


def execute(
    plan: Plan,
    source: Source,
    destination: Path,
    *,
    jobs: int = 2,
    fsync: bool = True,
    progress: Callable[[int], None] = lambda nbytes: None,
) -> Result:
    """Write the plan's output to ``destination``, which appears complete or not at all."""
    check(plan, source, destination)
    begin = time.perf_counter()
    with staging(destination) as folder:
        copier = write_container(plan.output, source, folder, jobs=jobs, fsync=fsync, progress=progress)
        _require_sound(folder)
        if fsync:
            for inner in {path.parent for path in folder.rglob("*")}:
                sync_folder(inner)
    if fsync:
        sync_folder(destination.resolve().parent)
    moved = {method.value: count for method, count in copier.moved.items() if count}
    return Result(plan, destination, time.perf_counter() - begin, moved)


def _require_sound(folder: Path) -> None:
    """Read the staged folder as a stranger would, scale values included, before it gets its name."""
    try:
        context = engine.examine(open_container(LocalSource(folder)))
        rules = errors_that(OnConversion.BLOCKS, OnConversion.MENDED)
        report = engine.run(context, Level.SCALES, rules)
    except CkptkitError as error:
        raise ConversionRefused("the written checkpoint cannot be read back", faults=error.faults) from error
    if report.findings:
        faults = [finding.to_fault() for finding in report.findings]
        raise ConversionRefused("the written checkpoint is not sound", faults=faults)
