"""Which tensor-parallel sizes a checkpoint can be served with, and what stands in the way of the others.

Attention heads stand in the way of every engine that splits a model; the block grids of split and of merged layers of
those that keep scales beside the rows that they belong to.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ckptkit.engines.base import Engine, Splitting
from ckptkit.engines.dialects import is_among
from ckptkit.engines.dimensions import Dimensions
from ckptkit.engines.finer_blocks import FinerBlocks
from ckptkit.model import names
from ckptkit.model.checkpoint import Alike, Checkpoint, QuantizedModule
from ckptkit.model.granularity import PerBlock
from ckptkit.record import record

#: Modules whose input is split; every other linear module of a layer has its output split.
ROW_PARALLEL = frozenset({"o_proj", "down_proj", "w2", "out_proj", "dense_4h_to_h", "wo", "wo_b"})
#: Modules that each device holds whole.
REPLICATED = frozenset(
    {"q_a_proj", "kv_a_proj_with_mqa", "wq_a", "wkv", "eh_proj", "gate", "router", "shared_expert_gate"}
)
#: Modules whose outputs are split, and that nobody merges with others.
SPLIT_ALONE = frozenset(
    {"c_fc", "dense_h_to_4h", "f_b_proj", "fc1", "fc_in", "g_b_proj", "kv_b_proj", "q_b_proj", "wq_b"}
)
_LATENT_KEYS = "kv_a_proj_with_mqa"
#: The stored members of layers that engines merge, in the order in which they are stacked.
MERGED = names.FUSED_GROUPS


def is_split_alone(checkpoint: Checkpoint, module: str) -> bool:
    """Whether a module's outputs are split over devices and merged with no other's; queries beside latent keys are."""
    owner, _, last = module.rpartition(".")
    return last in SPLIT_ALONE or (last == "q_proj" and checkpoint.has_module(names.join(owner, _LATENT_KEYS)))


@record
class BlockedModule:
    """A kind of block-quantized module: its generalised name, weight shape and block size."""

    name: str
    shape: tuple[int, ...]
    rows: int
    columns: int

    @property
    def is_expert(self) -> bool:
        """Whether it is a projection of a routed expert."""
        return ".experts." in self.name

    def refined(self, finer: FinerBlocks | None, share: int) -> bool:
        """Whether an engine repeats the scales for blocks that end where ``share`` of the experts' inner size does."""
        if finer is None or not self.is_expert:
            return False
        outer = self.shape[0] if names.last_part(self.name) in ROW_PARALLEL else self.shape[1]
        return math.gcd(self.rows, self.columns, share, outer) >= finer.smallest


def blocked_kinds(kinds: Iterable[Alike]) -> tuple[BlockedModule, ...]:
    """The different block-quantized modules, layer and expert numbers generalised.

    Those of other stacks of layers that end alike are not told apart.
    """
    found: dict[tuple[str, str, tuple[int, ...], PerBlock], BlockedModule] = {}
    for kind in kinds:
        granularity = kind.first.scheme.weight.granularity
        if isinstance(granularity, PerBlock):
            shape = kind.first.weight.shape
            owner, _, last = kind.first.name.rpartition(".")
            key = (owner.rpartition(".")[2] if not owner[-1:].isdigit() else "experts", last, shape, granularity)
            found.setdefault(key, BlockedModule(kind.name, shape, granularity.rows, granularity.columns))
    return tuple(found.values())


def head_obstacles(dimensions: Dimensions, size: int) -> Iterator[str]:
    """Attention heads must divide; key-value heads must divide or be copied whole."""
    heads, kv_heads = dimensions.heads, dimensions.kv_heads
    if heads is not None and heads % size:
        yield f"{heads} attention heads over {size}"
    if kv_heads is not None and dimensions.kv_lora_rank is None and kv_heads % size and size % kv_heads:
        yield f"{kv_heads} key-value heads over {size}"


