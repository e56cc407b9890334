"""Faults and findings for people: what many of them share is said once, and the message stands before a long name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from ckptkit.errors import plural, printable
from ckptkit.model import names
from ckptkit.report.layout import Part, fits, print_line
from ckptkit.report.sink import manner

if TYPE_CHECKING:
    from rich.console import Console

#: Kinds of faults of one refusal beyond this many are counted, not shown.
_SHOWN_KINDS = 12
#: What was found stands behind the message up to this many characters.
_LONGEST_FOUND = 60
#: How it is said that nothing was found, which the message says as well.
_NOTHING = ("", "nothing", "none")


class Stated(Protocol):
    """What faults and findings have in common."""

    @property
    def message(self) -> str:
        """One sentence."""

    @property
    def file(self) -> str | None:
        """The file that it is about."""

    @property
    def tensor(self) -> str | None:
        """The tensor or module that it is about."""

    @property
    def expected(self) -> str | None:
        """What should be there."""

    @property
    def found(self) -> str | None:
        """What is there."""

    @property
    def help(self) -> str | None:
        """What to do."""


One = TypeVar("One", bound=Stated)


def alike(stated: Iterable[One]) -> list[list[One]]:
    """Faults or findings, those together that differ only in numbers within names."""
    grouped: dict[tuple[str | None, ...], list[One]] = {}
    for one in stated:
        texts = (one.tensor, one.message, one.expected, one.found)
        grouped.setdefault(tuple(names.generalise(text) if text else None for text in texts), []).append(one)
    return list(grouped.values())


def said(one: Stated) -> str:
    """What one line says of it: the message, and what was found where that is what it is about: a key or an entry.

    >>> from ckptkit.errors import Fault
    >>> said(Fault("key", "a key that no reader knows", "config.json", found="scale_dtpye"))
    'a key that no reader knows: scale_dtpye'
    """
    found = one.found
    if one.tensor is not None or found in (None, *_NOTHING) or found in one.message or len(found) > _LONGEST_FOUND:
        return one.message
    return f"{one.message}: {found}"


def place_of(one: Stated) -> str:
    """File and tensor, as far as they are known."""
    return ": ".join(printable(part) for part in (one.file, one.tensor) if part)


def details(one: Stated) -> Iterator[tuple[str, str]]:
    """What follows the first line: labels and texts."""
    for label, value in (("expected", one.expected), ("found", one.found), ("help", one.help)):
        if value:
            yield label, printable(value)


def show_first_line(out: Console, head: Sequence[Part], group: Sequence[Stated], *, alone: bool = False) -> None:
    """Place and message of the first of a group, and how many are like it; ``alone``: no details follow.

    Where a terminal is too narrow for that in one line, the message comes first and the place below it.
    """
    one, where = group[0], place_of(group[0])
    more: Part = (f" (and {len(group) - 1:,} like it)" if len(group) > 1 else "", "dim")
    message = said(one) if alone else one.message
    line: list[Part] = [*head, f"{where}: " if where else "", message, more]
    if fits(out, *line) or not where:
        print_line(out, *line)
    else:
        print_line(out, *head, message, more)
        print_line(out, ("    at: ", "dim"), where)


def show_details(out: Console, one: Stated) -> None:
    """What was expected and found, and what to do."""
    for label, value in details(one):
        print_line(out, (f"    {label}: ", "dim"), value)


def show_faults(out: Console, faults: Sequence[Stated]) -> None:
    """Every fault of a refusal, those that are alike once; details that the next one repeats below the last."""
    groups = [[fault] for fault in faults] if manner().verbose else alike(faults)
    shown = groups if manner().verbose else groups[:_SHOWN_KINDS]
    for group, following in zip(shown, [*shown[1:], None], strict=True):
        show_first_line(out, ["  "], group)
        if following is None or list(details(group[0])) != list(details(following[0])):
            show_details(out, group[0])
    hidden = sum(len(group) for group in groups[len(shown) :])
    if hidden:
        kinds = len(groups) - len(shown)
        print_line(out, (f"  ... and {hidden:,} more of {plural(kinds, 'kind')}; --verbose lists all", "dim"))
