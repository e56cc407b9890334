"""Text for people, coloured on terminals."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

from ckptkit.errors import CkptkitError, Fault, plural
from ckptkit.report.layout import print_line, table

if TYPE_CHECKING:
    from rich.console import Console

    from ckptkit.conversion.plan import Plan, Step
    from ckptkit.storage.traffic import Traffic


#: Columns where there is no terminal to ask.
_WIDTH = 120


@lru_cache(maxsize=2)
def console(*, stderr: bool = False) -> Console:
    """The one console for standard output, and the one for standard error."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout  # None where it was closed: what is printed goes nowhere
    width = None if stream is not None and stream.isatty() else _WIDTH
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False, soft_wrap=True, width=width)


def size(nbytes: float) -> str:
    """Bytes for people.

    >>> size(8_540_000_000), size(512)
    ('7.95 GiB', '512 B')
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if nbytes < 1024:
            return f"{nbytes:.0f} B" if unit == "B" else f"{nbytes:.3g} {unit}"
        nbytes /= 1024
    return f"{nbytes:.3g} TiB"


def traffic_words(traffic: Traffic | None) -> str:
    """What a remote checkpoint cost to read, for the end of a list; nothing for a folder.

    >>> from ckptkit.storage.traffic import Traffic
    >>> traffic_words(Traffic(9, 150_000))
    ', 9 requests, 146 KiB fetched'
    """
    return f", {plural(traffic.requests, 'request')}, {size(traffic.nbytes)} fetched" if traffic else ""


def show_error(error: CkptkitError) -> None:
    """An error on standard error: one sentence, then every fault, then what to do."""
    out = console(stderr=True)
    print_line(out, ("error", "bold red"), ": ", error.message)
    for fault in error.faults:
        _show_fault(out, fault)
    if error.help:
        print_line(out, ("  help: ", "bold cyan"), error.help)


def _show_fault(out: Console, fault: Fault) -> None:
    place = ": ".join(part for part in (fault.file, fault.tensor) if part)
    print_line(out, f"  {place}: {fault.message}" if place else f"  {fault.message}")
    for label, value in (("expected", fault.expected), ("found", fault.found), ("help", fault.help)):
        if value:
            print_line(out, (f"    {label}: ", "dim"), value)


def show_plan(plan: Plan) -> None:
    """Where from, where to, what it costs, what changes, what to know."""
    out = console()
    cost = plan.cost
    print_line(
        out, (f"{plan.source_format} → {plan.target_format}", "bold"), f"  {plan.verdict.value}, {cost.kind.value}"
    )
    parts = [f"{size(cost.copied)} copied as they are", f"{size(cost.rewritten)} rewritten (headers, config)"]
    if cost.computed:
        parts.append(f"{size(cost.computed)} computed")
    print_line(out, f"  {', '.join(parts)}, {plural(cost.files, 'file')}")
    if plan.steps:
        table(out, ("operation", "count", "tensor", "becomes", "why"), plan_rows(plan.steps), prose=True)
    print_line(
        out, f"  {plural(plan.changed, 'tensor')} changed in name, shape or type; {plan.kept:,} kept as they are"
    )
    for words in _change_lines(plan):
        print_line(out, ("  changes:", "bold yellow"), f" {words}")
    for words in plan.gives_up:
        print_line(out, ("  gives up:", "bold red"), f" {words}")
    for note in plan.notes:
        print_line(out, ("  note", "cyan"), ": ", note)


def _change_lines(plan: Plan) -> Iterator[str]:
    """What a plan declares to change, alike changes together, and how far values may be off."""
    counted: dict[tuple[str, str, str], list[str]] = {}
    for change in plan.changes:
        counted.setdefault((change.aspect, change.before, change.after), []).append(change.subject)
    for (aspect, before, after), subjects in counted.items():
        more = f" and {len(subjects) - 1:,} more" if len(subjects) > 1 else ""
        yield f"{aspect} of {subjects[0]}{more}: {before} → {after}"
    rounded: dict[tuple[str, str], list[Step]] = {}
    for step in plan.steps:
        if step.loss:
            rounded.setdefault(("+".join(step.operations), step.loss), []).append(step)
    for (operations, loss), steps in rounded.items():
        kinds = f" of {len(steps)} kinds" if len(steps) > 1 else f" {steps[0].target}"
        yield f"values of {plural(sum(step.count for step in steps), 'tensor')}{kinds} ({operations}): {loss}"


def plan_rows(steps: Iterable[Step]) -> list[tuple[str, str, str, str, str]]:
    """The steps of a plan in few lines: those that keep their tensors' names are merged by the name's last part."""
    groups: dict[tuple[str, str, str, str | None], list[Step]] = {}
    for step in steps:
        operations = "+".join(step.operations)
        renamed = step.target != step.source
        source, target = _short_names(step.source, step.target)
        groups.setdefault((operations, step.reason, source, target if renamed else None), []).append(step)
    rows = []
    for (operations, reason, source, target), members in groups.items():
        before = f"{source} {_types(step.source_dtype for step in members)} {_shapes(s.source_shape for s in members)}"
        shapes = [step.target_shape for step in members if step.target_shape is not None]
        after = "-"
        if shapes:
            after = f"{target or ''} {_types(str(s.target_dtype) for s in members)} {_shapes(shapes)}".strip()
        rows.append((operations, f"{sum(step.count for step in members):,}", before, after, reason))
    return rows


def _short_names(source: str, target: str | None) -> tuple[str, str | None]:
    """Names without the owners that they share, and of a kept name only its last part.

    >>> _short_names("model.layers.*.self_attn.k_proj.output_scale", "model.layers.*.self_attn.k_scale")
    ('*.k_proj.output_scale', '*.k_scale')
    """
    if target is None or source == target:
        return f"*.{source.rpartition('.')[2]}", target
    left, right = source.split("."), target.split(".")
    shared = next(i for i, (a, b) in enumerate(zip([*left, ""], [*right, ""], strict=False)) if a != b)
    return f"*.{'.'.join(left[shared:])}", f"*.{'.'.join(right[shared:])}"


def _types(dtypes: Iterable[str]) -> str:
    return "/".join(dict.fromkeys(dtypes))


def _shapes(shapes: Iterable[tuple[int, ...]]) -> str:
    """One shape for many: extents that differ become letters.

    >>> _shapes([(64, 1), (64, 1)]), _shapes([(64, 1), (96, 1)])
    ('[64, 1]', '[N, 1]')
    """
    unique = list(dict.fromkeys(shapes))
    if len({len(shape) for shape in unique}) != 1:
        return "[...]"
    letters = iter("NKLM")
    extents = [str(axis[0]) if len(set(axis)) == 1 else next(letters) for axis in zip(*unique, strict=True)]
    return f"[{', '.join(extents)}]"
