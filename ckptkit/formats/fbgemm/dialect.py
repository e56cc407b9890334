"""The fbgemm format: facts, detection, reader and writer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ckptkit.formats import config_block
from ckptkit.formats.assemble import Declaration, assemble
from ckptkit.formats.base import ConfigReader, Draft, Format, WriteOptions
from ckptkit.formats.dialect import Capabilities, Dialect, ScaleNames, SkipList
from ckptkit.model import names
from ckptkit.model.census import Role, is_fp8, take_census
from ckptkit.model.checkpoint import Checkpoint, Part
from ckptkit.model.granularity import Granularity, PerChannel, PerToken
from ckptkit.model.scheme import InputKind, OtherScheme, Quantization, Scheme
from ckptkit.model.select import PatternKind
from ckptkit.storage.container import Container

NAME = "fbgemm-fp8"
#: transformers' default for the bound of inputs, which vLLM wants to be written.
USUAL_BOUND = 1200.0
_BOUND = "activation_scale_ub"
_SKIPPED = "modules_to_not_convert"

ROLES = MappingProxyType({"weight_scale": Role.WEIGHT_SCALE})
#: Experts as transformers stores those of Llama 4: rows and columns change places, and so do the axes of scales.
STACKS = OtherScheme("E4M3 stacks [experts, inputs, outputs]", "fbgemm-stacks", 8)
#: What a stack adds to its name for its scale.
PARTS = MappingProxyType({"_scale": Part.SCALE})
CAPABILITIES = Capabilities(
    schemes=frozenset({(PerChannel, InputKind(PerToken, dynamic=True))}),
    kv_roles=frozenset(),
    kv_granularities=frozenset(),
    mixed_schemes=False,
    quantized_lm_head=False,
    block_sizes=frozenset(),
    scale_dtypes=frozenset({"F32"}),
    input_bound=USUAL_BOUND,
    other_storages=frozenset({STACKS.storage}),
)
DIALECT = Dialect(
    format=NAME,
    name="fbgemm",
    key="fbgemm",
    mode="fbgemm",
    capabilities=CAPABILITIES,
    skip_list=SkipList((_SKIPPED,), (_SKIPPED,), PatternKind.EXACT),
    weight_scale=ScaleNames("weight_scale", ("weight_scale",)),
    input_scale=ScaleNames("input_scale"),
    endings=ROLES,
    parts=PARTS,
    schema=NAME,
    tag="fbgemm",
)


class Fbgemm(Format):
    """Reader and writer of fbgemm checkpoints."""

    name = NAME
    aliases = ("fbgemm",)
    dialects = (DIALECT,)

    def dialect_of(self, container: Container) -> Dialect | None:
        """The dialect of a container; None when it is not ours."""
        located = config_block.locate(container.config)
        return DIALECT if located is not None and config_block.quant_method(located.block) == NAME else None

    def describe(self, container: Container) -> str:
        """What a container of ours holds, in a few words."""
        return "fbgemm FP8"

    def read(self, container: Container) -> Checkpoint:
        """Make the canonical model: every Linear is per channel but those that are listed."""
        located = config_block.locate(container.config)
        if located is None:
            raise config_block.missing(container.label)
        reader, block = ConfigReader(), located.block
        bound = _bound(reader, block)
        listed = frozenset(reader.strings(block.get(_SKIPPED), _SKIPPED))
        reader.raise_faults(container.label)
        inputs = Quantization(PerToken(), dynamic=True, upper_bound=bound)
        scheme = Scheme(Quantization(PerChannel()), inputs)
        stacks = _stacks(container)

        def scheme_of(module: str) -> Scheme | OtherScheme | None:
            return None if module in listed else STACKS if module in stacks else scheme

        declaration = Declaration(
            format=NAME,
            dialect=DIALECT.name,
            scheme_of=scheme_of,
            is_excluded=listed.__contains__,
            kv_cache=None,
            raw=block,
            understood={"scheme": str(scheme), _SKIPPED: sorted(listed)},
            has_others=bool(stacks),
        )
        return assemble(container, take_census(container.tensors, ROLES), declaration, PARTS)

    def write(self, checkpoint: Checkpoint, options: WriteOptions) -> Draft:
        """What each tensor becomes."""
        from ckptkit.formats import drafting  # what only writing needs is imported by it

        (scheme,) = checkpoint.schemes
        bound = scheme.input.upper_bound if scheme.input is not None else None
        return Draft(
            tensors=tuple(drafting.module_tensors(checkpoint, self, CAPABILITIES.scale_dtypes)),
            drops=tuple(drafting.module_drops(checkpoint)),
            quantization_config={
                "quant_method": "fbgemm_fp8",
                _BOUND: USUAL_BOUND if bound is None else bound,
                _SKIPPED: [*drafting.skip_list(checkpoint), *checkpoint.fused_experts],
            },
        )

    def scale_shapes(self, granularity: Granularity, weight_shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """Stored scale shapes, the exporters' form first.

        >>> Fbgemm().scale_shapes(PerChannel(), (64, 256))
        ((64, 1),)
        """
        canonical = granularity.scale_shape(weight_shape)
        return ((*canonical, 1),) if isinstance(granularity, PerChannel) else (canonical,)


def _stacks(container: Container) -> frozenset[str]:
    """The stacks of experts in FP8 whose names do not end in ``.weight``."""
    tensors = container.tensors.values()
    return frozenset(
        tensor.name
        for tensor in tensors
        if len(tensor.shape) == 3 and is_fp8(tensor.dtype) and names.last_part(tensor.module) == "experts"
    )


def _bound(reader: ConfigReader, block: Mapping[str, Any]) -> float:
    """The largest value that an input keeps."""
    value = block.get(_BOUND, USUAL_BOUND)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        reader.wrong(_BOUND, "a number above 0", value)
        return USUAL_BOUND
    return float(value)
