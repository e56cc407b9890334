"""CK624 fp8-fields-contradict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import rule
from ckptkit.errors import Fault, excerpt

_SCHEMES = ("static", "dynamic")


@rule("CK624", "fp8-fields-contradict", Severity.ERROR, reports=("sgl-project/sglang#4524",))
def fp8_fields_contradict(context: Context) -> Iterator[Fault]:
    """The fields of a ``quant_method: fp8`` config cannot go together.

    Why it hurts: vLLM wants ``activation_scheme`` to be static or dynamic, two numbers for a block size, and dynamic
    activations with blocks; it stops otherwise.

    Example: ``weight_block_size: [128, 128]`` with ``activation_scheme: static``.

    Fix: correct the fields.
    """
    if context.method != "fp8":
        return
    scheme, block = context.block.get("activation_scheme"), context.block.get("weight_block_size")
    if scheme not in _SCHEMES:
        yield _fields("activation_scheme is neither static nor dynamic", "static or dynamic", scheme)
    if block is None:
        return
    numbers = isinstance(block, Sequence) and [type(n) is int and n > 0 for n in block] == [True, True]
    if not numbers:
        yield _fields("weight_block_size is not two numbers", "[128, 128]", block)
    elif scheme == "static":
        yield _fields("block scales go with dynamic activations only", "activation_scheme dynamic", scheme)


def _fields(message: str, expected: str, found: Any) -> Fault:
    return Fault(
        "fp8-fields", message, "config.json", None, expected, excerpt(found) if found is not None else "nothing"
    )
