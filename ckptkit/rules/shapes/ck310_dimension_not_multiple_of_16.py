"""CK310 dimension-not-multiple-of-16."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import rule
from ckptkit.errors import Fault

#: FP8 matrix multiplications read 16 elements at once.
_MULTIPLE = 16


@rule(
    "CK310",
    "dimension-not-multiple-of-16",
    Severity.WARNING,
    reports=(
        "vllm-project/vllm#7550",
        "vllm-project/vllm#17595",
        "pytorch/ao#1268",
    ),
)
def dimension_not_multiple_of_16(context: Context) -> Iterator[Fault]:
    """An FP8 weight has a dimension that is no multiple of 16.

    Why it hurts: the FP8 matrix multiplications of CUTLASS and PyTorch read 16 elements at once; there is no other
    path, and the engine stops at the first request.

    Example: a vision MLP of 3,420 rows.

    Fix: leave that layer in BF16 and list it in the skip list.
    """
    for module in context.modules_where(lambda module: any(extent % _MULTIPLE for extent in module.weight.shape)):
        message = f"no FP8 kernel takes a dimension that is no multiple of {_MULTIPLE}"
        weight = module.weight
        expected = f"multiples of {_MULTIPLE}"
        yield Fault("dimension-16", message, weight.shard, weight.name, expected, str(list(weight.shape)))
