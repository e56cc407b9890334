"""Quantized modules inside and outside of routed experts."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.model.checkpoint import QuantizedModule


def outside_experts(context: Context) -> Iterator[QuantizedModule]:
    """The quantized modules that are no part of a routed expert."""
    modules = context.checkpoint.modules if context.checkpoint is not None else {}
    for name in context.outside_experts if modules else ():
        module = modules.get(name)
        if module is not None:
            yield module
