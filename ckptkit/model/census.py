"""A census of stored tensors: every tensor gets exactly one role, by the names that one format uses.

This is the step between a container (names without meaning) and a checkpoint (meaning without names). A tensor
that looks like a quantization parameter but has no role in the format is *foreign*: it is never silently treated
as an ordinary weight.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from ckptkit.dtypes import DTYPES
from ckptkit.model.names import is_adapter
from ckptkit.storage.payload import TensorRef


class Role(str, Enum):
    """What a tensor is to its module."""

    WEIGHT_SCALE = "weight_scale"
    INPUT_SCALE = "input_scale"
    OUTPUT_SCALE = "output_scale"
    K_SCALE = "k_scale"
    V_SCALE = "v_scale"
    KV_SCALE = "kv_scale"
    Q_SCALE = "q_scale"
    PROB_SCALE = "prob_scale"


#: Endings of tensors that are no matrices of a linear layer.
_KEEP_HIGH = ("norm.weight", "layernorm.weight", ".bias", "e_score_correction_bias", "embed_tokens.weight")
#: Names that only quantizers write. One of these without a role in the format is foreign.
_QUANTIZER_NAME = re.compile(
    r"_quantizer\.|_observer\.|(^|[._])(zero_point|amax|g_idx|weight_shape|weight_packed|qweight|qzeros|qscale|scales"
    r"|comfy_quant|pre_quant_scale"
    r"|(weight|input)(_global)?_scale(_inv|_\d)?|kv_scale|scale_(weight|input|inv))$"
    r"|(^|\.)((prob_)?output|activation|act|bias)_scale(_\d)?$|(^|\.)[kqv]_scale$|(^|\.)(shared_)?input_rotation(_\d+)?$"
)
#: Names that models use for parameters of their own too (``logit_scale``): foreign beside an FP8 tensor only.
_SCALE_NAME = re.compile(r"(.+)[._]scale$")

_FP8_CODES = frozenset(code for code, dtype in DTYPES.items() if dtype.is_fp8)


@dataclass
class Census:
    """Tensors sorted by role; ``weights`` holds each 2-D ``.weight`` of a layer under its module's name."""

    weights: dict[str, TensorRef] = field(default_factory=dict)
    roles: dict[Role, dict[str, TensorRef]] = field(default_factory=lambda: {role: {} for role in Role})
    plain: list[TensorRef] = field(default_factory=list)
    foreign: list[TensorRef] = field(default_factory=list)
    fp8_elsewhere: list[TensorRef] = field(default_factory=list)


#: Whether a dtype code is an 8-bit float for weights.
is_fp8: Callable[[str], bool] = _FP8_CODES.__contains__


def is_quantizer_name(name: str) -> bool:
    """Whether only quantizers write tensors of such a name.

    >>> is_quantizer_name("mlp.up_proj.weight_scale"), is_quantizer_name("mlp.up_proj.bias")
    (True, False)
    """
    return _QUANTIZER_NAME.search(name) is not None


def _is_foreign(tensor: TensorRef, tensors: Mapping[str, TensorRef]) -> bool:
    """Whether a tensor without a role can only be a quantizer's: by its name, its dtype, or what it stands beside."""
    if tensor.dtype == "F8_E8M0" or is_quantizer_name(tensor.name):
        return True
    found = _SCALE_NAME.match(tensor.name)
    beside = (found[1], f"{found[1]}.weight") if found else ()
    return any(name in tensors and is_fp8(tensors[name].dtype) for name in beside)


def take_census(
    tensors: Mapping[str, TensorRef], names: Mapping[str, Role], stack_scales: tuple[str, ...] = ()
) -> Census:
    """Sort tensors by role. ``names`` maps a name's ending (after the module) to its role in one format.

    ``stack_scales`` are what the scale of a stack of experts adds to the stack's name, where that does not end in
    ``.weight``; such a stack is a module of its own name.
    """
    census = Census()
    weights, plain = census.weights, census.plain
    places = {ending: census.roles[role] for ending, role in names.items()}
    two_part = any("." in ending for ending in names)
    for name, tensor in tensors.items():
        module, _, last = name.rpartition(".")
        if last == "weight":
            if len(tensor.shape) == 2 and not is_adapter(module):
                weights[module] = tensor
            elif is_fp8(tensor.dtype):
                census.fp8_elsewhere.append(tensor)
            else:
                plain.append(tensor)
            continue
        place = places.get(last)
        if place is None and two_part:
            owner, _, before = module.rpartition(".")
            place = places.get(f"{before}.{last}")
            module = owner if place is not None else module
        if place is not None and module not in place:
            place[module] = tensor
        elif place is not None:
            census.foreign.append(tensor)  # a second spelling of the same scale
        elif is_fp8(tensor.dtype):
            census.fp8_elsewhere.append(tensor)
        elif _is_foreign(tensor, tensors):
            census.foreign.append(tensor)
        else:
            plain.append(tensor)
    if stack_scales and census.fp8_elsewhere:
        _find_stack_scales(census, tensors, stack_scales)
    return census


def _find_stack_scales(census: Census, tensors: Mapping[str, TensorRef], endings: tuple[str, ...]) -> None:
    """Give the scales of stacks of experts their role."""
    found = census.roles[Role.WEIGHT_SCALE]
    taken: set[str] = set()
    for weight in census.fp8_elsewhere:
        if is_stack(weight) and not weight.name.endswith(".weight"):
            scale = next((tensors[weight.name + end] for end in endings if weight.name + end in tensors), None)
            if scale is not None:
                found[weight.name] = scale
                taken.add(scale.name)
    if taken:
        census.plain[:] = [tensor for tensor in census.plain if tensor.name not in taken]
        census.foreign[:] = [tensor for tensor in census.foreign if tensor.name not in taken]


def is_stack(weight: TensorRef) -> bool:
    """Whether a weight holds all experts of a layer: it has three dimensions."""
    return len(weight.shape) == 3


def stack_name(weight: TensorRef) -> str:
    """The name of a stack of experts as a module: what comes before ``.weight``, or the whole name."""
    return weight.module if weight.name.endswith(".weight") else weight.name


def is_small(tensor: TensorRef) -> bool:
    """Whether an FP8 tensor is no matrix of a linear layer."""
    return is_fp8(tensor.dtype) and (len(tensor.shape) < 2 or tensor.name.endswith(_KEEP_HIGH))
