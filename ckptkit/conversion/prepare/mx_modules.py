"""Modules in MXFP4 and MXFP8: which they are, and what is made of them whatever the target."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ckptkit.model.checkpoint import Checkpoint, OpaqueModule, Part
from ckptkit.model.granularity import PerGroup
from ckptkit.operations import mx
from ckptkit.operations.operation import OperationError
from ckptkit.operations.outputs import computed
from ckptkit.storage.output import Drop, OutputTensor

#: The key of config.json, beside its quantization config, that says what experts are stored in, and what it says then.
_EXPERTS = "expert_dtype"
_PACKED = "fp4"


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


def product(module: OpaqueModule, kind: str, dtype: str) -> OutputTensor:
    """The weight of a microscaling module as plain floats."""
    inputs = (module.parts.get(Part.PACKED, module.parts.get(Part.WEIGHT)), module.parts.get(Part.SCALE))
    stored = tuple(tensor for tensor in inputs if tensor is not None)
    parameters = {"elements": kind, "dtype": dtype}
    return computed(f"{module.name}.weight", "mx-dequantize", stored, parameters, "elements times their powers of two")


def drops(modules: Iterable[OpaqueModule]) -> Iterator[Drop]:
    """The parts of microscaling modules that nothing is made of."""
    for module in modules:
        for part, tensor in module.parts.items():
            if part not in (Part.WEIGHT, Part.PACKED, Part.SCALE):
                yield Drop(tensor, "belongs to the quantization that goes")


def announcement(checkpoint: Checkpoint, left: Mapping[str, OpaqueModule], word: str) -> dict[str, str]:
    """What config.json says beside its quantization config when no packed expert is left: ``word``."""
    return {_EXPERTS: word} if checkpoint.config.get(_EXPERTS) == _PACKED and not left else {}
