"""The compressed-tensors format: facts, detection, reader, capabilities and scale shapes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ckptkit.edits.changes import ConfigEdit, SetKey
from ckptkit.errors import Fault
from ckptkit.formats import config_block
from ckptkit.formats.assemble import Declaration, assemble
from ckptkit.formats.base import Draft, Format, WriteOptions, read_instead, where_of
from ckptkit.formats.compressed_tensors import config, faults, spec
from ckptkit.formats.compressed_tensors.other import LAYOUTS, PARTS
from ckptkit.formats.compressed_tensors.spec import NAME
from ckptkit.formats.dialect import Capabilities, Dialect, ScaleNames, SkipList
from ckptkit.model.census import Role, take_census
from ckptkit.model.checkpoint import Checkpoint, KVCache
from ckptkit.model.granularity import Granularity, PerBlock, PerChannel, PerGroup, PerHead, PerTensor, PerToken
from ckptkit.model.scheme import NO_INPUT, InputKind, Quantization
from ckptkit.model.select import PatternKind
from ckptkit.storage.container import Container

if TYPE_CHECKING:
    from ckptkit.formats.preset import Preset

#: ``output_scale`` is how llm-compressor spelled KV scales before it quantized the attention itself.
ROLES = MappingProxyType(
    {
        "weight_scale": Role.WEIGHT_SCALE,
        "input_scale": Role.INPUT_SCALE,
        "k_scale": Role.K_SCALE,
        "v_scale": Role.V_SCALE,
        "q_scale": Role.Q_SCALE,
        "output_scale": Role.OUTPUT_SCALE,
    }
)

_INPUTS = (NO_INPUT, InputKind(PerTensor), InputKind(PerTensor, dynamic=True), InputKind(PerToken, dynamic=True))
CAPABILITIES = Capabilities(
    schemes=frozenset(
        {
            *((weight, inputs) for weight in (PerTensor, PerChannel) for inputs in _INPUTS),
            (PerBlock, InputKind(PerGroup, dynamic=True)),
            (PerBlock, InputKind(PerToken, dynamic=True)),
        }
    ),
    kv_roles=frozenset({"k", "v", "q"}),
    kv_granularities=frozenset({PerTensor, PerHead}),
    mixed_schemes=True,
    quantized_lm_head=True,
    quantized_embeddings=True,
    block_sizes=None,
    scale_dtypes=frozenset({"F32", "BF16", "F16"}),
    other_storages=LAYOUTS,
)

DIALECT = Dialect(
    format=NAME,
    name=spec.STORAGE,
    key=NAME,
    mode=spec.STORAGE,
    capabilities=CAPABILITIES,
    skip_list=SkipList(("ignore",), ("ignore",), PatternKind.REGEX),
    targets_key="config_groups",
    weight_scale=ScaleNames("weight_scale", ("weight_scale",)),
    input_scale=ScaleNames("input_scale", ("input_scale",)),
    attention=MappingProxyType(
        {
            "k": ScaleNames("k_scale", ("k_scale",)),
            "v": ScaleNames("v_scale", ("v_scale",)),
        }
    ),
    endings=ROLES,
    parts=PARTS,
    schema=NAME,
    kv_key="kv_cache_scheme",
    tag=NAME,
)


class CompressedTensors(Format):
    """Reader and writer of compressed-tensors checkpoints."""

    name = NAME
    aliases = ("ct",)
    dialects = (DIALECT,)

    @property
    def presets(self) -> tuple[Preset, ...]:
        """The ways to quantize plain weights, as its own tools call them."""
        from ckptkit.formats.compressed_tensors.presets import PRESETS  # what only quantizing needs is imported by it

        return PRESETS

    def dialect_of(self, container: Container) -> Dialect | None:
        """The dialect of a container; None when it is not ours."""
        located = config_block.locate(container.config)
        if located is None or config_block.quant_method(located.block) != NAME:
            return None
        return self._dialect(located)

    def describe(self, container: Container) -> str:
        """What a container of ours holds, in a few words."""
        located = config_block.locate(container.config)
        return f"{NAME}, format {located.block.get('format')!r}" if located else NAME

    def read(self, container: Container) -> Checkpoint:
        """Make the canonical model: each module follows the config group that targets it."""
        located = config_block.locate(container.config)
        if located is None:
            raise config_block.missing(container.label)
        parsed = config.parse(located.block, container.label, located.way)
        usual = config_block.KEY in container.config
        beside = faults.Beside(container.config[config_block.KEY]) if usual else None
        declaration = Declaration(
            format=self.name,
            dialect=self._dialect(located).name,
            scheme_of=parsed.scheme_of,
            is_excluded=parsed.is_excluded,
            kv_cache=parsed.kv_cache,
            raw=located.block,
            understood=parsed.understood,
            faults=(*parsed.faults, *faults.config_faults(located, beside)),
            has_others=parsed.has_others,
            provenance=parsed.provenance,
        )
        return assemble(container, take_census(container.tensors, ROLES), declaration, PARTS)

    def spared(self, container: Container, faults: Iterable[Fault]) -> Mapping[str, Any] | None:
        """The config without a KV cache that is at fault, since weights do not hang on it, and with the usual values in
        the place of others."""
        located, key = config_block.locate(container.config), DIALECT.kv_key
        if located is None or key is None:
            return None
        faults = tuple(faults)
        others = [fault for fault in faults if not where_of(fault).startswith(key)]
        block = located.block if len(others) == len(faults) else {**located.block, key: None}
        return read_instead(block, others)

    def write(self, checkpoint: Checkpoint, options: WriteOptions) -> Draft:
        """What each tensor becomes."""
        from ckptkit.formats.compressed_tensors import write  # what only writing needs is imported by it

        return write.draft(checkpoint, self, CAPABILITIES)

    def scale_shapes(self, granularity: Granularity, weight_shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """Stored scale shapes, the exporters' form first.

        >>> CompressedTensors().scale_shapes(PerChannel(), (64, 256))
        ((64, 1),)
        >>> CompressedTensors().scale_shapes(PerTensor(), (64, 256))
        ((1,), ())
        """
        canonical = granularity.scale_shape(weight_shape)
        if isinstance(granularity, PerTensor):
            return ((*canonical, 1), canonical)
        if isinstance(granularity, PerChannel):
            return ((*canonical, 1),)
        if isinstance(granularity, PerHead):
            return ((*canonical, 1, 1),)
        return (canonical,)

    def declare_kv_cache(self, checkpoint: Checkpoint, cache: KVCache | None) -> Iterator[ConfigEdit]:
        """One scheme for the whole checkpoint: a value for each tensor, or for each head."""
        located = config_block.locate(checkpoint.config)
        if located is None:
            return
        value = None
        if cache is not None:
            stored = (tensor for attention in cache.attention for tensor in (attention.k, attention.v))
            scalar = all(tensor.numel == 1 for tensor in stored if tensor is not None)
            value = spec.args(Quantization(PerTensor() if scalar else PerHead()))
        yield SetKey((*located.way, "kv_cache_scheme"), value)

    def _dialect(self, located: config_block.Located) -> Dialect:
        """The dialect as the file calls it; what is not given is read as the usual one."""
        name = located.block.get("format")
        return replace(DIALECT, name=name) if isinstance(name, str) and name else DIALECT
