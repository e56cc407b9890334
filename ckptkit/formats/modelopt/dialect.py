"""The ModelOpt format: detection, reader, writer and scale shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ckptkit.edits.changes import ConfigEdit, SetKey
from ckptkit.errors import Fault, FormatError
from ckptkit.formats import config_block
from ckptkit.formats.assemble import Declaration, assemble
from ckptkit.formats.base import Draft, Format, WriteOptions, read_instead, where_of
from ckptkit.formats.dialect import Dialect
from ckptkit.formats.modelopt import config, faults
from ckptkit.formats.modelopt.facts import DIALECT, FP8, NAME, PARTS, ROLES, SIDE_FILE
from ckptkit.formats.modelopt.sections import algorithm, own_section, section_of, side_section
from ckptkit.model.census import take_census
from ckptkit.model.checkpoint import Checkpoint, KVCache
from ckptkit.model.granularity import Granularity, PerBlock, PerTensor
from ckptkit.storage.container import CONFIG_FILE, Container

if TYPE_CHECKING:
    from ckptkit.formats.preset import Preset


class ModelOpt(Format):
    """Reader and writer of NVIDIA ModelOpt's exports: described in config.json, or only in a file beside it."""

    name = NAME
    aliases = ("mo",)
    dialects = (DIALECT,)

    @property
    def presets(self) -> tuple[Preset, ...]:
        """The ways to quantize plain weights, as its own tools call them."""
        from ckptkit.formats.modelopt.presets import PRESETS  # what only quantizing needs is imported by it

        return PRESETS

    def dialect_of(self, container: Container) -> Dialect | None:
        """The dialect of a container; None when it is not ours."""
        located = config_block.locate(container.config)
        ours = own_section(container) is not None if located else side_section(container) is not None
        return DIALECT if ours else None

    def describe(self, container: Container) -> str:
        """What a container of ours holds, in a few words."""
        located = config_block.locate(container.config)
        method = config_block.quant_method(located.block) if located else ""
        name = algorithm(own_section(container) or side_section(container) or {})
        words = f"quant_method {method!r}" if method else SIDE_FILE if located is None else "a config without a method"
        return f"{words} (NVIDIA ModelOpt{f', {name}' if name else ''})"

    def read(self, container: Container) -> Checkpoint:
        """Make the canonical model, from config.json or, where that says nothing, the file beside it."""
        located = config_block.locate(container.config)
        own = own_section(container)
        section, file = (own, CONFIG_FILE) if own is not None else (side_section(container), SIDE_FILE)
        if section is None:
            raise FormatError(f"{container.label}: no ModelOpt config")
        parsed = config.parse(section, file, container.label)
        declaration = Declaration(
            format=NAME,
            dialect=DIALECT.name,
            scheme_of=parsed.scheme_of,
            is_excluded=parsed.is_excluded,
            kv_cache=parsed.kv_cache,
            raw=located.block if located is not None else section,
            understood=parsed.understood,
            has_others=parsed.has_others,
        )
        return assemble(container, take_census(container.tensors, ROLES), declaration, PARTS)

    def spared(self, container: Container, faults: Iterable[Fault]) -> Mapping[str, Any] | None:
        """The config without a KV cache that is at fault, since weights do not hang on it."""
        located, own = config_block.locate(container.config), own_section(container)
        section = own if own is not None else side_section(container)
        if section is None:
            return None
        keys = config.KV_KEYS
        others = [fault for fault in faults if not where_of(fault).startswith(keys)]
        rest = read_instead({**section, **dict.fromkeys(keys)}, others)
        nested = located is not None and section is not located.block
        return {**located.block, DIALECT.keys.nested or "": rest} if rest and nested and located else rest

    def write(self, checkpoint: Checkpoint, options: WriteOptions) -> Draft:
        """What each tensor becomes."""
        from ckptkit.formats.modelopt import write  # what only writing needs is imported by it

        return write.draft(checkpoint, self)

    def scale_shapes(self, granularity: Granularity, weight_shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """Stored scale shapes, the exporters' form first.

        >>> ModelOpt().scale_shapes(PerBlock(128, 128), (64, 256)), ModelOpt().scale_shapes(PerTensor(), (64, 256))
        (((1, 1, 2, 1),), ((), (1,)))
        """
        canonical = granularity.scale_shape(weight_shape)
        if isinstance(granularity, PerTensor):
            return (canonical, (*canonical, 1))
        if isinstance(granularity, PerBlock) and len(canonical) == 2:
            return ((canonical[0], 1, canonical[1], 1),)
        return (canonical,)

    def declares(self, checkpoint: Checkpoint) -> Callable[[str], bool]:
        """Every module, or those that have an algorithm where each has its own."""
        declared = config.parse(section_of(checkpoint.raw), CONFIG_FILE, checkpoint.container.label).declared
        return lambda module: declared(module) is not None

    def config_faults(
        self, container: Container, dialect: Dialect | None, checkpoint: Checkpoint | None
    ) -> Iterator[Fault]:
        """What a config of ours says that some reader takes wrongly."""
        return faults.config_faults(container, dialect, checkpoint)

    def declare_kv_cache(self, checkpoint: Checkpoint, cache: KVCache | None) -> Iterable[ConfigEdit]:
        """As an object in the flat layout, a word in the nested one; nothing where config.json holds no config."""
        located = config_block.locate(checkpoint.config)
        if located is None:
            return ()
        if isinstance(located.block.get("quantization"), dict):
            return (SetKey((*located.way, "quantization", "kv_cache_quant_algo"), "FP8" if cache else None),)
        return (SetKey((*located.way, "kv_cache_scheme"), FP8 if cache else None),)
