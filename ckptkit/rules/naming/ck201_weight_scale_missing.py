"""CK201 weight-scale-missing."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import rule
from ckptkit.errors import Fault
from ckptkit.model import names

_EXPERT = re.compile(r"(?<=\.experts\.)\d+(?=\.)")
_OTHER_SPELLINGS = ("weight_scale_inv", "scale_weight", "scale", "weight_quantizer.scale")


@rule(
    "CK201",
    "weight-scale-missing",
    Severity.ERROR,
    reports=(
        "vllm-project/vllm#57108",
        "radixark/miles#1640",
        "kekzl/imp#1450",
    ),
)
def weight_scale_missing(context: Context) -> Iterator[Fault]:
    """A quantized weight has no scale under any known name.

    Why it hurts: vLLM does not notice. The scale keeps the value it was allocated with (-3.4e38), and the layer
    computes garbage. If only the last part of a fused layer lacks its scale, the result is even plausible. Where no
    weight has one, and their numbers are small, a model may have been cast as it is: who takes codes for values is then
    right.

    Example: ``model.layers.3.mlp.up_proj.weight`` is F8_E4M3 and ``model.layers.3.mlp.up_proj.weight_scale`` is
    nowhere.

    Fix: export again; a scale cannot be made up.
    """
    tensors = context.container.tensors
    bare = [module for module in context.modules if module.weight_scale is None]
    throughout = len(bare) == len(context.modules)
    # Only beside what lacks one does it matter which have one: there may be a hundred thousand modules.
    with_scales = (module.name for module in context.modules if bare and module.weight_scale is not None)
    scaled = set(map(_all_experts, with_scales)) - {None}
    for module in bare:
        if not any(f"{module.name}.{e}" in tensors for e in _OTHER_SPELLINGS):
            in_part = "experts-in-part" if _all_experts(module.name) in scaled else None
            yield Observation(
                "weight-scale-missing",
                "the weight is FP8 but no scale is stored for it",
                module.weight.shard,
                module.weight.name,
                expected=names.join(module.name, "weight_scale"),
                found="nothing",
                help="export the checkpoint again; the scale cannot be recovered",
                variant="throughout" if throughout else in_part,
                if_codes=("throughout", "throughout/values") if throughout else None,
                may_be_codes=(module.weight,),
            )


def _all_experts(module: str) -> str | None:
    """A projection of all experts of a layer, by the name of one; None for what is no expert's.

    >>> _all_experts("model.layers.0.mlp.experts.3.up_proj"), _all_experts("model.layers.0.mlp.up_proj")
    ('model.layers.0.mlp.experts.*.up_proj', None)
    """
    name, count = _EXPERT.subn("*", module)
    return name if count else None
