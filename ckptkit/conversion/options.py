"""What a user asks of a conversion besides its target."""

from __future__ import annotations

from dataclasses import dataclass

from ckptkit.formats.base import WriteOptions


@dataclass(frozen=True)
class Options(WriteOptions):
    """Choices about a conversion: those that a writer sees, and those that are taken before it writes.

    ``modules`` are glob patterns of the modules that a change of values is for, empty for all of them.
    """

    modules: tuple[str, ...] = ()
