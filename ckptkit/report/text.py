"""Text for people, coloured on terminals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ckptkit.errors import CkptkitError, plural
from ckptkit.report.layout import print_line, table
from ckptkit.report.sink import console as console
from ckptkit.report.sink import manner

if TYPE_CHECKING:
    from ckptkit.conversion.plan import Plan, Step
    from ckptkit.storage.traffic import Traffic


def size(nbytes: float) -> str:
    """Bytes for people.

    >>> size(8_540_000_000), size(512), size(1_040_000)
    ('7.95 GiB', '512 B', '1016 KiB')
    """
    unit = "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if round(nbytes) < 1024:
            break
        nbytes, unit = nbytes / 1024, larger
    return f"{nbytes:.0f} {unit}" if unit == "B" or nbytes >= 1000 else f"{nbytes:.3g} {unit}"


def duration(seconds: float) -> str:
    """A time for people.

    >>> duration(0.4), duration(75), duration(7_500)
    ('0 s', '1:15', '2:05:00')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


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
    if error.faults:
        from ckptkit.report.faults_text import show_faults

        show_faults(out, error.faults)
    if error.help:
        print_line(out, ("  help: ", "bold cyan"), error.help)


def show_plan(plan: Plan) -> None:
    """Where from, where to, what it costs, what changes, what to know; quietly, the first of it."""
    out = console()
    cost = plan.cost
    print_line(
        out, (f"{plan.source_format} → {plan.target_format}", "bold"), f"  {plan.verdict.value}, {cost.kind.value}"
    )
    if manner().quiet:
        return
    parts = [f"{size(cost.copied)} copied as they are", f"{size(cost.rewritten)} rewritten (headers, config)"]
    if cost.computed:
        parts.append(f"{size(cost.computed)} computed")
    print_line(out, f"  {', '.join(parts)}, {plural(cost.files, 'file')}")
    if plan.steps:
        table(out, ("operation", "count", "tensor", "becomes", "why"), plan_rows(plan.steps), prose=True)
    print_line(
        out, f"  {plural(plan.changed, 'tensor')} changed in name, shape or type; {plan.kept:,} kept as they are"
    )
    for words in change_lines(plan):
        print_line(out, ("  changes:", "bold yellow"), f" {words}")
    for words in plan.gives_up:
        print_line(out, ("  gives up:", "bold red"), f" {words}")
    for note in plan.notes:
        print_line(out, ("  note", "cyan"), ": ", note)


def change_lines(plan: Plan) -> Iterator[str]:
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
