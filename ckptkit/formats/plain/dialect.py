"""Checkpoints that are not quantized: written in one type of weights, read where something is to be made of them."""

from __future__ import annotations

from types import MappingProxyType

from ckptkit.formats.assemble import Declaration, assemble
from ckptkit.formats.base import Draft, Format, WriteOptions
from ckptkit.formats.dialect import Capabilities, Dialect, ScaleNames, SkipList
from ckptkit.model.census import take_census
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.model.granularity import Granularity
from ckptkit.model.select import PatternKind
from ckptkit.storage.container import Container

#: Nothing that is quantized, in any way.
CAPABILITIES = Capabilities(
    schemes=frozenset(),
    kv_roles=frozenset(),
    kv_granularities=frozenset(),
    mixed_schemes=False,
    quantized_lm_head=False,
    block_sizes=None,
    scale_dtypes=frozenset(),
)


def _dialect(name: str) -> Dialect:
    return Dialect(
        format=name,
        name="no quantization",
        key=name,
        mode=name,
        capabilities=CAPABILITIES,
        skip_list=SkipList((), (), PatternKind.EXACT),
        weight_scale=ScaleNames(""),
        input_scale=ScaleNames(""),
        endings=MappingProxyType({}),
    )


class Plain(Format):
    """Checkpoints without a quantization, whose weights get one type when they are written."""

    name: str
    weight_dtype: str
    aliases: tuple[str, ...] = ()
    dialects: tuple[Dialect, ...]
    is_read = False

    def dialect_of(self, container: Container) -> Dialect | None:
        """Never ours: what is not quantized needs no reader."""
        return None

    def describe(self, container: Container) -> str:
        """What the result of a conversion is."""
        return f"weights in {self.weight_dtype}"

    def read(self, container: Container) -> Checkpoint:
        """Linear modules in high precision, and everything else; no config has a say."""
        declaration = Declaration(
            format=self.name,
            dialect=self.dialects[0].name,
            scheme_of=lambda module: None,
            is_excluded=lambda module: True,
            kv_cache=None,
            raw={},
            understood={},
        )
        return assemble(container, take_census(container.tensors, {}), declaration)

    def write(self, checkpoint: Checkpoint, options: WriteOptions) -> Draft:
        """Every tensor as it is: what was quantized has been dequantized before."""
        from ckptkit.operations.outputs import keep  # what only writing needs is imported by it

        return Draft(tensors=tuple(map(keep, checkpoint.plain)), drops=(), quantization_config=None)

    def scale_shapes(self, granularity: Granularity, weight_shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """There are no scales."""
        return (granularity.scale_shape(weight_shape),)


class Bf16(Plain):
    """Weights in BF16."""

    name, weight_dtype, dialects = "bf16", "BF16", (_dialect("bf16"),)


class F16(Plain):
    """Weights in F16."""

    name, weight_dtype, dialects = "f16", "F16", (_dialect("f16"),)


class F32(Plain):
    """Weights in F32."""

    name, weight_dtype, dialects = "f32", "F32", (_dialect("f32"),)


#: The types that weights are asked for in, the usual one first.
PLAIN: tuple[Format, ...] = (Bf16(), F16(), F32())
