"""CK409 small-tensor-in-fp8."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import rule
from ckptkit.errors import Fault
from ckptkit.model.census import is_small


@rule("CK409", "small-tensor-in-fp8", Severity.ERROR, reports=("vllm-project/llm-compressor#2308",))
def small_tensor_in_fp8(context: Context) -> Iterator[Fault]:
    """A norm, a bias or another tensor that is no matrix is stored in FP8.

    Why it hurts: engines hold these in high precision and convert by value; there is no scale for them. Three
    mantissa bits in a norm or in an expert-choice bias change which tokens come out.

    Example: ``input_layernorm.weight`` F8_E4M3 [4096] after a cast of the whole state dict.

    Fix: take the tensor from the source checkpoint.
    """
    for tensor in context.checkpoint.stored_only if context.checkpoint else ():
        if is_small(tensor):
            message = "engines expect this tensor in high precision"
            yield Fault("small-fp8", message, tensor.shard, tensor.name, "BF16, F16 or F32", tensor.dtype)
