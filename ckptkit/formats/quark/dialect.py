"""The Quark format: facts, detection, reader, capabilities and scale shapes, for both of its dialects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ckptkit.dtypes import FP8_WEIGHT
from ckptkit.edits.changes import ConfigEdit
from ckptkit.errors import Fault
from ckptkit.formats import config_block
from ckptkit.formats.assemble import Declaration, assemble
from ckptkit.formats.base import Draft, Format, WriteOptions, read_instead, where_of, written_dialect
from ckptkit.formats.dialect import Capabilities, Dialect, ScaleNames, SkipList
from ckptkit.formats.fp8_fields import SKIP_LIST
from ckptkit.formats.keys import EACH, ConfigKeys
from ckptkit.formats.quark import config, faults, kv_cache
from ckptkit.formats.quark.other import OTHER_STORAGES, PARTS
from ckptkit.model.census import Role, take_census
from ckptkit.model.checkpoint import Checkpoint, KVCache
from ckptkit.model.granularity import Granularity, PerBlock, PerChannel, PerGroup, PerTensor, PerToken
from ckptkit.model.scheme import InputKind
from ckptkit.model.select import PatternKind
from ckptkit.storage.container import Container

if TYPE_CHECKING:
    from ckptkit.formats.preset import Preset

NAME = "quark"
CUSTOM_METHOD = "fp8"

#: Endings and roles. The ``*_quantizer`` names are those of raw dumps and early exports; ``weight_scale_inv`` is
#: kept by Quark where it preserves layers that were quantized before, and multiplies like any other scale.
ROLES = MappingProxyType(
    {
        "weight_scale": Role.WEIGHT_SCALE,
        "weight_scale_inv": Role.WEIGHT_SCALE,
        "weight_quantizer.scale": Role.WEIGHT_SCALE,
        "input_scale": Role.INPUT_SCALE,
        "input_quantizer.scale": Role.INPUT_SCALE,
        "output_scale": Role.OUTPUT_SCALE,
        "output_quantizer.scale": Role.OUTPUT_SCALE,
        "k_scale": Role.K_SCALE,
        "v_scale": Role.V_SCALE,
        "q_scale": Role.Q_SCALE,
        "kv_scale": Role.KV_SCALE,
        "prob_output_scale": Role.PROB_SCALE,
    }
)

_STATIC, _DYNAMIC = InputKind(PerTensor), InputKind(PerTensor, dynamic=True)
_TOKENS, _GROUPS = InputKind(PerToken, dynamic=True), InputKind(PerGroup, dynamic=True)
NATIVE_CAPABILITIES = Capabilities(
    schemes=frozenset(
        {
            *((weight, inputs) for weight in (PerTensor, PerChannel) for inputs in (_STATIC, _DYNAMIC, _TOKENS)),
            (PerBlock, _GROUPS),
        }
    ),
    kv_roles=frozenset({"k", "v", "q", "prob"}),
    kv_granularities=frozenset({PerTensor}),
    mixed_schemes=True,
    quantized_lm_head=False,
    block_sizes=frozenset({(128, 128)}),
    scale_dtypes=frozenset({"F32", "BF16", "F16", "F8_E8M0"}),
    groups_match_blocks=True,
    other_storages=OTHER_STORAGES,
)
CUSTOM_CAPABILITIES = replace(
    NATIVE_CAPABILITIES,
    schemes=frozenset({(PerTensor, _STATIC), (PerTensor, _DYNAMIC)}),
    mixed_schemes=False,
    block_sizes=frozenset(),
    other_storages=frozenset(),
)

#: Loaders map these names whichever of the two layouts the config is in.
_LOADED = {
    "k": ("k_scale", "k_proj.output_scale", "k_proj.k_scale", "qkv_proj.k_scale"),
    "v": ("v_scale", "v_proj.output_scale", "v_proj.v_scale", "qkv_proj.v_scale"),
}
_SECTIONS = MappingProxyType({"export": ("export", "export/null"), "kv_cache_scheme": ("kv-cache", "kv-cache")})
NATIVE = Dialect(
    format=NAME,
    name="native",
    key=NAME,
    mode="quark",
    capabilities=NATIVE_CAPABILITIES,
    skip_list=SkipList(("exclude",), ("exclude",), PatternKind.GLOB),
    weight_scale=ScaleNames("weight_scale", ("weight_scale",), ("weight_scale_inv", "weight_quantizer.scale")),
    input_scale=ScaleNames("input_scale", ("input_scale",), ("input_quantizer.scale",)),
    attention=MappingProxyType(
        {role: ScaleNames(f"{role}_proj.output_scale", loaded) for role, loaded in _LOADED.items()}
    ),
    # Quark itself writes and reads one scale for a fused projection.
    own_attention=("qkv_proj.output_scale",),
    endings=ROLES,
    parts=PARTS,
    schema=NAME,
    keys=ConfigKeys(
        layers="layer_quant_config",
        kv_cache="kv_cache_quant_config",
        probabilities="softmax_quant_spec",
        exponents=tuple(
            (*layers, "weight", *item, "scale_type")
            for layers in (("global_quant_config",), ("layer_quant_config", EACH))
            for item in ((), (EACH,))
        ),
        sections=_SECTIONS,
    ),
    tool="AMD Quark",
    tag=NAME,
)
CUSTOM = replace(
    NATIVE,
    name="fp8 mode",
    key="quark-fp8",
    mode="fp8",
    capabilities=CUSTOM_CAPABILITIES,
    # Quark itself matches ``ignored_layers`` as it matches its own list.
    skip_list=replace(SKIP_LIST, patterns=PatternKind.GLOB),
    attention=MappingProxyType({role: ScaleNames(f"{role}_scale", loaded) for role, loaded in _LOADED.items()}),
    schema="quark-fp8",
    keys=ConfigKeys(
        kv_cache="kv_cache_scheme", inputs="activation_scheme", blocks="weight_block_size", sections=_SECTIONS
    ),
)


class Quark(Format):
    """Reader and writer of AMD Quark checkpoints."""

    name = NAME
    aliases = ()
    dialects = (NATIVE, CUSTOM)

    @property
    def presets(self) -> tuple[Preset, ...]:
        """The ways to quantize plain weights, as its own tools call them."""
        from ckptkit.formats.quark.presets import PRESETS  # what only quantizing needs is imported by it

        return PRESETS

    def dialect_of(self, container: Container) -> Dialect | None:
        """The dialect of a container; None when it is not ours."""
        located = config_block.locate(container.config)
        if located is None:
            return None
        method = config_block.quant_method(located.block)
        if method == NAME:
            return NATIVE
        has_export = isinstance(located.block.get("export"), dict)
        return CUSTOM if method == CUSTOM_METHOD and has_export else None

    def describe(self, container: Container) -> str:
        """What a container of ours holds, in a few words."""
        return f"{NAME} ({(self.dialect_of(container) or NATIVE).name})"

    def read(self, container: Container) -> Checkpoint:
        """Make the canonical model, from the config as its dialect spells it."""
        located, dialect = config_block.locate(container.config), self.dialect_of(container)
        if located is None or dialect is None:
            raise config_block.missing(container.label)
        if dialect is CUSTOM:
            parsed = config.parse_custom(located.block, container.label)
        else:
            parsed = config.parse_native(located.block, container.label, located.way)
        declaration = Declaration(
            format=NAME,
            dialect=dialect.name,
            scheme_of=parsed.scheme_of,
            is_excluded=parsed.is_excluded,
            kv_cache=parsed.kv_cache,
            raw=located.block,
            understood=parsed.understood,
            faults=parsed.faults,
            has_others=parsed.has_others,
            provenance=parsed.provenance,
        )
        checkpoint = assemble(container, take_census(container.tensors, ROLES), declaration, PARTS)
        if dialect is CUSTOM:
            return checkpoint
        declared = config.declares(located.block)
        found = (
            *faults.read_faults(checkpoint, located.block, located.way),
            *faults.left_plain(checkpoint, lambda name: parsed.is_excluded(name) or declared(name)),
        )
        return replace(checkpoint, faults=(*checkpoint.faults, *found))

    def spared(self, container: Container, faults: Iterable[Fault]) -> Mapping[str, Any] | None:
        """The config with the usual values in the place of others, where weights are FP8 whatever it says of them."""
        located, faults = config_block.locate(container.config), tuple(faults)
        told = any(where_of(fault) == config.STORED_AS for fault in faults)
        if located is None or (told and not any(t.dtype == FP8_WEIGHT for t in container.tensors.values())):
            return None
        return read_instead(located.block, faults)

    def write(self, checkpoint: Checkpoint, options: WriteOptions) -> Draft:
        """What each tensor becomes."""
        from ckptkit.formats.quark import write  # what only writing needs is imported by it

        dialect, capabilities = written_dialect(self, options.mode)
        return write.draft(checkpoint, self, capabilities, custom=dialect is CUSTOM)

    def scale_shapes(self, granularity: Granularity, weight_shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """Stored scale shapes, the exporters' form first.

        >>> Quark().scale_shapes(PerTensor(), (64, 256))
        ((), (1,))
        """
        canonical = granularity.scale_shape(weight_shape)
        return (canonical, (*canonical, 1)) if isinstance(granularity, PerTensor) else (canonical,)

    def declare_kv_cache(self, checkpoint: Checkpoint, cache: KVCache | None) -> Iterator[ConfigEdit]:
        """In the native layout in four places at once; in the fp8 mode in a word."""
        located = config_block.locate(checkpoint.config)
        if located is None:
            return
        if self.dialect_of(checkpoint.container) is CUSTOM:
            yield from kv_cache.declare_custom(located, cache)
        elif cache is None:
            yield from kv_cache.without(located)
        else:
            yield from kv_cache.declare_native(self, located, checkpoint, cache)

    def declares(self, checkpoint: Checkpoint) -> Callable[[str], bool]:
        """By exact name, by the first pattern, or the default; everything in the fp8 mode."""
        if self.dialect_of(checkpoint.container) is CUSTOM:
            return lambda module: True
        return config.declares(checkpoint.raw)

    def config_edits(self, checkpoint: Checkpoint, fault: Fault) -> Iterator[ConfigEdit]:
        """Old spellings are replaced everywhere at once, and missing KV entries written as our writer spells them."""
        located = config_block.locate(checkpoint.config)
        yield from super().config_edits(checkpoint, fault)
        if located is not None and fault.kind == faults.OLD_KEY:
            yield from faults.new_spellings(located.block, located.way)
        if located is not None and fault.kind == faults.KV_GROUP and faults.group_without_entries(located.block):
            yield from kv_cache.as_written(self, located, checkpoint)
