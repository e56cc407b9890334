"""Carrying out a plan: stage, copy, sync, check what was written, rename."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ckptkit.checks import runner
from ckptkit.checks.registry import Level, OnConversion, errors_that
from ckptkit.conversion.plan import CostKind, Plan
from ckptkit.errors import CkptkitError, ConversionRefused, Fault, plural
from ckptkit.formats.reading import open_checkpoint
from ckptkit.operations.outputs import loss_of
from ckptkit.operations.stream import stream
from ckptkit.record import record
from ckptkit.shown import Look, Shown
from ckptkit.storage.container import CONFIG_FILE, Container, open_container
from ckptkit.storage.output import VirtualContainer
from ckptkit.storage.payload import ByteRange, TensorRef
from ckptkit.storage.source import LocalSource, Source
from ckptkit.storage.staging import check_destination, confirm, staging, sync_folders
from ckptkit.storage.writer import file_sizes, write_container

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from ckptkit.conversion.comparison import Errors


#: Operations that may round values which nobody asked to have rounded: what that costs is measured when it is done.
_MEASURED = frozenset({"requantize", "mx-to-blocks"})


@record(repr=False)
class Result(Shown):
    """A conversion that was carried out: where, how fast, and by which means bytes were moved.

    ``errors`` say how far values are off that were rounded once more, measured in what was written.
    """

    plan: Plan
    destination: Path
    seconds: float
    moved: dict[str, int]
    errors: Errors | None = None

    def _look(self) -> Look:
        plan = self.plan
        formats = f"{plan.source_format} to {plan.target_format}"
        bytes_in_time = f"{sum(self.moved.values()):,} bytes in {self.seconds:.2f} s"
        facts = [formats, plan.verdict.value, plural(plan.cost.files, "file"), bytes_in_time]
        return Look(str(self.destination), facts, ("bytes moved by", "bytes"), self.moved.items(), len(self.moved))

    def to_json(self) -> dict[str, Any]:
        """The result as described by ``schemas/result.json``."""
        errors = {} if self.errors is None else {"errors": self.errors.to_json()}
        return {
            "plan": self.plan.to_json(jobs=False),
            "destination": str(self.destination),
            "seconds": round(self.seconds, 3),
            "bytes_by_method": self.moved,
            **errors,
        }


def check(plan: Plan, source: Source, destination: Path) -> None:
    """Everything about the destination that can be refused before the first byte."""
    copied = (part for job in plan.output.jobs for part in job.payloads if isinstance(part, ByteRange))
    sample = next((source.local_path(part.file) for part in copied), None)
    shareable = plan.cost.copied if plan.cost.kind is CostKind.HEADER_ONLY else 0
    check_destination(destination, source.root, plan.cost.total, shareable=shareable, sample=sample)


def execute(
    plan: Plan,
    source: Source,
    destination: Path,
    *,
    jobs: int = 2,
    fsync: bool = True,
    progress: Callable[[int], None] = lambda nbytes: None,
    executor: Executor | None = None,
) -> Result:
    """Write the plan's output to ``destination``, which appears complete or not at all.

    ``jobs`` threads of this process write the files, or whatever ``executor`` has: threads, processes, other machines
    that see the same folders. Each of its tasks is one file and can be pickled. Where there are fewer shards than
    ``jobs``, as many threads work out what is in them.
    """
    check(plan, source, destination)
    begin = time.perf_counter()
    alone = executor is None and plan.cost.computed and len(plan.output.shards) < jobs
    with staging(destination) as folder, _helpers(jobs if alone else 0) as helpers:
        moved = write_container(
            plan.output,
            source,
            folder,
            stream=stream if helpers is None else partial(stream, ahead=helpers),
            jobs=jobs,
            fsync=fsync,
            progress=progress,
            executor=executor,
        )
        _require_sound(folder, plan.output)
        if fsync:
            sync_folders(folder)
    if fsync:
        confirm(f"{destination} is complete", [destination.resolve().parent])
    by_method = {method.value: count for method, count in moved.items() if count}
    seconds = time.perf_counter() - begin
    return Result(plan, destination, seconds, by_method, _measured(plan, source, destination))


@contextmanager
def _helpers(workers: int) -> Iterator[Executor | None]:
    """Threads that make stripes of files of which there are fewer than workers; None without workers."""
    if workers < 2:
        yield None
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(workers, thread_name_prefix="ckptkit-stripes") as pool:
        yield pool


def _measured(plan: Plan, source: Source, destination: Path) -> Errors | None:
    """How far weights that were rounded once more are off, beside the source's; None where none is."""
    tensors = (tensor for shard in plan.output.shards for tensor in shard.tensors)
    if not any(tensor.operation in _MEASURED and loss_of(tensor) is not None for tensor in tensors):
        return None
    from ckptkit.conversion.diff import compare

    before, after = (open_checkpoint(open_container(files)).checkpoint for files in (source, LocalSource(destination)))
    found = compare(before, after).errors
    if found is None:
        return None
    # The source's values are what the codes were made of: what is beyond their range was clipped.
    return replace(found, weights=tuple(replace(weight, base_is_exact=True) for weight in found.weights))


