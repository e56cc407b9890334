"""Lines, paragraphs and tables for people. No text is read as markup, and nothing in it reaches a terminal raw.

Names come from files that anybody may have written. So styles are given beside the texts and never inside them, and
every text is made printable here, where it is laid out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from ckptkit.errors import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

#: A text, or a text and its style.
Part: TypeAlias = "str | tuple[str, str]"
#: One cell of a table: a text, or parts in several styles.
Cell: TypeAlias = "str | list[Part]"

#: Headings of columns whose cells are numbers.
_NUMBERS = frozenset({"count", "bytes", "parameters", "error", "SNR dB", "clipped", "dead rows"})
#: A wrapped column that would be narrower than this goes below its row instead.
_NARROWEST = 24
_BELOW = 6
_GAP = "  "
#: How far the rest of a line that was wrapped is set in.
_SET_IN = 4
_WORD = re.compile(r"\S+")


def print_line(out: Console, *parts: Part, whole: bool = False, indent: int | None = None) -> None:
    """Print one line: on a terminal wrapped between words, with what follows set in, and else however long it is.

    A program that reads it finds it in one piece, and so does who copies it from a terminal if it is ``whole``.
    ``indent`` is where what follows begins; by default a little further in than the line itself.
    """
    text = _text(parts)
    if whole or not out.is_terminal:
        out.print(text)
    else:
        begin = len(text.plain) - len(text.plain.lstrip(" ")) + _SET_IN
        paragraph(out, text, indent=begin if indent is None else indent)


def fits(out: Console, *parts: Part) -> bool:
    """Whether a line fits into the terminal that it is for; what is not for a terminal always does."""
    return not out.is_terminal or _text(parts).cell_len <= out.width


def paragraph(out: Console, *parts: Part | Text, indent: int = 0) -> None:
    """Print text wrapped between words to the console's width; only the first line is not indented by ``indent``."""
    lines = _wrapped(_text(parts), out.width, out.width - indent)
    for number, line in enumerate(lines):
        if number:
            line.pad_left(indent)
        out.print(line)


def table(out: Console, headings: Sequence[str], rows: Sequence[Sequence[Cell]], *, prose: bool = False) -> None:
    """Print columns as wide as their widest cells. Names are never broken, and no line ends in blanks.

    On a terminal that is too narrow for a row, its last columns go below it, for all rows the same. With ``prose``, the
    last column is wrapped to what is left of the console's width, or below its row where that is too little.
    """
    from rich.cells import cell_len
    from rich.text import Text

    texts = [[_text([cell] if isinstance(cell, str) else cell) for cell in row] for row in rows]
    texts.insert(0, [_text([(heading, "dim")]) for heading in headings])
    widths = [max(cell_len(row[column].plain) for row in texts) for column in range(len(headings))]
    lines = _lines_of_columns(widths[:-1] if prose else widths, out.width if out.is_terminal else None)
    rest = out.width - sum(width + len(_GAP) for width in widths[:-1]) - 1
    beside = prose and len(lines) == 1 and rest >= min(_NARROWEST, widths[-1])

    def aligned(row: list[Text], columns: range) -> Text:
        line = Text(" " * (_BELOW if columns.start else 1))
        for column in columns:
            cell = row[column]
            blanks = " " * (widths[column] - cell_len(cell.plain))
            line.append_text(Text.assemble(*((blanks, cell) if headings[column] in _NUMBERS else (cell, blanks)), _GAP))
        return line

    for row in texts:
        heads = [aligned(row, columns) for columns in lines]
        if beside:
            (head,) = heads
            for number, line in enumerate(_wrapped(row[-1], rest, rest)):
                _put(out, Text(" " * head.cell_len) + line if number else head + line)
            continue
        for head in heads:
            _put(out, head)
        for line in _wrapped(row[-1], out.width - _BELOW, out.width - _BELOW) if prose else ():
            _put(out, Text(" " * _BELOW) + line)


def _lines_of_columns(widths: Sequence[int], limit: int | None) -> list[range]:
    """Which columns stand in one line, and which below it, so that nothing but a single column is wider than ``limit``.

    >>> _lines_of_columns([10, 10, 20], 40), _lines_of_columns([10, 10, 20], None)
    ([range(0, 2), range(2, 3)], [range(0, 3)])
    """
    lines: list[range] = []
    begin, taken = 0, 1
    for column, width in enumerate(widths):
        # A first column that is wider than the terminal leaves a narrow one before it where it is.
        fits = limit is None or taken + width <= limit or (width > limit and column == begin + 1)
        if not fits and column > begin:
            lines.append(range(begin, column))
            begin, taken = column, _BELOW
        taken += width + len(_GAP)
    return [*lines, range(begin, len(widths))]


def _put(out: Console, line: Text) -> None:
    """Print a line of a row."""
    line.rstrip()
    if not line.plain:
        return
    if out.is_terminal:
        paragraph(out, line, indent=_BELOW)
    else:
        out.print(line)


def _text(parts: Sequence[Part | Text]) -> Text:
    from rich.text import Text

    return Text.assemble(*(_piece(part) for part in parts))


def _piece(part: Part | Text) -> Text | str | tuple[str, str]:
    if isinstance(part, str):
        return printable(part)
    return (printable(part[0]), part[1]) if isinstance(part, tuple) else part


def _wrapped(text: Text, first: int, others: int) -> list[Text]:
    """Lines that break between words only: a name that is cut in two cannot be searched for."""
    from rich.cells import cell_len

    breaks: list[int] = []
    begin = 0
    for word in _WORD.finditer(text.plain):
        width = others if breaks else first
        if word.start() > begin and cell_len(text.plain[begin : word.end()]) > width:
            begin = word.start()
            breaks.append(begin)
    lines = list(text.divide(breaks))
    for line in lines:
        line.rstrip()
    return lines
