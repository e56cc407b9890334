"""CK630 card-contradicts-tensors."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.card import CARD_FILE
from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import Level, OnConversion, rule
from ckptkit.errors import ContainerError, Fault
from ckptkit.storage.untrusted import MOST_TEXT_BYTES


@rule(
    "CK630",
    "card-contradicts-tensors",
    Severity.WARNING,
    level=Level.SCALES,
    conversion=OnConversion.CARRIED,
    unreported="a card is read by people; engines do not look at it",
)
def card_contradicts_tensors(context: Context) -> Iterator[Fault]:
    """README.md claims something about the quantization that the tensors deny.

    Why it hurts: people choose a checkpoint, and the hardware for it, by its card. A card that was copied from
    another checkpoint, or not rewritten after a conversion, sends them to the wrong one.

    Example: the tag ``compressed-tensors`` on a Quark checkpoint, or "FP8 KV cache" where no KV scale is stored.

    Fix: ``ckptkit card`` writes the section and the tags from the tensors.
    """
    if context.checkpoint is None:
        return
    try:
        data = context.container.side_file(CARD_FILE, MOST_TEXT_BYTES)
    except ContainerError as error:
        yield Fault("card-unreadable", "the card cannot be read", CARD_FILE, None, "a text", error.message)
        return
    if data is not None:
        from ckptkit.card.facts import contradictions  # what only a card needs is imported for it

        yield from contradictions(context.checkpoint, data.decode("utf-8", errors="replace"))
