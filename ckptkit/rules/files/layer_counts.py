"""How many decoder layers are stored."""

from __future__ import annotations

from ckptkit.checks.context import Context
from ckptkit.model import names


def stored_layers(context: Context) -> dict[str, set[int]]:
    """Prefix of a layer stack of the language model -> the numbers of its stored layers.

    Nothing for an encoder with a decoder: configs count the layers of only one of them.
    """
    if context.config.get("is_encoder_decoder") is True:
        return {}
    stacks: dict[str, set[int]] = {}
    for name in (*context.outside_experts, *context.experts):
        position = name.find("layers.")
        if position < 0 or (position and name[position - 1] != "."):
            continue
        number = name[position + 7 :].partition(".")[0]
        if number.isdecimal():
            stacks.setdefault(name[:position], set()).add(int(number))
    return {prefix: stored for prefix, stored in stacks.items() if names.other_tower(prefix) is None}
