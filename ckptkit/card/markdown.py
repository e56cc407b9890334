"""Text that comes from a checkpoint, in each context of a Markdown file in which a card shows some.

A tensor's name, a word of a config or a folder's name may hold anything. Nothing of it may end its cell, its code span
or its line, be taken for HTML or for one of our own markers, or move a terminal's cursor.
"""

from __future__ import annotations

import re
import shlex

from ckptkit.errors import printable

#: The block of metadata that a card begins with: its first line, what it says, its last line.
METADATA = re.compile(r"\A(\s*---[ \t]*\r?\n)(.*?)(\r?\n---[ \t]*(?:\r?\n|\Z))", re.DOTALL)
#: Some editors begin a file with it. The hub library finds no metadata behind it, so it is not written again.
BYTE_ORDER_MARK = "\ufeff"

#: What has a meaning in a line of Markdown; an underscore has one at the edge of a word only.
_SPECIAL = re.compile(r"[\\`*\[\]<>|~]|(?<![^\W_])_|_(?![^\W_])")
_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")
_BACKTICKS = re.compile("`+")


def cell(text: str) -> str:
    r"""Plain text in a cell of a table.

    >>> print(cell("<b>a|b_c</b>"))
    \<b\>a\|b_c\</b\>
    """
    return _SPECIAL.sub(r"\\\g<0>", printable(text).strip())


def from_cell(text: str) -> str:
    """The text that :func:`cell` was given; what is not printable stays spelled out."""
    return _ESCAPED.sub(r"\1", text.strip())


def code(text: str) -> str:
    r"""A code span in a cell of a table.

    >>> print(code("lm_head"), code("a`b|c"))
    `lm_head` ``a`b\|c``
    """
    shown = printable(text).replace("<!--", r"\x3c!--").replace("|", r"\|")
    ticks = "`" * (1 + _longest_run(shown))
    edge = " " if shown[:1] in ("`", " ", "") or shown[-1:] in ("`", " ") else ""
    return f"{ticks}{edge}{shown}{edge}{ticks}"


def heading(text: str) -> str:
    """The text of a heading."""
    return cell(text).replace("#", r"\#")


def shell_word(text: str) -> str:
    """A name as one word of a command, without an option's dash, and without our markers' beginning."""
    shown = printable(text)
    if shown.startswith("-"):
        shown = f"./{shown}"
    return shlex.quote(shown).replace("<!--", "<''!--")


def fenced(command: str, language: str) -> str:
    """A block of code, in a fence that nothing in it closes."""
    fence = "`" * max(3, 1 + _longest_run(command))
    return f"{fence}{language}\n{command}\n{fence}"


def _longest_run(text: str) -> int:
    return max((len(run) for run in _BACKTICKS.findall(text)), default=0)
