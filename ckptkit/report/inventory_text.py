"""What a folder holds, for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ckptkit.errors import plural
from ckptkit.model.summary import Summary
from ckptkit.report.layout import Part, print_line, table
from ckptkit.report.text import console, size, traffic_words

if TYPE_CHECKING:
    from rich.console import Console

    from ckptkit.model.inventory import Inventory, PartOfFolder
    from ckptkit.storage.payload import TensorRef

#: Where the answers begin, in columns: under each other, behind the longest label.
_INDENT = 11


def show_inventory(found: Inventory) -> None:
    """What it is, how it is quantized, how large it is and of what; of a checkpoint that was read all that is known."""
    out = console()
    print_line(out, (found.label, "bold"))
    architecture = f", {found.architecture}" if found.architecture else ""
    read = isinstance(found, Summary)
    if isinstance(found, Summary):
        _line(out, "format", f"{found.format} ({found.dialect}){architecture}")
        if found.what != "model":
            _line(out, "kind", found.what)
        _line(out, "scheme", (found.scheme, "bold"))
    else:
        _line(out, "kind", f"{found.what}{architecture}")
        _line(out, "scheme", (found.quantization, "bold"))
    if found.tensors:
        _line(out, "size", _size(found))
        _line(out, "dtypes", ", ".join(f"{code} {size(nbytes)}" for code, nbytes in found.dtypes.items()))
    if isinstance(found, Summary):
        for item in found.scales:
            span = (
                f"{item.minimum:.4g}" if item.minimum == item.maximum else f"{item.minimum:.4g} to {item.maximum:.4g}"
            )
            _line(out, "scales", f"{item.kind}: {plural(item.tensors, 'tensor')}, {span}")
    for note in found.notes:
        _line(out, "note", note)
    if not read and found.tally.kinds:
        rows = [
            (
                f"{c.tensors:,}",
                f"{c.nbytes:,}",
                "unknown" if c.parameters is None else f"{c.parameters:,}",
                c.kind.value,
            )
            for c in found.tally.kinds
        ]
        table(out, ("count", "bytes", "parameters", "kind"), rows)
    if found.parts:
        table(out, ("count", "part", "size", "what it is"), [_part_row(part) for part in found.parts], prose=True)
    if isinstance(found, Summary):
        _show_modules(out, found)


def show_in_one_line(found: Inventory) -> None:
    """Its name and its quantization, for who looks through many."""
    scheme = f"{found.format}, {found.scheme}" if isinstance(found, Summary) else found.quantization
    print_line(console(), (found.label, "bold"), f": {scheme}")


def _line(out: Console, label: str, *parts: Part) -> None:
    """A label and its answer: wrapped for a terminal, one line for a program that looks for words in it."""
    print_line(out, f"  {label:<{_INDENT - 2}}", *parts, indent=_INDENT)


def _size(found: Inventory) -> str:
    original = ""
    if isinstance(found, Summary):
        original = f" ({size(found.original_bytes)} in 16 bits, ratio {found.ratio:.2f})"
    parameters = "unknown number of parameters" if found.parameters is None else f"{found.parameters:,} parameters"
    where = f"{plural(found.tensors, 'tensor')} in {plural(found.shards, 'shard')}{traffic_words(found.traffic)}"
    return f"{size(found.data_bytes)}{original}, {where}, {parameters}"


def _part_row(part: PartOfFolder) -> tuple[str, str, str, str]:
    words = ", ".join(words for words in (part.what, part.quantization) if words)
    return f"{part.files:,}", part.name, size(part.nbytes), words


def _show_modules(out: Console, summary: Summary) -> None:
    """The kinds of modules; the scheme that most of them have is said once."""
    counted: Counter[str] = Counter()
    for kind in summary.modules:
        counted[kind.scheme] += kind.count
    common = counted.most_common(1)[0][0] if counted else ""
    if not summary.scheme.startswith(common):
        print_line(out, f"  mostly   {common}")
    rows = [
        (str(kind.count), kind.name, str(list(kind.shape)), "" if kind.scheme == common else kind.scheme)
        for kind in summary.modules
    ]
    table(out, ("count", "module", "shape", "other scheme" if len(counted) > 1 else ""), rows, prose=True)


def show_tensors(tensors: Iterable[TensorRef]) -> None:
    """Every tensor, one a line."""
    rows = [(t.name, t.dtype, str(list(t.shape)), f"{t.nbytes:,}", t.shard) for t in tensors]
    table(console(), ("tensor", "dtype", "shape", "bytes", "shard"), rows)