def block_obstacles(
    kinds: Iterable[BlockedModule], dimensions: Dimensions, size: int, finer: FinerBlocks | None = None
) -> Iterator[str]:
    """Where a block would be cut: rows of split outputs, columns of split inputs, members of merged layers."""
    for kind in kinds:
        last = names.last_part(kind.name)
        rows, columns = kind.shape[0], kind.shape[1]
        if last in REPLICATED:
            continue
        if last in ROW_PARALLEL:
            cut = size > 1 and bool(columns % size or columns // size % kind.columns)
            if cut and (columns % size or not kind.refined(finer, columns // size)):
                yield f"{kind.name}: {columns} inputs over {size} in blocks of {kind.columns}"
            continue
        parts = size
        if last in ("k_proj", "v_proj") and dimensions.kv_heads is not None:
            parts = min(size, dimensions.kv_heads)
        cut = parts > 1 and bool(rows % parts or rows // parts % kind.rows)
        if cut and (rows % parts or not kind.refined(finer, rows // parts)):
            yield f"{kind.name}: {rows} outputs over {parts} in blocks of {kind.rows}"


class Cut(NamedTuple):
    """A part of a merged layer whose rows are no whole number of blocks: the layer, the stored module, rows, block."""

    fused: str
    module: QuantizedModule
    rows: int
    block: PerBlock


def merged_obstacles(checkpoint: Checkpoint) -> Iterator[Cut]:
    """Parts of merged layers, all but the last, that end inside a block, stored one by one or merged already.

    They stop engines on a single device already. Every offending part is given, by kinds of modules.
    """
    inner = {part: fused for fused, parts in MERGED.items() for part in parts[:-1]}
    final = {part: fused for fused, parts in MERGED.items() for part in parts[-1:]}
    merged = _parts_of_merged(Dimensions.of(checkpoint.config))
    for kind in checkpoint.alike:
        granularity = kind.first.scheme.weight.granularity
        if not isinstance(granularity, PerBlock):
            continue
        last = names.last_part(kind.name)
        rows = kind.first.weight.shape[0]
        if last in merged and sum(merged[last]) == rows:
            cut = [part for part in merged[last][:-1] if part % granularity.rows]
            yield from (Cut(last, module, part, granularity) for module in kind.modules for part in cut)
            continue
        fused = inner.get(last) or (final.get(last) if ".experts." in kind.name else None)
        if fused is None or not rows % granularity.rows:
            continue
        siblings = [part for part in MERGED[fused] if part != last]
        for module in kind.modules:
            owner = names.parent(module.name)
            if any(checkpoint.has_module(names.join(owner, part)) for part in siblings):
                yield Cut(fused, module, rows, granularity)


def _parts_of_merged(dimensions: Dimensions) -> dict[str, tuple[int, ...]]:
    """Layers that some models store merged -> the rows of their parts, as far as the config says."""
    found: dict[str, tuple[int, ...]] = {}
    heads, kv_heads, head = dimensions.heads, dimensions.kv_heads, dimensions.head_dim
    if head is None and dimensions.hidden is not None and heads is not None:
        head = dimensions.hidden // heads
    if heads is not None and kv_heads is not None and head is not None:
        found["qkv_proj"] = (heads * head, kv_heads * head, kv_heads * head)
    if dimensions.intermediate is not None:
        found["gate_up_proj"] = (dimensions.intermediate, dimensions.intermediate)
    return found


def obstacles(
    checkpoint: Checkpoint, engine: Engine, size: int, dialect: str = "", gpu: str | None = None
) -> tuple[str, ...]:
    """All that keeps an engine from splitting the checkpoint over ``size`` devices, of a kind or of any."""
    dimensions = Dimensions.of(checkpoint.config)
    found = list(head_obstacles(dimensions, size))
    if engine.splitting is Splitting.BLOCKS:
        finer = engine.finer_blocks
        if finer is not None and (not is_among(dialect, finer.formats) or gpu in finer.without):
            finer = None
        kinds = blocked_kinds(checkpoint.alike)
        found += block_obstacles(kinds, dimensions, size, finer)
        merged: dict[str, None] = {}
        for fused, module, rows, block in merged_obstacles(checkpoint):
            kind = BlockedModule(module.name, module.weight.shape, block.rows, block.columns)
            if not kind.refined(finer, rows // size):
                merged[f"{names.generalise(module.name)}: {rows} rows inside {fused}, blocks of {block.rows}"] = None
        found += merged
    return tuple(found)
