"""How what is returned looks: one short line at a prompt, one table in a notebook.

A class says with :class:`Look` what it is about and what it counts; lines and tables are made here and nowhere else.
Names come from files of anybody: they are clipped, spelled out where they are not printable, and never read as markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeAlias

from ckptkit.errors import printable
from ckptkit.record import record

#: What a line is shorter than, and the part of it that a name may take.
LONGEST_LINE, _LONGEST_NAME = 200, 90
#: Rows and characters of a cell that a table shows.
MOST_ROWS, _LONGEST_CELL = 50, 300
#: Notebooks typeset formulas in tables too, with links in them, unless a class forbids it.
_AS_IT_IS = "ckptkit tex2jax_ignore mathjax_ignore"

#: Text, a number, words that belong together, or nothing.
Cell: TypeAlias = "str | int | Iterable[str] | None"


@record
class Look:
    """What there is to show of an object: its name, what it counts, and a table.

    ``rows`` may be endless or dear: only the first ones are taken, and none for a line. ``total`` says how many there
    are.
    """

    name: str
    facts: Sequence[str]
    columns: Sequence[str] = ()
    rows: Iterable[Sequence[Cell]] = ()
    total: int = 0


class Shown:
    """What has a short repr and a table in notebooks. A dataclass below it is made with ``repr=False``."""

    def _look(self) -> Look:
        raise NotImplementedError

    def __repr__(self) -> str:
        look = self._look()
        line = f"{type(self).__name__} {_clipped(look.name, _LONGEST_NAME)!r}: {printable(', '.join(look.facts))}"
        return f"<{_shortened(line, LONGEST_LINE - 3)}>"

    def _repr_html_(self) -> str:
        return "\n".join(_table(type(self).__name__, self._look()))


def _clipped(text: str, most: int) -> str:
    """The end of a name, which is what tells it from others.

    >>> _clipped("models/organisation/checkpoint", 13)
    '...checkpoint'
    """
    return text if len(text) <= most else f"...{text[3 - most :]}"


def _shortened(text: str, most: int) -> str:
    """
    >>> _shortened("a sentence that goes on", 13)
    'a sentence...'
    """
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _table(kind: str, look: Look) -> Iterator[str]:
    facts = _escaped(", ".join(look.facts))
    yield f'<table class="{_AS_IT_IS}">'
    yield f"<caption>{kind} <code>{_escaped(look.name)}</code>: {facts}</caption>"
    if look.columns:
        heads = "".join(f'<th scope="col">{_escaped(column)}</th>' for column in look.columns)
        yield f"<thead><tr>{heads}</tr></thead>"
    yield "<tbody>"
    for row in islice(look.rows, MOST_ROWS):
        yield f"<tr>{''.join(f'<td>{_escaped(_words(cell))}</td>' for cell in row)}</tr>"
    yield "</tbody>"
    if look.total > MOST_ROWS:
        yield f'<tfoot><tr><td colspan="{len(look.columns)}">and {look.total - MOST_ROWS:,} more</td></tr></tfoot>'
    yield "</table>"


def _words(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, int):
        return f"{cell:,}"
    return cell if isinstance(cell, str) else ", ".join(cell)


def _escaped(text: str) -> str:
    from html import escape  # not needed by who prints nothing

    return escape(printable(_shortened(text, _LONGEST_CELL)))
