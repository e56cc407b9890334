"""The MXFP8 format: facts, detection and reader. Its modules are in another quantization than FP8 with one scale."""

from __future__ import annotations

from types import MappingProxyType

from ckptkit.errors import UsageError
from ckptkit.formats import config_block
from ckptkit.formats.assemble import Declaration, assemble
from ckptkit.formats.base import ConfigReader, Draft, Format, WriteOptions
from ckptkit.formats.dialect import Dialect, ScaleNames, SkipList
from ckptkit.model.census import take_census
from ckptkit.model.checkpoint import Checkpoint, Part
from ckptkit.model.granularity import Granularity, PerGroup
from ckptkit.model.scheme import OtherScheme, Quantization
from ckptkit.model.select import PatternKind
from ckptkit.storage.container import Container

NAME = "mxfp8"
#: Elements that share a scale, by the name's own definition.
GROUP = 32
SCHEME = OtherScheme("MXFP8", NAME, 8, Quantization(PerGroup(GROUP), scale_dtype="F8_E8M0"))
_SKIP_KEYS = ("ignored_layers", "modules_to_not_convert")

DIALECT = Dialect(
    format=NAME,
    name="groups of 32",
    key=NAME,
    skip_list=SkipList(_SKIP_KEYS, _SKIP_KEYS, PatternKind.EXACT),
    weight_scale=ScaleNames("weight_scale_inv", ("weight_scale_inv", "weight_scale")),
    input_scale=ScaleNames("input_scale"),
    endings=MappingProxyType({}),
    parts=MappingProxyType({"weight": Part.WEIGHT, "weight_scale_inv": Part.SCALE, "weight_scale": Part.SCALE}),
)


class Mxfp8(Format):
    """Reader of MXFP8 checkpoints."""

    name = NAME
    aliases = ()
    dialects = (DIALECT,)

    def dialect_of(self, container: Container) -> Dialect | None:
        """The dialect of a container; None when it is not ours."""
        located = config_block.locate(container.config)
        return DIALECT if located is not None and config_block.quant_method(located.block) == NAME else None

    def describe(self, container: Container) -> str:
        """What a container of ours holds, in a few words."""
        return "MXFP8"

    def read(self, container: Container) -> Checkpoint:
        """Every module is in groups of 32 but those that are listed, themselves or by a module that they are in."""
        located = config_block.locate(container.config)
        if located is None:
            raise config_block.missing(container.label)
        reader, block = ConfigReader(), located.block
        size = block.get("weight_block_size")
        if size not in (None, [1, GROUP]):
            reader.wrong("weight_block_size", f"[1, {GROUP}], or none", size)
        listed = reader.skip_list(block, _SKIP_KEYS)
        reader.raise_faults(container.label)
        exact, owners = frozenset(listed), tuple(f"{entry}." for entry in listed)

        def is_excluded(module: str) -> bool:
            return module in exact or module.startswith(owners)

        declaration = Declaration(
            format=NAME,
            dialect=DIALECT.name,
            scheme_of=lambda module: None if is_excluded(module) else SCHEME,
            is_excluded=is_excluded,
            kv_cache=None,
            raw=block,
            understood={"scheme": str(SCHEME), "ignored_layers": listed},
            has_others=True,
        )
        return assemble(container, take_census(container.tensors, DIALECT.endings), declaration, DIALECT.parts)

    def write(self, checkpoint: Checkpoint, options: WriteOptions) -> Draft:
        """Nothing: it is only read."""
        raise UsageError(f"{NAME} is only read, not written")

    def scale_shapes(self, granularity: Granularity, weight_shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """Stored scale shapes.

        >>> Mxfp8().scale_shapes(PerGroup(32), (64, 256))
        ((64, 8),)
        """
        return (granularity.scale_shape(weight_shape),)
