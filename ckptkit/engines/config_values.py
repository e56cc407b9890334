"""Values that no FP8 checkpoint's config has, under the words of the formats, as engines' tables speak of them (CK600).

A variant ends in the kind of layers that a value is about: any, those in blocks, experts, or those with scales of
inputs.
"""

from __future__ import annotations

from collections.abc import Iterable

LAYERS = ("", "-blocks", "-experts", "-static")
#: What the classes of compressed-tensors itself refuse, whoever reads by them.
REFUSED_BY_LIBRARY = ("blocks-without-size", "groups-without-size", "weight-bits", "word", "no-weights")
#: Values of Quark's configs for which readers of its schemes find none.
WITHOUT_SCHEME = (
    *(f"{role}-{what}" for role in ("weight", "input") for what in ("e5m2", "dtype", "other")),
    *("weight-granularity", "default-missing", "bias"),
)


def about(*values: str, layers: Iterable[str] = LAYERS) -> tuple[str, ...]:
    """The variants of values, in whatever layers they are.

    >>> about("bias", layers=("", "-experts"))
    ('CK600/bias', 'CK600/bias-experts')
    """
    kinds = tuple(layers)
    return tuple(f"CK600/{value}{kind}" for value in values for kind in kinds)
