"""Modules whose elements have scales of groups (MXFP4, MXFP8, NVFP4): which they are, and their plain weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ckptkit.formats.layouts import MXFP4_BLOCKS
from ckptkit.model import names
from ckptkit.model.checkpoint import Checkpoint, OpaqueModule, Part
from ckptkit.model.granularity import PerGroup, PerTensor
from ckptkit.operations import mx, nvfp4
from ckptkit.operations.operation import OperationError
from ckptkit.operations.outputs import computed
from ckptkit.storage.output import Drop, OutputTensor

#: What config.json says there of experts in four bits.
_PACKED = "fp4"
#: Layouts of stacks [E, N, K] that models know as [E, K, N] once they are plain.
_TRANSPOSED = frozenset({MXFP4_BLOCKS.storage})


def elements_of(module: OpaqueModule) -> str | None:
    """The element type of a microscaling module: groups of 32 with E8M0 scales; None for anything else, or half of it.

    A module without its scale, or whose shapes do not fit, is none either.
    """
    scheme = module.scheme.weight
    weight, scale = module.weight, module.parts.get(Part.SCALE)
    if scheme is None or scheme.granularity != PerGroup(mx.GROUP) or scheme.second is not None:
        return None
    if scheme.scale_dtype not in mx.SCALE_DTYPES or scheme.dtype not in mx.ELEMENTS or not scheme.symmetric:
        return None
    if weight is None or scale is None:
        return None
    try:
        computed("", "mx-dequantize", (weight, scale), {"elements": scheme.dtype, "dtype": "F32"})
    except OperationError:
        return None
    return scheme.dtype


def product(module: OpaqueModule, dtype: str) -> OutputTensor | None:
    """The weight of a module with scales of groups as plain floats; None for anything else, or half of it."""
    weight, scale, second = module.weight, module.parts.get(Part.SCALE), module.parts.get(Part.SECOND_SCALE)
    kind, scheme = elements_of(module), module.scheme.weight
    if weight is None or scale is None or scheme is None:
        return None
    if kind is not None:
        turned = {"transposed": True} if module.scheme.storage in _TRANSPOSED else {}
        parameters = {"elements": kind, "dtype": dtype, **turned}
        reason = "elements times their powers of two"
        return computed(weight_name(module), "mx-dequantize", (weight, scale), parameters, reason)
    level = scheme.second
    if scheme.granularity != PerGroup(nvfp4.GROUP) or level is None or level.granularity != PerTensor():
        return None
    if second is None or scheme.dtype != "F4":
        return None
    given = {"dtype": dtype, "divides": level.divides}
    try:
        reason = "elements times the scales of their groups"
        return computed(weight_name(module), "nvfp4-dequantize", (weight, scale, second), given, reason)
    except OperationError:
        return None


def plain_weight(module: OpaqueModule) -> OutputTensor | None:
    """The numbers of a module with scales of groups, in the order in which they are stored; None for anything else."""
    made = product(module, "F32")
    if made is None or "transposed" not in made.parameters:
        return made
    parameters = {key: value for key, value in made.parameters.items() if key != "transposed"}
    return computed(made.name, made.operation, made.inputs, parameters)


def weight_name(module: OpaqueModule) -> str:
    """What a module's weight is called once it is not packed: a stack that has no dot before its parts, as itself."""
    stored = module.weight
    return names.join(module.name, "weight") if stored is None or stored.module == module.name else module.name


def drops(modules: Iterable[OpaqueModule], used: Mapping[str, OutputTensor]) -> Iterator[Drop]:
    """The parts of modules that nothing is made of; ``used`` is what is made of each."""
    for module in modules:
        inputs = {tensor.name for tensor in used[module.name].inputs}
        for tensor in module.parts.values():
            if tensor.name not in inputs:
                yield Drop(tensor, "belongs to the quantization that goes")


def announcement(checkpoint: Checkpoint, left: Mapping[str, OpaqueModule], word: str) -> dict[str, str]:
    """What config.json says beside its quantization config when no packed expert is left: ``word``."""
    return {names.EXPERT_DTYPE: word} if checkpoint.config.get(names.EXPERT_DTYPE) == _PACKED and not left else {}


def announced_experts(checkpoint: Checkpoint, made: Iterable[str], word: str) -> dict[str, str]:
    """What config.json says of experts of another type, once these modules are made and experts are among them."""
    said = checkpoint.config.get(names.EXPERT_DTYPE)
    return {names.EXPERT_DTYPE: word} if said not in (None, word) and any(".experts" in name for name in made) else {}
