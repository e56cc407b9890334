"""The writers of checkpoints that are not quantized, one for each type of their weights."""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType

from ckptkit.errors import FormatError
from ckptkit.formats.base import Changes, Draft, Format, WriteOptions
from ckptkit.formats.dialect import Capabilities, Dialect, ScaleNames, SkipList
from ckptkit.model.checkpoint import Checkpoint, QuantizedModule
from ckptkit.model.granularity import Granularity, PerBlock, PerChannel, PerGroup, PerHead, PerTensor, PerToken
from ckptkit.model.scheme import InputKind
from ckptkit.model.select import PatternKind
from ckptkit.operations.outputs import computed, keep
from ckptkit.storage.container import Container
from ckptkit.storage.output import Drop, OutputTensor

_WEIGHTS = (PerTensor, PerChannel, PerBlock, PerGroup)
_INPUTS = (None, PerTensor, PerToken, PerGroup)
#: Everything that is FP8 can be dequantized.
CAPABILITIES = Capabilities(
    schemes=frozenset(
        (weight, InputKind(inputs, dynamic))
        for weight in _WEIGHTS
        for inputs in _INPUTS
        for dynamic in (False, True)
        if inputs is not None or not dynamic
    ),
    kv_roles=frozenset({"k", "v", "q", "prob"}),
    kv_granularities=frozenset({PerTensor, PerHead}),
    mixed_schemes=True,
    quantized_lm_head=True,
    block_sizes=None,
    scale_dtypes=frozenset({"F32", "BF16", "F16", "F8_E8M0"}),
    output_quantization=True,
    stacked_experts=True,
    any_inputs=True,
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
    """Writer of checkpoints whose weights have one type: ``dtype``."""

    name: str
    dtype: str
    aliases: tuple[str, ...] = ()
    dialects: tuple[Dialect, ...]
    is_read = False

    def dialect_of(self, container: Container) -> Dialect | None:
        """Never ours: what is not quantized needs no reader."""
        return None

    def describe(self, container: Container) -> str:
        """What the result of a conversion is."""
        return f"weights in {self.dtype}"

    def read(self, container: Container) -> Checkpoint:
        """Nothing to be read."""
        raise FormatError(f"{container.label}: not a quantized checkpoint")

    def write(self, checkpoint: Checkpoint, options: WriteOptions) -> Draft:
        """Weights times their scales; every scale goes, and with it what it stood for."""
        return Draft(
            tensors=tuple(self._tensors(checkpoint)),
            drops=tuple(_drops(checkpoint)),
            quantization_config=None,
            changes=Changes(
                schemes=dict.fromkeys(checkpoint.modules),
                rounds=frozenset({"dequantize"}),
                reasons=tuple(_reasons(checkpoint, self.dtype)),
            ),
        )

    def _tensors(self, checkpoint: Checkpoint) -> Iterator[OutputTensor]:
        for tensor in checkpoint.plain:
            yield keep(tensor)
        for module in checkpoint.modules.values():
            if module.weight_scale is not None:
                parameters = {"dtype": self.dtype, "block_shape": _block(module)}
                inputs = (module.weight, module.weight_scale)
                yield computed(module.weight.name, "dequantize", inputs, parameters, "weights times their scales")

    def scale_shapes(self, granularity: Granularity, weight_shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """There are no scales."""
        return (granularity.scale_shape(weight_shape),)


def _block(module: QuantizedModule) -> list[int]:
    """The rows and columns of a weight that share a scale, 0 for all of them."""
    granularity = module.scheme.weight.granularity
    if isinstance(granularity, PerBlock):
        return [granularity.rows, granularity.columns]
    if isinstance(granularity, PerGroup):
        return [1, granularity.size]
    return [1, 0] if isinstance(granularity, PerChannel) else [0, 0]


def _drops(checkpoint: Checkpoint) -> Iterator[Drop]:
    for module in checkpoint.modules.values():
        if module.weight_scale is not None:
            yield Drop(module.weight_scale, "multiplied into the weight")
        if module.input_scale is not None:
            yield Drop(module.input_scale, "inputs are no longer quantized")
    seen: set[str] = set()
    for attention in checkpoint.kv_cache.attention if checkpoint.kv_cache else ():
        for tensor in attention.stored().values():
            if tensor.name not in seen:
                seen.add(tensor.name)
                yield Drop(tensor, "the KV cache is no longer quantized")


def _reasons(checkpoint: Checkpoint, dtype: str) -> Iterator[str]:
    yield f"weights become {dtype}: the float32 product of code and scale, rounded once"
    if any(module.input_scale is not None for module in checkpoint.modules.values()):
        yield "static scales of inputs go: a plain checkpoint has no place for them"
    if checkpoint.kv_cache is not None and any(a.stored() for a in checkpoint.kv_cache.attention):
        yield "scales of the KV cache and of attention go: a plain checkpoint has no place for them"


class Bf16(Plain):
    """Weights in BF16."""

    name, dtype, dialects = "bf16", "BF16", (_dialect("bf16"),)


class F16(Plain):
    """Weights in F16."""

    name, dtype, dialects = "f16", "F16", (_dialect("f16"),)


class F32(Plain):
    """Weights in F32."""

    name, dtype, dialects = "f32", "F32", (_dialect("f32"),)


#: The types that weights are asked for in, the usual one first.
PLAIN: tuple[Format, ...] = (Bf16(), F16(), F32())
