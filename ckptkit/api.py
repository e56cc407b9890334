"""The Python interface: open, inspect, validate, convert, diff. Typed, and nothing is printed.

>>> import ckptkit                                                        # doctest: +SKIP
>>> report = ckptkit.validate("Llama-3.1-8B-FP8")                         # doctest: +SKIP
>>> ckptkit.convert("Llama-3.1-8B-FP8-KV", "out", to="ct")                # doctest: +SKIP
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ckptkit.conversion.diff import Comparison, compare
from ckptkit.conversion.execute import Result, check, execute
from ckptkit.conversion.plan import Plan
from ckptkit.conversion.planner import make_plan
from ckptkit.errors import UsageError
from ckptkit.formats import registry as formats
from ckptkit.formats.base import WriteOptions
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.rules import engine
from ckptkit.rules.engine import Report
from ckptkit.rules.registry import Level
from ckptkit.storage.container import Container, open_container
from ckptkit.storage.source import LocalSource, Source
from ckptkit.summary import Summary, summarise

PathLike = str | os.PathLike[str]


def source_of(path: PathLike) -> Source:
    """Where the files of a checkpoint come from: a folder."""
    return LocalSource(Path(path))


def open_files(path: PathLike) -> Container:
    """Parse the headers, index and config of a checkpoint without asking what they mean."""
    return open_container(source_of(path))


def open(path: PathLike) -> Checkpoint:
    """Read a checkpoint into the canonical model; no tensor bytes are read.

    Raises UsageError when the folder does not exist, ContainerError when its files are damaged, FormatError when
    its quantization config is not one that ckptkit reads.
    """
    container = open_files(path)
    container.raise_if_damaged()
    form, _ = formats.detect(container)
    return form.read(container)


def inspect(path: PathLike) -> Summary:
    """Say what a checkpoint is: format, scheme, sizes, counts and scale ranges. Raises as :func:`open` does."""
    return summarise(open(path))


def validate(path: PathLike, *, level: Level = Level.SCALES) -> Report:
    """Check every rule up to a level. Damage is reported as findings; only a path without any checkpoint raises."""
    return engine.run(engine.examine(open_files(path)), level)


def plan(source: PathLike, *, to: str, mode: str | None = None, expect: str | None = None) -> Plan:
    """Plan a conversion without writing. Raises ConversionRefused with every reason when it would lose anything.

    ``to`` is a format's name or alias ("ct", "quark"); ``mode`` is a dialect of it ("fp8" for Quark). With
    ``expect``, a source in any other format is refused.
    """
    return _plan(source_of(source), to, mode, expect)


def convert(
    source: PathLike,
    destination: PathLike,
    *,
    to: str,
    mode: str | None = None,
    expect: str | None = None,
    jobs: int = 2,
    fsync: bool = True,
    on_plan: Callable[[Plan], None] = lambda plan: None,
    progress: Callable[[int], None] = lambda nbytes: None,
) -> Result:
    """Convert a checkpoint into a new folder, which appears complete or not at all.

    ``to``, ``mode`` and ``expect`` are those of :func:`plan`. ``on_plan`` is called once before the first byte,
    ``progress`` with the number of bytes just written, from worker threads. Raises ConversionRefused or
    OutputError, before anything is written wherever that is possible; after any exception the destination does
    not exist.
    """
    files = source_of(source)
    made = _plan(files, to, mode, expect)
    check(made, files, Path(destination))
    on_plan(made)
    return execute(made, files, Path(destination), jobs=jobs, fsync=fsync, progress=progress)


def _plan(source: Source, to: str, mode: str | None, expect: str | None) -> Plan:
    target = formats.by_name(to)
    if mode is not None and mode not in target.modes:
        raise UsageError(f"{target.name} has no mode {mode!r}", help=f"its modes: {', '.join(target.modes)}")
    container = open_container(source)
    container.raise_if_damaged()
    if expect is not None:
        found, wanted = formats.detect(container)[0].name, formats.by_name(expect).name
        if found != wanted:
            raise UsageError(f"{container.label} is a {found} checkpoint, not {wanted}")
    return make_plan(engine.examine(container), target, WriteOptions(mode))


def diff(left: PathLike, right: PathLike, *, progress: Callable[[int], None] = lambda nbytes: None) -> Comparison:
    """Compare two checkpoints as models, whatever their formats. Raises as :func:`open` does."""
    return compare(open(left), open(right), progress)
