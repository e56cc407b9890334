"""Entries of skip lists and targets that may tell a layer's routed experts apart."""

from __future__ import annotations

import re

_EXPERTS = ".experts"
#: Entries that mean the same of every expert of a layer, in any style, by their form alone: dotted names, and patterns
#: in which no number is written and nothing but ``*`` can stand for one: a single ``.`` has a letter beside it.
_DOTTED = re.compile(r"[A-Za-z_][\w-]*(?:\.[\w-]+)*")
_LETTERS = re.compile(r"(?:re:)?(?:[A-Za-z_*^$()|-]|\(\?:|\\\.|\.\*|(?<=[A-Za-z_])\.|\.(?=[A-Za-z_]))*")


def tells_experts_apart(entry: str) -> bool:
    """Whether an entry of a skip list or a target, read in any style, may mean some routed experts of a layer and not
    others. Where that cannot be excluded by its form it may.

    >>> [tells_experts_apart(entry) for entry in ("model.layers.3.mlp.gate", "re:.*mlp.gate$", "*.up_proj")]
    [False, False, False]
    >>> [tells_experts_apart(entry) for entry in ("3.up_proj", "s.1", "re:.*experts.0.*", "re:.*[.].[.]up_proj")]
    [True, True, True, True]
    """
    if _EXPERTS[1:] in entry:
        return True
    if _DOTTED.fullmatch(entry):
        return _EXPERTS.endswith(entry.partition(".")[0])
    return _LETTERS.fullmatch(entry) is None
