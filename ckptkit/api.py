"""The Python interface: open, inspect, validate, convert, diff. Typed, and nothing is printed.

.. code-block:: python

    import ckptkit

    report = ckptkit.validate("Llama-3.1-8B-FP8")
    ckptkit.convert("Llama-3.1-8B-FP8-KV", "out", to="ct")
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ckptkit.checks.registry import Level
from ckptkit.errors import UsageError
from ckptkit.formats import registry as formats
from ckptkit.formats.base import WriteOptions, written_dialect
from ckptkit.formats.reading import open_checkpoint, readable
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.storage.container import Container, open_container
from ckptkit.storage.source import LocalSource, Source

# What only some calls need is imported by them: half of a quick command's time would be imports.
if TYPE_CHECKING:
    from concurrent.futures import Executor

    from ckptkit.checks.fixing import Mending
    from ckptkit.checks.runner import Report
    from ckptkit.conversion.diff import Comparison
    from ckptkit.conversion.execute import Result
    from ckptkit.conversion.plan import Plan
    from ckptkit.model.summary import Summary

PathLike = str | os.PathLike[str]


def source_of(path: PathLike) -> Source:
    """Where the files of a checkpoint come from: a folder, a repository on the Hub, or a URL.

    A folder of this name always wins. Then ``hf://org/repo[@revision][/subfolder]`` or ``org/repo[@revision]``, and
    last any URL that fsspec reads (``s3://``, ``gs://``, ``file://``, ``memory://``).
    """
    text = _filled(path)
    if not os.path.lexists(text):
        from ckptkit.storage.remote import open_remote

        remote = open_remote(text)
        if remote is not None:
            return remote
    return LocalSource(Path(path))


def _filled(path: PathLike) -> str:
    """A path as text. An empty one, an unset variable most likely, would mean the current folder."""
    text = os.fspath(path)
    if not text:
        raise UsageError("the path is empty")
    return text


def _level(level: Level | str | None, default: Level) -> Level:
    if level is None:
        return default
    return Level.parse(level) if isinstance(level, str) else level


def default_level(source: Source) -> Level:
    """How much is checked unless the caller says: scale values too where reading them costs no traffic."""
    return Level.SCALES if source.traffic is None else Level.HEADERS


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
    return open_checkpoint(container).checkpoint


def inspect(path: PathLike, *, scales: bool | None = None) -> Summary:
    """Say what a checkpoint is: format, scheme, sizes, counts and scale ranges. Raises as :func:`open` does.

    Without ``scales``, scale values are read from a folder and not from anything remote.
    """
    from ckptkit.model.summary import summarise

    checkpoint = open(path)
    if scales is None:
        scales = default_level(checkpoint.container.source) is Level.SCALES
    return summarise(checkpoint, scales=scales)


def validate(path: PathLike, *, level: Level | str | None = None) -> Report:
    """Check every rule up to a level. Damage is reported as findings; only a path without any checkpoint raises.

    ``level`` is one of "headers", "scales" and "full"; without it, scales for a folder and headers for anything remote.
    """
    from ckptkit.checks import runner

    container = open_files(path)
    return runner.run(runner.examine(container), _level(level, default_level(container.source)))


def finish_interrupted_fix(path: PathLike) -> int:
    """Finish what an interrupted :func:`write_mended` left beside a folder; how many files were moved into place."""
    from ckptkit.storage.replace import finish_interrupted

    return finish_interrupted(Path(path)) if os.path.isdir(path) else 0


def write_mended(mending: Mending, path: PathLike, output: PathLike | None = None) -> bool:
    """Write what :func:`ckptkit.checks.fixing.mend` made of a checkpoint; whether there was anything to write.

    With ``output`` into a new folder, which appears complete or not at all; else in place, where only the files that
    differ are replaced.
    """
    from ckptkit.conversion.apply_fixes import write_copy, write_in_place

    source = source_of(path)
    if output is not None:
        write_copy(mending, source, Path(_filled(output)))
        return True
    if not mending.changes:
        return False
    if not isinstance(source, LocalSource):
        raise UsageError(f"{source.label} is not a local folder", help="write to a new folder: --output DIR")
    write_in_place(mending, source, source.root)
    return True


def plan(
    source: PathLike, *, to: str, mode: str | None = None, expect: str | None = None, allow_lossy: bool = False
) -> Plan:
    """Plan a conversion without writing. Raises ConversionRefused with every reason when it would lose anything.

    ``to`` is a format's name or alias ("ct", "quark"); ``mode`` is a dialect of it ("fp8" for Quark). With
    ``expect``, a source in any other format is refused. With ``allow_lossy``, values may be rounded where the target's
    writer declares it.
    """
    return _plan(source_of(source), to, mode, expect, allow_lossy)


def execute(
    plan: Plan,
    source: PathLike,
    destination: PathLike,
    *,
    jobs: int = 2,
    fsync: bool = True,
    executor: Executor | None = None,
    progress: Callable[[int], None] = lambda nbytes: None,
) -> Result:
    """Carry out a plan, which may come from another process: ``Plan.from_json(json.loads(text))``.

    ``executor`` is any of ``concurrent.futures``: it gets a task for each file of the result. Raises ConversionRefused
    when the source is not what it was when the plan was made, and else as :func:`convert` does.
    """
    from ckptkit.conversion import execute as execution

    files = source_of(source)
    execution.require_same_source(plan, files)
    return execution.execute(
        plan, files, Path(_filled(destination)), jobs=jobs, fsync=fsync, progress=progress, executor=executor
    )


def convert(
    source: PathLike,
    destination: PathLike,
    *,
    to: str,
    mode: str | None = None,
    expect: str | None = None,
    allow_lossy: bool = False,
    jobs: int = 2,
    fsync: bool = True,
    executor: Executor | None = None,
    on_plan: Callable[[Plan], None] = lambda plan: None,
    progress: Callable[[int], None] = lambda nbytes: None,
) -> Result:
    """Convert a checkpoint into a new folder, which appears complete or not at all.

    ``to``, ``mode``, ``expect`` and ``allow_lossy`` are those of :func:`plan`, ``executor`` that of :func:`execute`.
    ``on_plan`` is called once before the first byte, ``progress`` with the number of bytes just written, from worker
    threads. Raises ConversionRefused or OutputError, before anything is written wherever that is possible; after any
    exception the destination does not exist.
    """
    from ckptkit.conversion.execute import check, execute

    if jobs < 1:
        raise UsageError(f"{jobs} jobs: give one at least")
    files, target = source_of(source), Path(_filled(destination))
    made = _plan(files, to, mode, expect, allow_lossy)
    check(made, files, target)
    on_plan(made)
    return execute(made, files, target, jobs=jobs, fsync=fsync, progress=progress, executor=executor)


def _plan(source: Source, to: str, mode: str | None, expect: str | None, allow_lossy: bool) -> Plan:
    from ckptkit.checks import runner
    from ckptkit.conversion.planner import make_plan

    target = formats.by_name(to)
    written_dialect(target, mode)
    container = open_container(source)
    container.raise_if_damaged()
    context = runner.examine(container)
    if not context.has_reader:
        readable(container, context.reading)
    dialect = context.dialect
    if expect is not None and dialect is not None:
        wanted = formats.by_name(expect).name
        if dialect.format != wanted:
            raise UsageError(f"{container.label} is a {dialect.format} checkpoint, not {wanted}")
    return make_plan(context, target, WriteOptions(mode, allow_lossy))


def diff(
    left: PathLike,
    right: PathLike,
    *,
    level: Level | str | None = None,
    plan: Plan | None = None,
    progress: Callable[[int], None] = lambda nbytes: None,
) -> Comparison:
    """Compare two checkpoints as models, whatever their formats. Raises as :func:`open` does.

    ``level`` is one of "headers", "scales" and "full". Without it two folders are compared byte for byte, and anything
    remote by headers and scale values. With the ``plan`` by which one was made of the other, what it declares is no
    difference.
    """
    from ckptkit.conversion.diff import compare

    a, b = open(left), open(right)
    return compare(a, b, progress, _level(level, diff_level(a, b)), plan)


def diff_level(left: Checkpoint, right: Checkpoint) -> Level:
    """How much of two checkpoints is compared unless the caller says: weights only where they are at hand."""
    remote = any(side.container.source.traffic is not None for side in (left, right))
    return Level.SCALES if remote else Level.FULL
