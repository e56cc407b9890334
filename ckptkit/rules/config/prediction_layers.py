"""Layers that predict further tokens: engines build them apart from the model, or not at all."""

from __future__ import annotations

import re

from ckptkit.checks.context import Context

#: Parts of names of multi-token prediction layers.
MTP_NAMES = re.compile(r"(^|\.)(mtp\w*|nextn\w*)(\.|$)")


def is_mtp(context: Context, module: str) -> bool:
    """Whether a module belongs to a multi-token prediction layer, by its name or beyond the promised layers."""
    if MTP_NAMES.search(module):
        return True
    layers = context.dimensions.layers
    position = module.find("layers.")
    if layers is None or position < 0 or context.dimensions.mtp_layers is None:
        return False
    number = module[position + 7 :].partition(".")[0]
    return number.isdigit() and int(number) >= layers
