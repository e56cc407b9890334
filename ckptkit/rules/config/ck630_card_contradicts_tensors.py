"""CK630 card-contradicts-tensors."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.card.facts import CARD_FILE, contradictions
from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import Level, OnConversion, rule
from ckptkit.errors import Fault


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
    files = {entry.name for entry in context.container.side_files}
    if context.checkpoint is None or CARD_FILE not in files:
        return
    text = context.container.source.read(CARD_FILE).decode("utf-8", errors="replace")
    yield from contradictions(context.checkpoint, text)
