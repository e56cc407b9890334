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
from ckptkit.formats.modelopt.facts import DIALECT, FILE_ALONE, FP8, NAME, OWN_LAYOUT, PARTS, ROLES, SIDE_FILE
from ckptkit.formats.modelopt.sections import (
    algorithm,
    dialect_in,
    own_section,
    places,
    section_of,
    side_document,
    side_section,
)
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
    dialects = (DIALECT, OWN_LAYOUT, FILE_ALONE)

    @property
    def presets(self) -> tuple[Preset, ...]:
        """The ways to quantize plain weights, as its own tools call them."""
        from ckptkit.formats.modelopt.presets import PRESETS  # what only quantizing needs is imported by it

        return PRESETS

    def dialect_of(self, container: Container) -> Dialect | None:
        """The dialect of a container; None when it is not ours."""
        return dialect_in(container)

    def describe(self, container: Container) -> str:
        """What a container of ours holds, in a few words."""
        located = config_block.locate(container.config)
        method = config_block.quant_method(located.block) if located else ""
        name = algorithm(own_section(container) or side_section(container) or {})
        words = f"quant_method {method!r}" if method else SIDE_FILE if located is None else "a config without a method"
        return f"{words} (NVIDIA ModelOpt{f', {name}' if name else ''})"

    def read(self, container: Container) -> Checkpoint:
        """Make the canonical model, from config.json or, where that says nothing, the file beside it."""
        located, place = config_block.locate(container.config), next(places(container), None)
        if place is None:
            raise FormatError(f"{container.label}: no ModelOpt config")
        parsed = config.parse(place.block, place.file, container.label)
        declaration = Declaration(
            format=NAME,
            dialect=(dialect_in(container) or DIALECT).name,
            scheme_of=parsed.scheme_of,
            is_excluded=parsed.is_excluded,
            kv_cache=parsed.kv_cache,
            raw=located.block if located is not None else place.block,
            understood=parsed.understood,
            has_others=parsed.has_others,
        )
        return assemble(container, take_census(container.tensors, ROLES), declaration, PARTS)

    def located(self, container: Container) -> config_block.Located | None:
        """The config of config.json or, where that says nothing, all of the file beside it."""
        located = config_block.locate(container.config)
        side = side_document(container) if located is None else None
        return located if side is None else config_block.Located(side, "", SIDE_FILE)

    def sections(self, container: Container, dialect: Dialect) -> tuple[config_block.Section, ...]:
        """That of config.json and that of the file beside it, each under the keys of its layout."""
        return tuple(places(container))

    def spared(self, container: Container, faults: Iterable[Fault]) -> Mapping[str, Any] | None:
        """The config without a KV cache that is at fault, since weights do not hang on it."""
        located, place = config_block.locate(container.config), next(places(container), None)
        if place is None:
            return None
        keys, section = config.KV_KEYS, place.block
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
        """As an object in the flat layout, a word in the exporter's own; in every file that says something."""
        for place in places(checkpoint.container):
            key = place.keys.kv_cache
            if key is not None:
                value = FP8 if key == DIALECT.keys.kv_cache else "FP8"
                yield SetKey((*place.way, key), value if cache else None, place.file)
