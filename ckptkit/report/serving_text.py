"""The command that serves a checkpoint, for people: the line to copy first, and under it why it is what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckptkit.report.layout import paragraph, print_line
from ckptkit.report.text import console

if TYPE_CHECKING:
    from rich.console import Console

    from ckptkit.views.serving import Serving

_LABEL, _MINIMUM = "tensor parallel", "not before"


def show(found: Serving, *, quiet: bool = False, out: Console | None = None) -> None:
    """The command, its options with their reasons, and the sizes that work; ``quiet`` shows the command alone."""
    out = out or console()
    engine = f"{found.engine_label} {found.version}{f' on {found.gpu}' if found.gpu is not None else ''}"
    if found.works:
        print_line(out, found.line, whole=True)
        if quiet:
            return
        print_line(out)
        print_line(out, f"{engine}: {found.verdict}", ("; other releases were not judged", "dim"))
    else:
        unknown = found.verdict == "not judged"
        said = f"whether {engine} serves this checkpoint was not judged"
        said = said if unknown else f"{engine} does not serve this checkpoint like this"
        print_line(out, (said, "bold yellow" if unknown else "bold red"))
        for reason in found.refusals:
            paragraph(out, "  ", reason, indent=4)
        if found.broken and not quiet:
            print_line(out, (f"'ckptkit validate --for {found.engine}' says more, and what can be fixed", "dim"))
    if quiet:
        return
    rows = [(" ".join(option.words), option.why) for option in found.options] if found.works else []
    if found.parallel:
        rows.append((_LABEL, _sizes(found)))
    rows += [(_MINIMUM, since) for since in found.minimum]
    width = max((len(words) for words, _ in rows), default=0)
    for words, why in rows:
        paragraph(out, "  ", (f"{words:{width}}", "bold"), f"  {why}", indent=width + 4)
    for note in found.notes:
        paragraph(out, "  ", note, indent=4)


def _sizes(found: Serving) -> str:
    """Which sizes work, and what stands in the way of the first that does not."""
    good = [str(size.size) for size in found.parallel if size.works]
    bad = [size for size in found.parallel if not size.works]
    parts = [f"{', '.join(good)} {'work' if len(good) > 1 else 'works'}"] if good else []
    if bad:
        sizes = ", ".join(str(size.size) for size in bad)
        parts.append(f"not {sizes}: {bad[0].obstacles[0]}")
    return "; ".join(parts)
