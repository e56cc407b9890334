"""Fixes for people: what was mended, what was taken back, and what would change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import unified_diff
from typing import TYPE_CHECKING, Any

from ckptkit.errors import printable
from ckptkit.model import names
from ckptkit.report.text import console, plural
from ckptkit.storage.container import CONFIG_FILE

if TYPE_CHECKING:
    from rich.console import Console

    from ckptkit.rules.fixes.edits import Edit
    from ckptkit.rules.fixes.mend import Mending

#: Kinds of edits of one fix beyond this many are counted, not shown.
_SHOWN_PER_FIX = 4


def show_fixes(mending: Mending, destination: str, *, written: bool, out: Console | None = None) -> None:
    """One paragraph for each fix that was made or taken back, then where the result is."""
    out = out or console()
    for fix in mending.applied:
        out.print(f"[bold green]fixed[/] [bold]{fix.code}[/] {fix.name}: {plural(fix.findings, 'finding')}")
        kinds = _alike(fix.edits)
        for example, count in kinds[:_SHOWN_PER_FIX]:
            out.print(f"    {printable(example)}", markup=False)
            if count > 1:
                out.print(f"    [dim]... and {count - 1:,} more like it[/]")
        hidden = sum(count for _, count in kinds[_SHOWN_PER_FIX:])
        if hidden:
            out.print(f"    [dim]... and {hidden:,} more[/]")
    show_reverted(mending, out=out)
    if written:
        out.print("[bold green]written[/]: ", end="")
        out.print(printable(destination), markup=False)


def show_reverted(mending: Mending, *, out: Console | None = None) -> None:
    """Fixes that were taken back: a person must decide, or the fix is wrong."""
    out = out or console()
    for item in mending.reverted:
        out.print(f"[bold yellow]not fixed[/] [bold]{item.code}[/] {item.name}: ", end="")
        out.print(printable(item.reason), markup=False)


def show_diff(mending: Mending, label: str, *, out: Console | None = None) -> None:
    """config.json as a unified diff, then every edit of tensors and index in a line of its own."""
    out = out or console()
    for line in config_diff(mending, label):
        colour = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
        out.print(printable(line), style=colour, markup=False)
    for fix in mending.applied:
        lines = [str(edit) for edit in fix.edits if not str(edit).startswith(f"{CONFIG_FILE}: ")]
        for line in lines:
            out.print(f"[bold]{fix.code}[/] ", end="")
            out.print(printable(line), markup=False)
    show_reverted(mending, out=out)
    count = sum(fix.findings for fix in mending.applied)
    would = f"would mend {plural(count, 'finding')} of {plural(len(mending.applied), 'rule')}"
    out.print(would if count else "nothing to mend")


def config_diff(mending: Mending, label: str) -> list[str]:
    """The lines of a unified diff of config.json; none if it stays as it is."""
    workspace = mending.workspace
    if CONFIG_FILE not in workspace.changed:
        return []
    before, after = workspace.original_config_text.splitlines(), workspace.config_text.splitlines()
    path = f"{label}/{CONFIG_FILE}"
    return list(unified_diff(before, after, path, path, lineterm=""))


def fixes_to_json(mending: Mending, destination: str, *, written: bool) -> Mapping[str, Any]:
    """The part ``fixes`` of a report as described by ``schemas/report.json``."""
    return {
        "destination": destination,
        "written": written,
        "applied": [
            {
                "code": fix.code,
                "name": fix.name,
                "safety": fix.safety,
                "findings": fix.findings,
                "edits": [str(edit) for edit in fix.edits],
            }
            for fix in mending.applied
        ],
        "reverted": [{"code": item.code, "name": item.name, "reason": item.reason} for item in mending.reverted],
    }


def _alike(edits: Iterable[Edit]) -> list[tuple[str, int]]:
    """Edits in words, those together that differ only in the numbers of names: an example and their number."""
    grouped: dict[str, list[str]] = {}
    for edit in edits:
        text = str(edit)
        grouped.setdefault(" ".join(names.generalise(word) for word in text.split(" ")), []).append(text)
    return [(texts[0], len(texts)) for texts in grouped.values()]
