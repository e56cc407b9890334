"""The plain ``fp8`` format: detection, reader, writer and scale shapes, for its three dialects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ckptkit.edits.changes import ConfigEdit, SetKey
from ckptkit.errors import Fault, excerpt
from ckptkit.formats import config_block
from ckptkit.formats.assemble import Declaration, assemble
from ckptkit.formats.base import UNSAID_BLOCKS, ConfigFault, Draft, Format, WriteOptions, written_dialect
from ckptkit.formats.dialect import Dialect, texts
from ckptkit.formats.fp8 import config
from ckptkit.formats.fp8.facts import (
    BARE_SCALE,
    BLOCK,
    MXFP4,
    NAME,
    NVFP4,
    PACKED_UNLESS_SAID,
    PARTS,
    PER_TENSOR,
    ROLES,
    STACK_SCALES,
    TRANSFORMERS,
    UNCLEAR,
)
from ckptkit.formats.fp8_fields import ASSUMED, BLOCK_SIZE, EXPERTS, FAULT, OWN_NAMES, field_faults
from ckptkit.model import names
from ckptkit.model.census import Role, is_fp8, take_census
from ckptkit.model.checkpoint import Checkpoint, KVCache
from ckptkit.model.granularity import Granularity, PerTensor
from ckptkit.model.scheme import OtherScheme
from ckptkit.storage.container import Container
from ckptkit.storage.payload import TensorRef

if TYPE_CHECKING:
    from ckptkit.formats.preset import Preset


class PlainFp8(Format):
    """Reader and writer of plain ``fp8`` checkpoints."""

    name = NAME
    aliases = ("deepseek", "deepseek-fp8")
    dialects = (BLOCK, PER_TENSOR, TRANSFORMERS)

    @property
    def presets(self) -> tuple[Preset, ...]:
        """The ways to quantize plain weights, as its own tools call them."""
        from ckptkit.formats.fp8.presets import PRESETS  # what only quantizing needs is imported by it

        return PRESETS

    def dialect_of(self, container: Container) -> Dialect | None:
        """The dialect of a container, by its config, and by its scales where that leaves it open; None if not ours.

        transformers takes a missing block size for 128x128, vLLM for none: scales that are grids decide.
        """
        located = config_block.locate(container.config)
        if located is None or not _is_ours(located.block):
            return None
        return _dialect(located.block, _first_scale(container))

    def describe(self, container: Container) -> str:
        """What a container of ours holds, in a few words."""
        return f"quant_method {NAME!r} ({(self.dialect_of(container) or UNCLEAR).name})"

    def read(self, container: Container) -> Checkpoint:
        """Make the canonical model: one scheme, by the config and the dialect, for every module that is not listed."""
        located = config_block.locate(container.config)
        if located is None or not _is_ours(located.block):
            raise config_block.missing(container.label)
        scale = _first_scale(container)
        dialect = _dialect(located.block, scale)
        packed = _packed_experts(container)
        parsed = config.parse(container.config, located.block, dialect, container.label, packed)
        declaration = Declaration(
            format=NAME,
            dialect=dialect.name,
            scheme_of=parsed.scheme_of,
            is_excluded=parsed.is_excluded,
            kv_cache=parsed.kv_cache,
            raw=located.block,
            understood=parsed.understood,
            provenance=parsed.provenance,
            has_others=parsed.experts is not None,
        )
        bare = scale is not None and scale.name.endswith(f".{BARE_SCALE}")
        roles = {**ROLES, BARE_SCALE: Role.WEIGHT_SCALE} if bare else ROLES
        return assemble(container, take_census(container.tensors, roles, STACK_SCALES), declaration, PARTS)

    def write(self, checkpoint: Checkpoint, options: WriteOptions) -> Draft:
        """What each tensor becomes."""
        from ckptkit.formats.fp8 import write  # what only writing needs is imported by it

        dialect, capabilities = written_dialect(self, options.mode)
        return write.draft(checkpoint, self, dialect, capabilities)

    def scale_shapes(self, granularity: Granularity, weight_shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """Stored scale shapes, the exporters' form first.

        >>> from ckptkit.model.granularity import PerBlock
        >>> PlainFp8().scale_shapes(PerTensor(), (64, 256)), PlainFp8().scale_shapes(PerBlock(128, 128), (64, 256))
        (((), (1,)), ((1, 2),))
        """
        canonical = granularity.scale_shape(weight_shape)
        return (canonical, (*canonical, 1)) if isinstance(granularity, PerTensor) else (canonical,)

    def config_faults(
        self, container: Container, dialect: Dialect | None, checkpoint: Checkpoint | None
    ) -> Iterator[Fault]:
        """What a config of ours says that some reader takes wrongly."""
        located = config_block.locate(container.config)
        if located is None or dialect is None or dialect.format != NAME:
            return
        yield from field_faults(located.block)
        yield from _expert_faults(container, located.block)
        if BLOCK_SIZE not in located.block:
            yield from _size_faults(container, located, dialect, checkpoint)

    def declare_kv_cache(self, checkpoint: Checkpoint, cache: KVCache | None) -> Iterable[ConfigEdit]:
        """In a word."""
        located = config_block.locate(checkpoint.config)
        return () if located is None else (SetKey((*located.way, "kv_cache_scheme"), "static" if cache else None),)


def _size_faults(
    container: Container, located: config_block.Located, dialect: Dialect, checkpoint: Checkpoint | None
) -> Iterator[ConfigFault]:
    """A block size that is not given, and what was made of the scales instead."""
    path = (BLOCK_SIZE,)
    if dialect.name != BLOCK.name:
        if _first_scale(container) is not None:
            message = "no block size is given, and the scales are of whole tensors: some readers take blocks of 128x128"
            # Its own tool writes null: who leaves that out is read as if there were blocks by whoever knows the names.
            what = OWN_NAMES if dialect.name == TRANSFORMERS.name else ""
            expected = f"{BLOCK_SIZE} = null"
            yield ConfigFault(ASSUMED, message, "config.json", None, expected, "nothing", path=path, what=what)
        return
    size = list(config.USUAL_BLOCK)
    message = "scales are grids, and no block size is given: some readers take 128x128, others one scale for a tensor"
    edits = (SetKey((*located.way, BLOCK_SIZE), size),) if checkpoint is not None and _fits(checkpoint) else ()
    found = f"nothing, and {_grid(container)}"
    wanted = f"{BLOCK_SIZE} = {size}"
    yield ConfigFault(FAULT, message, "config.json", None, wanted, found, path=path, edits=edits, what=UNSAID_BLOCKS)


def _expert_faults(container: Container, block: Mapping[str, Any]) -> Iterator[ConfigFault]:
    """What is announced of experts, or taken for granted, and stored otherwise."""
    config, stored = container.config, _stored_experts(container)
    architectures = texts(config.get("architectures"))
    said = config.get(names.EXPERT_DTYPE, block.get(names.EXPERT_DTYPE))
    granted = "fp4" if architectures and architectures[0].startswith(PACKED_UNLESS_SAID) else None
    if stored is None or (said or granted) in (None, stored):
        return
    message = f"experts are stored in {stored}, and config.json says otherwise"
    if said is None:
        message = f"experts are stored in {stored}, and config.json does not say so: {granted} is taken for granted"
    edit = SetKey((names.EXPERT_DTYPE,), stored)
    found = "nothing" if said is None else excerpt(said)
    yield ConfigFault(
        EXPERTS,
        message,
        "config.json",
        None,
        f"{names.EXPERT_DTYPE} = {stored}",
        found,
        path=(names.EXPERT_DTYPE,),
        edits=(edit,),
    )


def _stored_experts(container: Container) -> str | None:
    """The word for what the first expert is stored in: "fp8" or "fp4"; None where it is neither, or there is none."""
    for name, tensor in container.tensors.items():
        if ".experts." in name and name.endswith(".weight") and len(tensor.shape) == 2:
            if is_fp8(tensor.dtype):
                return "fp8"
            return "fp4" if _packed_experts(container) is not None else None
    return None


def _fits(checkpoint: Checkpoint) -> bool:
    """Whether every scale is the grid that the declared blocks give for its weight."""
    return all(
        module.weight_scale is not None
        and module.weight_scale.shape == module.scheme.weight.granularity.scale_shape(module.weight.shape)
        for module in checkpoint.modules.values()
    )


def _is_ours(block: Mapping[str, Any]) -> bool:
    """Whether a config is plain ``fp8``, and not of AMD Quark's ``fp8`` mode, which has the same method."""
    return config_block.quant_method(block) == NAME and not isinstance(block.get("export"), dict)


