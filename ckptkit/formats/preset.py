"""Ways to quantize without data, as data: each format's under the names that its own tools have for them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ckptkit.errors import UsageError, did_you_mean
from ckptkit.model.scheme import Scheme
from ckptkit.record import record

if TYPE_CHECKING:
    from ckptkit.operations.quantize import Arithmetic


@record
class Preset:
    """A scheme, and the arithmetic by which the tool of that name makes scales and codes.

    ``aliases`` are further names that the tool has for it. ``skips`` are glob patterns of modules that the tool leaves
    alone besides those that every tool does. The ``usual`` one is meant where a target is named and no preset is.
    """

    name: str
    scheme: Scheme
    arithmetic: Arithmetic
    aliases: tuple[str, ...] = ()
    skips: tuple[str, ...] = ()
    usual: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that it is known by, its own first."""
        return (self.name, *self.aliases)


def preset(presets: Iterable[Preset], name: str | None, target: str) -> Preset | None:
    """The preset of a name, whatever its case and its dashes; without a name the usual one, or None.

    Raises UsageError with the names that exist.
    """
    known = tuple(presets)
    if name is None:
        return next((one for one in known if one.usual), None)
    for one in known:
        if _plain(name) in map(_plain, one.names):
            return one
    names = [one.name for one in known]
    if not names:
        raise UsageError(f"{target} has no schemes to quantize by", help="targets that have some: ct, quark, ...")
    spelled = [text for one in known for text in one.names]
    help_text = did_you_mean(name, spelled, f"its schemes: {', '.join(names)}")
    raise UsageError(f"{target} has no scheme {name!r}", help=help_text)


def _plain(name: str) -> str:
    return name.strip().lower().replace("-", "_").replace(" ", "_")
