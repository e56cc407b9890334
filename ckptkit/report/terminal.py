"""Lines whose parts have styles, and the console that they are printed to.

Only bold, dim, five colours and the widths of characters are needed here. A library for terminals took an eighth of the
time of a quick command to import, more than a conversion spends on its files.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TextIO

from ckptkit.record import record

#: Words of styles -> parameters of the escape sequence that turns them on.
_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36"}
#: Every character before this one takes one column.
_FIRST_UNEVEN = "\u0300"


def columns(text: str) -> int:
    """How many columns of a terminal a printable text takes.

    >>> columns("layers"), columns("層"), columns("e\u0301")
    (6, 2, 1)
    """
    if text.isascii() or max(text) < _FIRST_UNEVEN:
        return len(text)
    from unicodedata import category, east_asian_width

    return sum(0 if category(one) in ("Mn", "Me") else 2 if east_asian_width(one) in "WF" else 1 for one in text)


@record
class Line:
    """One line: printable texts, each with its style, which is empty or words such as ``bold red``."""

    pieces: tuple[tuple[str, str], ...] = ()

    @property
    def plain(self) -> str:
        """The text without styles."""
        return "".join(text for text, _ in self.pieces)

    @property
    def columns(self) -> int:
        """How many columns of a terminal it takes."""
        return columns(self.plain)

    def stripped(self) -> Line:
        """The line without the blanks at its end."""
        return self._between(0, len(self.plain.rstrip()))

    def divided(self, offsets: Sequence[int]) -> list[Line]:
        """The lines that begin at the first character and at each of these, in order."""
        return [self._between(*ends) for ends in zip((0, *offsets), (*offsets, len(self.plain)), strict=True)]

    def _between(self, begin: int, end: int) -> Line:
        pieces, at = [], 0
        for text, style in self.pieces:
            piece = text[max(begin - at, 0) : max(end - at, 0)]
            if piece:
                pieces.append((piece, style))
            at += len(text)
        return Line(tuple(pieces))


def joined(parts: Iterable[Line | str]) -> Line:
    """Lines and texts without a style, one after the other, as one line."""

    def pieces() -> Iterator[tuple[str, str]]:
        for part in parts:
            if isinstance(part, Line):
                yield from part.pieces
            else:
                yield part, ""

    return Line(tuple(pieces()))


@record
class Console:
    """What lines are printed to: ``file``, or standard output or standard error as it is at that moment.

    ``width`` is in columns. ``is_terminal``: somebody looks, so lines are wrapped; ``is_coloured``: styles are shown.
    """

    width: int
    is_terminal: bool = False
    is_coloured: bool = False
    stderr: bool = False
    file: TextIO | None = None

    @property
    def encoding(self) -> str:
        """The encoding of the stream."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    @property
    def _stream(self) -> TextIO | None:
        return self.file or (sys.stderr if self.stderr else sys.stdout)

    def print(self, line: Line) -> None:
        """Print a line; nothing where the stream was closed before the command began."""
        stream = self._stream
        if stream is not None:
            stream.write("".join(self._shown(text, style) for text, style in line.pieces) + "\n")
            stream.flush()

    def _shown(self, text: str, style: str) -> str:
        if not (text and style and self.is_coloured):
            return text
        return f"\x1b[{';'.join(_CODES[word] for word in style.split())}m{text}\x1b[0m"
