"""Layers that predict further tokens: engines build them apart from the model, or not at all."""

from __future__ import annotations

import re
from enum import Enum

from ckptkit.engines.dimensions import Dimensions


class Drafts(Enum):
    """What becomes of layers that predict where a model is loaded."""

    APART = "built as a model of their own, once somebody asks for it"
    LEFT_OUT = "never built"


#: Parts of names of multi-token prediction layers.
MTP_NAMES = re.compile(r"(^|\.)(mtp\w*|nextn\w*)(\.|$)")


def is_mtp(dimensions: Dimensions, module: str) -> bool:
    """Whether a module belongs to a multi-token prediction layer, by its name or beyond the promised layers.

    >>> is_mtp(Dimensions(layers=61, mtp_layers=1), "model.layers.61.mlp.up_proj")
    True
    """
    if MTP_NAMES.search(module):
        return True
    position = module.find("layers.")
    if dimensions.layers is None or position < 0 or dimensions.mtp_layers is None:
        return False
    number = module[position + 7 :].partition(".")[0]
    return number.isdigit() and int(number) >= dimensions.layers
