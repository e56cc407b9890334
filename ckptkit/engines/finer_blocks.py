"""Where an engine splits experts inside a block of scales."""

from __future__ import annotations

from ckptkit.record import record


@record
class FinerBlocks:
    """Where an engine splits experts inside a block: it repeats scales for the largest blocks that fit all parts.

    ``smallest`` is the least size of such a block, ``formats`` hold keys of dialects, ``without`` the kinds of hardware
    on which no kernel takes them.
    """

    formats: tuple[str, ...]
    smallest: int
    without: tuple[str, ...]
    where: str
