"""CK404 scale-not-power-of-two."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import Level, rule
from ckptkit.errors import Fault
from ckptkit.rules.dtypes.stored_types import declares_e8m0


@rule(
    "CK404",
    "scale-not-power-of-two",
    Severity.WARNING,
    level=Level.SCALES,
    reports=(
        "vllm-project/vllm#58157",
        "sgl-project/sglang#28662",
        "sgl-project/sglang#13067",
        "vllm-project/vllm#51372",
    ),
)
def scale_not_power_of_two(context: Context) -> Iterator[Fault]:
    """The config says that block scales are powers of two (``ue8m0``), and they are not.

    Why it hurts: backends that take the promise at its word drop the mantissa, or requantize the weights while
    loading. Scales that promise nothing are left alone here: on Blackwell DeepGEMM requantizes those too, which
    costs about 2.6 % of weight accuracy.

    Example: ``scale_fmt: ue8m0`` beside ``weight_scale_inv`` with the value 0.00213.

    Fix: export again with power-of-two scales, or remove ``scale_fmt``.
    """
    if not declares_e8m0(context):
        return
    for tensor, values in context.scale_values.values():
        if tensor.dtype == "F8_E8M0" or not tensor.name.endswith(("weight_scale", "weight_scale_inv")):
            continue
        if not (_is_power_of_two(values.minimum) and _is_power_of_two(values.maximum)):
            found = f"{values.minimum:.6g} to {values.maximum:.6g}"
            message = "the config declares power-of-two scales"
            yield Fault("scale-power", message, tensor.shard, tensor.name, "powers of two", found)


def _is_power_of_two(value: float) -> bool:
    """
    >>> _is_power_of_two(0.125), _is_power_of_two(0.1)
    (True, False)
    """
    import math

    return math.isfinite(value) and value > 0 and math.frexp(value)[0] == 0.5
