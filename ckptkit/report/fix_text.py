"""Fixes for people: what was fixed, what was taken back, and what would change."""

from __future__ import annotations

import json
from collections.abc import Iterable
from difflib import unified_diff
from typing import TYPE_CHECKING

from ckptkit.edits.changes import CONFIG_EDITS
from ckptkit.errors import plural
from ckptkit.model import names
from ckptkit.report.layout import print_line
from ckptkit.report.text import console
from ckptkit.storage.container import CONFIG_FILE

if TYPE_CHECKING:
    from rich.console import Console

    from ckptkit.checks.fixing import Fixes
    from ckptkit.edits.changes import Edit

#: Kinds of edits of one fix beyond this many are counted, not shown.
_SHOWN_PER_FIX = 4
#: A changed line of config.json beyond this many characters says nothing in a diff.
_LONGEST_LINE = 200


def show_fixes(fixes: Fixes, destination: str, *, written: bool, out: Console | None = None) -> None:
    """One paragraph for each fix that was made or taken back, then where the result is."""
    out = out or console()
    for fix in fixes.applied:
        what = f" {fix.name}: {plural(fix.findings, 'finding')}"
        print_line(out, ("fixed", "bold green"), " ", (fix.code, "bold"), what)
        kinds = _alike(fix.edits)
        for example, count in kinds[:_SHOWN_PER_FIX]:
            print_line(out, f"    {example}")
            if count > 1:
                print_line(out, (f"    ... and {count - 1:,} more like it", "dim"))
        hidden = sum(count for _, count in kinds[_SHOWN_PER_FIX:])
        if hidden:
            print_line(out, (f"    ... and {hidden:,} more", "dim"))
    show_reverted(fixes, out=out)
    if written:
        print_line(out, ("written", "bold green"), f": {destination}")


def show_reverted(fixes: Fixes, *, out: Console | None = None) -> None:
    """Fixes that were taken back: a person must decide, or the fix is wrong."""
    out = out or console()
    for item in fixes.reverted:
        print_line(out, ("not fixed", "bold yellow"), " ", (item.code, "bold"), f" {item.name}: {item.reason}")


def show_diff(fixes: Fixes, label: str, *, out: Console | None = None) -> None:
    """JSON files as unified diffs, then every edit of tensors and index in a line of its own."""
    out = out or console()
    for line in (line for name in fixes.workspace.changed_documents for line in config_diff(fixes, label, name)):
        print_line(out, (line, {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")))
    for fix in fixes.applied:
        for edit in fix.edits:
            if not isinstance(edit, CONFIG_EDITS):
                print_line(out, (fix.code, "bold"), f" {edit}")
    show_reverted(fixes, out=out)
    count = sum(fix.findings for fix in fixes.applied)
    would = f"would fix {plural(count, 'finding')} of {plural(len(fixes.applied), 'rule')}"
    print_line(out, would if count else "nothing to fix")


def config_diff(fixes: Fixes, label: str, name: str = CONFIG_FILE) -> list[str]:
    """The lines of a unified diff of config.json, or of another JSON file; none if it stays as it is.

    Where a changed line is too long to compare, the file is indented first, and the headers of the diff say so.
    """
    workspace = fixes.workspace
    if name not in workspace.changed:
        return []
    before, after = workspace.original_text_of(name), workspace.text_of(name)
    path = f"{label}/{name}"
    lines = _diff(before, after, path)
    if any(len(line) > _LONGEST_LINE and line[0] in "+-" for line in lines):
        return _diff(_indented(before), _indented(after), f"{path} (reformatted)") or lines
    return lines


def _diff(before: str, after: str, path: str) -> list[str]:
    return list(unified_diff(before.splitlines(), after.splitlines(), path, path, lineterm=""))


def _indented(text: str) -> str:
    """JSON with one value a line; a text that is no JSON, or that is missing, as it is."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text


def _alike(edits: Iterable[Edit]) -> list[tuple[str, int]]:
    """Edits in words, those together that differ only in the numbers of names: an example and their number."""
    grouped: dict[str, list[str]] = {}
    for edit in edits:
        text = str(edit)
        grouped.setdefault(" ".join(names.generalise(word) for word in text.split(" ")), []).append(text)
    return [(texts[0], len(texts)) for texts in grouped.values()]
