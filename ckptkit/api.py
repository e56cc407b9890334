"""The Python interface: open, inspect, validate, fix, plan, convert, diff, cards. Typed, and nothing is printed.

.. code-block:: python

    import ckptkit

    report = ckptkit.validate("Llama-3.1-8B-FP8")
    ckptkit.convert("Llama-3.1-8B-FP8-KV", "out", to="ct")
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from ckptkit.checks.level import Level, default_level
from ckptkit.errors import UsageError
from ckptkit.formats.reading import open_checkpoint
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.storage.locate import PathLike, new_folder, open_files, source_of
from ckptkit.storage.source import Source
from ckptkit.storage.traffic import unheard

# What only some calls need is imported by them: half of a quick command's time would be imports.
if TYPE_CHECKING:
    from concurrent.futures import Executor

    from typing_extensions import Unpack

    from ckptkit.card.section import Card
    from ckptkit.checks.registry import Rule
    from ckptkit.conversion.comparison import Comparison
    from ckptkit.conversion.execute import Result
    from ckptkit.conversion.plan import Plan
    from ckptkit.conversion.request import Choices
    from ckptkit.model.inventory import Inventory
    from ckptkit.storage.container import Container
    from ckptkit.validation import Sizes, Validation, Words
    from ckptkit.views.serving import Serving


def open(path: PathLike) -> Checkpoint:
    """Read a checkpoint into the canonical model; no tensor bytes are read.

    Raises UsageError when the folder does not exist, ContainerError when its files are damaged, FormatError when
    its quantization config is not one that ckptkit reads.
    """
    container = open_files(path)
    container.raise_if_damaged()
    return open_checkpoint(container).checkpoint


def inspect(path: PathLike | Checkpoint, *, scales: bool | None = None) -> Inventory:
    """Say what a folder is and holds; of a checkpoint that ckptkit reads a Summary, which says more.

    There need be no reader, no quantization and no config.json. ``path`` may be what :func:`open` gave. Without
    ``scales``, scale values are read from a folder and not from anything remote.

    Raises UsageError when the folder does not exist, ContainerError when its files are damaged or hold no weights.
    """
    if not isinstance(path, Checkpoint):
        return look(path, scales=scales)[0]
    from ckptkit.views import inventory

    return inventory.summary(path, scales=_read_scales(path.container.source, scales))


def look(path: PathLike, *, scales: bool | None = None) -> tuple[Inventory, Container | None]:
    """What :func:`inspect` says of a folder, and its container where it has weights of its own."""
    from ckptkit.views import inventory

    source = source_of(path)
    return inventory.look(source, scales=_read_scales(source, scales))


def _read_scales(source: Source, wanted: bool | None) -> bool:
    return default_level(source) is Level.SCALES if wanted is None else wanted


def validate(
    path: PathLike,
    *,
    level: Level | str | None = None,
    select: Words = None,
    ignore: Words = None,
    extend_select: Words = None,
    engines: Words = None,
    fix: bool = False,
    unsafe_fixes: bool = False,
    diff: bool = False,
    output: PathLike | None = None,
    matrix: bool = False,
    tensor_parallel: Sizes = None,
    gpu: str | None = None,
    skip_list: bool = False,
    expect: PathLike | None = None,
    isolated: bool = True,
) -> Validation:
    """Check a checkpoint for everything that breaks engines. Damage is reported as findings.

    ``level`` is one of "headers", "scales" and "full"; without it, scales for a folder and headers for anything
    remote. ``select``, ``ignore`` and ``extend_select`` take rules by prefix (CK3), code, family or name; ``engines``
    keeps what hits these. ``matrix``, ``tensor_parallel`` and ``skip_list`` add tables, ``gpu`` ("h100", "sm_90",
    "mi300x", "cpu") narrows that of the engines to hardware, ``expect`` compares a
    repository on the Hub with the folder that was uploaded, ``diff`` tries fixes without writing them; for ``fix``,
    ``unsafe_fixes`` and ``output`` see :func:`fix`. Unless ``isolated``, settings files count.

    Raises UsageError and ContainerError when there is nothing to look at, or for arguments that make no sense.
    """
    from ckptkit import validation

    request = validation.Request(
        level=level,
        select=select,
        ignore=ignore,
        extend_select=extend_select,
        engines=engines,
        unsafe_fixes=unsafe_fixes,
        tensor_parallel=tensor_parallel,
        gpu=gpu,
        fix=fix,
        diff=diff,
        output=output,
        matrix=matrix,
        skip_list=skip_list,
        expect=expect,
        isolated=isolated,
    )
    return validation.validate(path, request)


def fix(
    path: PathLike,
    *,
    output: PathLike | None = None,
    unsafe_fixes: bool = False,
    level: Level | str | None = None,
    select: Words = None,
    ignore: Words = None,
    extend_select: Words = None,
    engines: Words = None,
    isolated: bool = True,
) -> Validation:
    """Correct what is safe to correct, in place or into the new folder ``output``; no weight byte changes.

    With ``unsafe_fixes`` judgement calls are made too. The other arguments choose the findings, as for
    :func:`validate`. The result holds the findings that are left; its ``fixes`` say what was applied and taken back.
    Files are staged, checked and moved into place: after an exception the checkpoint is as it was. Raises as
    :func:`validate` does, and OutputError.
    """
    return validate(
        path,
        fix=True,
        output=output,
        unsafe_fixes=unsafe_fixes,
        level=level,
        select=select,
        ignore=ignore,
        extend_select=extend_select,
        engines=engines,
        isolated=isolated,
    )


def serving(
    path: PathLike, *, engine: str = "vllm", tensor_parallel: int | None = None, gpu: str | None = None
) -> Serving:
    """The command that serves a checkpoint as it is meant, with the reason for each option; nothing is started.

    ``engine`` is one that is known to be started by a command; ``tensor_parallel`` a number of devices, without which
    the usual ones are looked at; ``gpu`` their kind. Raises UsageError for other engines and kinds, and as
    :func:`validate` does.
    """
    from ckptkit.checks import runner
    from ckptkit.engines import gpus
    from ckptkit.engines.registry import by_name
    from ckptkit.views import serving as view

    kind = None if gpu is None else gpus.by_name(gpu)
    container = open_files(path)
    context = runner.read_context(container)
    server = by_name(engine)
    report = runner.run(context, default_level(container.source), engines=(server.name,))
    return view.serving(context, report, server, os.fspath(path), tensor_parallel, kind)


def rule(code: str) -> Rule:
    """The rule of a code (CK301) or a name: what it checks, why it hurts, whom. Raises UsageError with what is near."""
    from ckptkit.checks.registry import by_code

    return by_code(code)


def all_rules() -> tuple[Rule, ...]:
    """Every rule, by code."""
    from ckptkit.checks import registry

    return registry.all_rules()


def model_card(
    path: PathLike, *, repo: str | None = None, base_model: str | None = None, converted_from: str | None = None
) -> Card:
    """The model card of a checkpoint folder, brought up to date; nothing is written until :func:`write_card`.

    ``repo`` is the name to serve it by (default: the folder's), ``base_model`` the model that was quantized,
    ``converted_from`` the checkpoint that this one was converted from. ``card.changed`` says whether the folder's
    README.md differs, ``card.untrue`` what it claims and the tensors deny. Raises as :func:`open` does.
    """
    from ckptkit.card.section import make
    from ckptkit.storage.place import local_folder

    folder = local_folder(path)
    return make(open(folder), folder, name=repo, base_model=base_model, converted_from=converted_from)


def write_card(card: Card) -> None:
    """Put a card into its folder as README.md, in one rename. Raises OutputError; the old card is then still there."""
    from ckptkit.card.section import write

    write(card)


def plan(
    source: PathLike,
    destination: PathLike | None = None,
    *,
    to: str,
    **choices: Unpack[Choices],
) -> Plan:
    """Plan a conversion without writing. Raises ConversionRefused with every reason when it would lose anything.

    ``to`` is a format's name or alias ("ct", "quark"); ``mode`` is a dialect of it ("fp8" for Quark). With
    ``expect``, a source in any other format is refused. With ``allow_lossy``, values may be rounded where the target's
    writer declares it. ``modules`` are glob patterns: with ``to="bf16"``, these modules alone are dequantized.

    A source that is not quantized becomes so by ``scheme``, a preset of the target under its own tool's name
    (FP8_DYNAMIC): all linear modules but heads, routers, towers and prediction layers, or these too without
    ``default_skips``; ``skip`` are glob patterns of further modules to leave alone, ``modules`` of those to restrict it
    to. With ``allow_lossy``, FP8 modules are requantized to a ``scheme``.

    ``max_shard_size`` ("5GB", or bytes) makes new shards of the result, of at most so many bytes of tensors.
    With ``mx_to_fp8``, MXFP4 and MXFP8 modules become FP8 in blocks even where the target could carry them.
    ``experts`` ("split", "stack") makes modules of stacked experts or the reverse, ``fused`` ("split", "fuse") parts of
    qkv and gate_up projections. ``granularity`` ("channel", "block") writes the one scale of a weight for each of
    these, ``scale_dtype`` ("F32", "E8M0") is the type of weight scales, exact or refused. ``scales_from`` is a
    checkpoint of the same model, or what :func:`open` gave of one: static scales of inputs for a scheme, and scales of
    the KV cache that this one has not, come from it; ``drop_kv_scales`` leaves the latter out.

    With ``destination``, it is checked as :func:`convert` does that the result could be written there; raises
    OutputError.
    """
    from ckptkit.conversion.planner import plan_source
    from ckptkit.conversion.request import ConversionRequest

    files = source_of(source)
    made = plan_source(files, ConversionRequest.of(to, **choices))
    if destination is not None:
        from ckptkit.conversion.execute import check

        check(made, files, new_folder(destination))
    return made


def execute(
    plan: Plan,
    source: PathLike,
    destination: PathLike,
    *,
    jobs: int = 2,
    fsync: bool = True,
    executor: Executor | None = None,
    progress: Callable[[int], None] | None = None,
) -> Result:
    """Carry out a plan, which may come from another process: ``Plan.from_json(json.loads(text))``.

    ``executor`` is any of ``concurrent.futures``: it gets a task for each file of the result. Raises ConversionRefused
    when the source is not what it was when the plan was made, and else as :func:`convert` does.
    """
    from ckptkit.conversion import execute as execution

    files = source_of(source)
    execution.require_same_source(plan, files)
    return execution.execute(
        plan, files, new_folder(destination), jobs=jobs, fsync=fsync, progress=progress or unheard, executor=executor
    )


def convert(
    source: PathLike,
    destination: PathLike,
    *,
    to: str,
    jobs: int = 2,
    fsync: bool = True,
    executor: Executor | None = None,
    on_plan: Callable[[Plan], None] | None = None,
    progress: Callable[[int], None] | None = None,
    **choices: Unpack[Choices],
) -> Result:
    """Convert a checkpoint into a new folder, which appears complete or not at all.

    What is to be done is said as for :func:`plan`; ``executor`` is that of :func:`execute`.
    ``on_plan`` is called once before the first byte, ``progress`` with the number of bytes just written, from worker
    threads. Raises ConversionRefused or OutputError, before anything is written wherever that is possible; after any
    exception the destination does not exist.
    """
    from ckptkit.conversion.execute import check, execute
    from ckptkit.conversion.planner import plan_source
    from ckptkit.conversion.request import ConversionRequest

    if jobs < 1:
        raise UsageError(f"{jobs} jobs: give one at least")
    files, target = source_of(source), new_folder(destination)
    made = plan_source(files, ConversionRequest.of(to, **choices))
    check(made, files, target)
    if on_plan is not None:
        on_plan(made)
    return execute(made, files, target, jobs=jobs, fsync=fsync, progress=progress or unheard, executor=executor)


def diff(
    left: PathLike | Checkpoint,
    right: PathLike | Checkpoint,
    *,
    level: Level | str | None = None,
    plan: Plan | None = None,
    progress: Callable[[int], None] | None = None,
) -> Comparison:
    """Compare two checkpoints as models, whatever their formats, or one with the base that it was quantized from.

    ``left`` and ``right`` may be what :func:`open` gave, and need not be quantized. ``level`` is one of "headers",
    "scales" and "full". Without it two folders are compared byte for byte, and anything remote by headers and scale
    values. At level "full" the result's ``errors`` hold how far each weight is off whose values differ. With the
    ``plan`` by which one was made of the other, what it declares is no difference. Raises as :func:`open` does.
    """
    from ckptkit.conversion.diff import compare
    from ckptkit.conversion.diff_sides import diff_level, open_to_compare

    a, b = open_to_compare(left), open_to_compare(right)
    return compare(a, b, progress or unheard, Level.of(level, diff_level(a, b)), plan)