def _dialect(block: Mapping[str, Any], scale: TensorRef | None) -> Dialect:
    """The dialect of a config of ours; ``scale`` is the first of a weight."""
    size = block.get(BLOCK_SIZE)
    if size is not None and not isinstance(size, list):
        return UNCLEAR
    if size:
        return BLOCK
    if scale is None or not scale.name.endswith("_inv"):
        return PER_TENSOR
    return BLOCK if BLOCK_SIZE not in block and scale.numel > 1 else TRANSFORMERS


def _first_scale(container: Container) -> TensorRef | None:
    """The first weight scale beside an FP8 weight."""
    tensors = container.tensors
    for name, tensor in tensors.items():
        if name.endswith(("weight_scale", "weight_scale_inv", f".{BARE_SCALE}")):
            weight = tensors.get(f"{tensor.module}.weight")
            if weight is not None and is_fp8(weight.dtype):
                return tensor
    return None


def _packed_experts(container: Container) -> OtherScheme | None:
    """The layout of experts of four bits, as the first expert's tensors have it; None where they are no such.

    In bytes beside exponents, one for 32 elements, or beside FP8 scales, one for 16, and a scale of these.
    """
    tensors = container.tensors
    for name, tensor in tensors.items():
        if ".experts." in name and name.endswith(".weight") and len(tensor.shape) == 2:
            scale = tensors.get(f"{tensor.module}.{BARE_SCALE}") or tensors.get(f"{tensor.module}.weight_scale")
            if tensor.dtype not in ("I8", "U8") or scale is None:
                return None
            rows, stored = tensor.shape
            if scale.dtype in ("F8_E8M0", "U8") and scale.shape == (rows, stored // 16):
                return MXFP4
            second = f"{tensor.module}.weight_scale_2" in tensors
            return NVFP4 if second and scale.dtype == "F8_E4M3" and scale.shape == (rows, stored // 8) else None
    return None


def _grid(container: Container) -> str:
    scale = _first_scale(container)
    return "no scale" if scale is None else f"{scale.name} {list(scale.shape)}"
