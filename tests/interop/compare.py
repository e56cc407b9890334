"""What differs between two readings of tensors, one line per difference.

``assert differences(source.processed, target.processed) == []`` is an assertion that explains itself.
"""

from __future__ import annotations

from collections.abc import Mapping

from .oracles import TensorFacts


def differences(
    left: Mapping[str, TensorFacts], right: Mapping[str, TensorFacts], *, values_only: bool = False
) -> list[str]:
    """Names on one side only, and tensors whose content differs.

    Dimensions of one do not count (a per-tensor scale is ``[]`` in one dialect and ``[1]`` in another), and
    vLLM's ``weight_scale_inv`` (the block scales of plain fp8) is a ``weight_scale``. With ``values_only`` two
    dtypes that hold the same numbers are equal.
    """
    left, right = _canonical(left), _canonical(right)
    lines = [f"{name}: only on the left" for name in sorted(left.keys() - right.keys())]
    lines += [f"{name}: only on the right" for name in sorted(right.keys() - left.keys())]
    for name in sorted(left.keys() & right.keys()):
        if _identity(left[name], values_only) != _identity(right[name], values_only):
            lines.append(f"{name}: {left[name]} is not {right[name]}")
    return lines


def _canonical(tensors: Mapping[str, TensorFacts]) -> dict[str, TensorFacts]:
    return {name.replace(".weight_scale_inv", ".weight_scale"): facts for name, facts in tensors.items()}


def _identity(facts: TensorFacts, values_only: bool) -> tuple[object, ...]:
    shape = tuple(size for size in facts.shape if size != 1)
    if values_only:
        return shape, facts.values_sha256
    return shape, facts.dtype, facts.sha256
