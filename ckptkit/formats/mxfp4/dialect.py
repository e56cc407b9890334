"""The MXFP4 format: facts, detection and reader. Its experts are stacks of bytes in blocks, and all else is plain."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from ckptkit.errors import UsageError
from ckptkit.formats import config_block, layouts
from ckptkit.formats.assemble import Declaration, assemble
from ckptkit.formats.base import ConfigReader, Draft, Format, WriteOptions
from ckptkit.formats.dialect import Dialect, ScaleNames, SkipList
from ckptkit.model import names
from ckptkit.model.census import take_census
from ckptkit.model.checkpoint import Checkpoint, OpaqueModule, Part
from ckptkit.model.granularity import Granularity
from ckptkit.model.select import PatternKind, Selector
from ckptkit.storage.container import Container

NAME = "mxfp4"
_SKIP_KEYS = ("modules_to_not_convert",)

DIALECT = Dialect(
    format=NAME,
    name="stacked blocks",
    key=NAME,
    skip_list=SkipList(_SKIP_KEYS, _SKIP_KEYS, PatternKind.GLOB),
    weight_scale=ScaleNames("_scales"),
    input_scale=ScaleNames("input_scale"),
    endings=MappingProxyType({}),
    parts=MappingProxyType({"_blocks": Part.PACKED, "_scales": Part.SCALE}),
)


class Mxfp4(Format):
    """Reader of MXFP4 checkpoints."""

    name = NAME
    aliases = ("gpt-oss",)
    dialects = (DIALECT,)

    def dialect_of(self, container: Container) -> Dialect | None:
        """The dialect of a container; None when it is not ours."""
        located = config_block.locate(container.config)
        return DIALECT if located is not None and config_block.quant_method(located.block) == NAME else None

    def describe(self, container: Container) -> str:
        """What a container of ours holds, in a few words."""
        return "MXFP4"

    def read(self, container: Container) -> Checkpoint:
        """The experts of every layer that is not listed: ``NAME_blocks`` [E, N, K/32, 16] and ``NAME_scales``.

        The blocks of a row are one run of bytes, as which modules have them: [E, N, K/2].
        """
        located = config_block.locate(container.config)
        if located is None:
            raise config_block.missing(container.label)
        reader, block = ConfigReader(), located.block
        listed = reader.skip_list(block, _SKIP_KEYS)
        reader.raise_faults(container.label)
        entries = [PatternKind.GLOB.parse(text) for entry in listed for text in (entry, f"{entry}.*")]
        is_excluded = Selector.of(entries).matches

        def is_ours(module: str) -> bool:
            return names.last_part(names.parent(module)) == "experts" and not is_excluded(module)

        declaration = Declaration(
            format=NAME,
            dialect=DIALECT.name,
            scheme_of=lambda module: layouts.MXFP4_BLOCKS if is_ours(module) else None,
            is_excluded=is_excluded,
            kv_cache=None,
            raw=block,
            understood={"scheme": str(layouts.MXFP4_BLOCKS), "modules_to_not_convert": listed},
            has_others=True,
        )
        found = assemble(container, take_census(container.tensors, DIALECT.endings), declaration, DIALECT.parts)
        return replace(found, opaque={name: _in_rows(module) for name, module in found.opaque.items()})

    def write(self, checkpoint: Checkpoint, options: WriteOptions) -> Draft:
        """Nothing: it is only read."""
        raise UsageError(f"{NAME} is only read, not written")

    def scale_shapes(self, granularity: Granularity, weight_shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """Stored scale shapes.

        >>> from ckptkit.model.granularity import PerGroup
        >>> Mxfp4().scale_shapes(PerGroup(32), (4, 64, 256))
        ((4, 64, 8),)
        """
        return (granularity.scale_shape(weight_shape),)


def _in_rows(module: OpaqueModule) -> OpaqueModule:
    """A module whose blocks, of 16 bytes each, are the rows of a weight."""
    packed = module.parts.get(Part.PACKED)
    if packed is None or len(packed.shape) != 4:
        return module
    *stack, groups, size = packed.shape
    rows = packed._replace(shape=(*stack, groups * size))
    return module._replace(parts={**module.parts, Part.PACKED: rows})
