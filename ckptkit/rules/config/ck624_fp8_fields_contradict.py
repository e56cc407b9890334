"""CK624 fp8-fields-contradict."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import rule
from ckptkit.errors import Fault


@rule("CK624", "fp8-fields-contradict", Severity.ERROR, reports=("sgl-project/sglang#4524",))
def fp8_fields_contradict(context: Context) -> Iterator[Fault]:
    """The fields of a ``quant_method: fp8`` config cannot go together.

    Why it hurts: vLLM wants ``activation_scheme`` to be static or dynamic, two numbers for a block size, and dynamic
    activations with blocks; it stops otherwise.

    Example: ``weight_block_size: [128, 128]`` with ``activation_scheme: static``.

    Fix: correct the fields.
    """
    yield from context.faults("fp8-fields")