def require_same_source(plan: Plan, source: Source) -> None:
    """Refuse to carry out a plan on files that it was not made for. Raises ConversionRefused with what differs."""
    found = {entry.name: entry.size for entry in source.files()}
    faults = [
        Fault("source-changed", "not the file that the plan was made for", name, None, *sizes)
        for name in {**plan.source_files, **found}
        if (sizes := (_bytes(plan.source_files, name), _bytes(found, name)))[0] != sizes[1]
    ]
    if not faults:
        digest = hashlib.sha256(source.read(CONFIG_FILE)).hexdigest()
        if digest != plan.source_config:
            faults.append(Fault("source-changed", "not the config that the plan was made for", CONFIG_FILE))
        faults += _moved_inputs(plan, open_container(source))
    if faults:
        help_text = "make a new plan: ckptkit convert --dry-run --json"
        raise ConversionRefused(f"{source.label} has changed since the plan was made", faults=faults, help=help_text)


def _moved_inputs(plan: Plan, container: Container) -> Iterator[Fault]:
    """Tensors that the plan reads and that are not stored as it says: each whole, or cut into runs that make it up."""
    stored = {_place(tensor) for header in container.headers for tensor in header.tensors.values()}
    runs: dict[str, set[TensorRef]] = {}
    for shard in plan.output.shards:
        for output in shard.tensors:
            for tensor in map(_place, output.inputs):
                if tensor not in stored:
                    runs.setdefault(tensor.name, set()).add(tensor)
    for name, found in runs.items():
        first = min(found, key=lambda run: run.start)
        whole = first._replace(nbytes=sum(run.nbytes for run in found))
        if whole not in stored or whole.stop != max(run.stop for run in found):
            yield Fault("source-changed", "no such tensor any more", first.shard, name)


def _place(tensor: TensorRef) -> TensorRef:
    """A stored tensor in no shape: a format may see rows where the file has blocks."""
    return tensor._replace(shape=())


def _require_sound(folder: Path, planned: VirtualContainer) -> None:
    """Read the staged folder as a stranger would, scale values included, before it gets its name."""
    try:
        container = open_container(LocalSource(folder))
        container.raise_if_damaged()
        faults = list(_deviations(container, planned))
        if not faults:
            rules = errors_that(OnConversion.BLOCKS, OnConversion.FIXED)
            report = runner.run(runner.read_context(container), Level.SCALES, rules)
            faults = [finding.to_fault() for finding in report.errors]
    except CkptkitError as error:
        raise ConversionRefused("the written checkpoint cannot be read back", faults=error.faults) from error
    if faults:
        raise ConversionRefused("the written checkpoint is not sound", faults=faults)


def _deviations(container: Container, planned: VirtualContainer) -> Iterator[Fault]:
    """Where the files on disk are not what the plan promised: a file, its size, a tensor, its dtype or shape."""
    promised = file_sizes(planned)
    found = {entry.name: entry.size for entry in container.source.files()}
    for name in {**promised, **found}:
        if found.get(name) != promised.get(name):
            yield Fault("written-size", "not as planned", name, None, _bytes(promised, name), _bytes(found, name))
    headers = {header.shard: header for header in container.headers}
    for shard in planned.shards:
        stored = headers[shard.file].tensors if shard.file in headers else {}
        wanted = {tensor.name: (tensor.dtype, tensor.shape) for tensor in shard.tensors}
        got = {tensor.name: (tensor.dtype, tensor.shape) for tensor in stored.values()}
        for name in {**wanted, **got} if wanted != got else ():
            if wanted.get(name) != got.get(name):
                expected, meant = str(wanted.get(name, "absent")), str(got.get(name, "absent"))
                yield Fault("written-tensor", "not as planned", shard.file, name, expected, meant)


def _bytes(sizes: Mapping[str, int], name: str) -> str:
    return f"{sizes[name]:,} bytes" if name in sizes else "no such file"
