"""Which tensor-parallel sizes a checkpoint can be served with, and what stands in the way of the others.

The conditions are those of vLLM 0.32 (attention heads, block grids of split and of merged layers, experts), which
SGLang shares; the heads alone are common to every engine that splits a model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ckptkit.engines.dimensions import Dimensions
from ckptkit.model import names
from ckptkit.model.checkpoint import Checkpoint, QuantizedModule
from ckptkit.model.granularity import PerBlock

#: Engines that split a model over devices by the rules of this module.
SPLITTERS = frozenset({"vllm", "sglang", "trtllm"})
#: Modules whose input is split; every other linear module of a layer has its output split.
ROW_PARALLEL = frozenset({"o_proj", "down_proj", "w2", "out_proj", "dense_4h_to_h", "wo", "wo_b"})
#: Modules that each device holds whole.
REPLICATED = frozenset(
    {"q_a_proj", "kv_a_proj_with_mqa", "wq_a", "wkv", "eh_proj", "gate", "router", "shared_expert_gate"}
)
#: The stored members of layers that engines merge, in the order in which they are stacked.
MERGED = names.FUSED_GROUPS


@dataclass(frozen=True)
class BlockedModule:
    """A kind of block-quantized module: its generalised name, weight shape and block size."""

    name: str
    shape: tuple[int, ...]
    rows: int
    columns: int


def blocked_kinds(modules: Iterable[QuantizedModule]) -> tuple[BlockedModule, ...]:
    """The different block-quantized modules, layer and expert numbers generalised."""
    found: dict[tuple[str, tuple[int, ...], int, int], None] = {}
    seen: set[tuple[str, str, tuple[int, ...], PerBlock]] = set()
    for module in modules:
        granularity = module.scheme.weight.granularity
        if isinstance(granularity, PerBlock):
            shape = module.weight.shape
            # Generalising a name costs more than looking at its last part, and most modules repeat.
            owner, _, last = module.name.rpartition(".")
            key = (owner.rpartition(".")[2] if not owner[-1:].isdigit() else "experts", last, shape, granularity)
            if key not in seen:
                seen.add(key)
                found[(names.generalise(module.name), shape, granularity.rows, granularity.columns)] = None
    return tuple(BlockedModule(*key) for key in found)


def head_obstacles(dimensions: Dimensions, size: int) -> Iterator[str]:
    """Attention heads must divide; key-value heads must divide or be copied whole."""
    heads, kv_heads = dimensions.heads, dimensions.kv_heads
    if heads is not None and heads % size:
        yield f"{heads} attention heads over {size}"
    if kv_heads is not None and dimensions.kv_lora_rank is None and kv_heads % size and size % kv_heads:
        yield f"{kv_heads} key-value heads over {size}"


def block_obstacles(kinds: Iterable[BlockedModule], dimensions: Dimensions, size: int) -> Iterator[str]:
    """Where a block would be cut: rows of split outputs, columns of split inputs, members of merged layers."""
    for kind in kinds:
        last = names.last_part(kind.name)
        rows, columns = kind.shape[0], kind.shape[1]
        if last in REPLICATED:
            continue
        if last in ROW_PARALLEL:
            if size > 1 and (columns % size or columns // size % kind.columns):
                yield f"{kind.name}: {columns} inputs over {size} in blocks of {kind.columns}"
            continue
        parts = size
        if last in ("k_proj", "v_proj") and dimensions.kv_heads is not None:
            parts = min(size, dimensions.kv_heads)
        if parts > 1 and (rows % parts or rows // parts % kind.rows):
            yield f"{kind.name}: {rows} outputs over {parts} in blocks of {kind.rows}"


def merged_obstacles(checkpoint: Checkpoint) -> Iterator[tuple[str, QuantizedModule, PerBlock]]:
    """Members of merged layers, all but the last, whose rows are no whole number of blocks: (group, module, block).

    They stop vLLM on a single device already. Every offending module is given.
    """
    inner = {part: fused for fused, parts in MERGED.items() for part in parts[:-1]}
    final = {part: fused for fused, parts in MERGED.items() for part in parts[-1:]}
    for name, module in checkpoint.modules.items():
        owner, _, last = name.rpartition(".")
        fused = inner.get(last) or (final.get(last) if ".experts." in name else None)
        granularity = module.scheme.weight.granularity
        if fused is None or not isinstance(granularity, PerBlock) or not module.weight.shape[0] % granularity.rows:
            continue
        siblings = MERGED[fused]
        if any(checkpoint.has_module(names.join(owner, part)) for part in siblings if part != last):
            yield fused, module, granularity


def obstacles(checkpoint: Checkpoint, engine: str, size: int) -> tuple[str, ...]:
    """All that keeps an engine from splitting the checkpoint over ``size`` devices."""
    dimensions = Dimensions.of(checkpoint.config)
    found = list(head_obstacles(dimensions, size))
    if engine in ("vllm", "sglang"):
        kinds = blocked_kinds(checkpoint.modules.values())
        found += block_obstacles(kinds, dimensions, size)
        merged: dict[str, None] = {}
        for fused, module, granularity in merged_obstacles(checkpoint):
            rows = module.weight.shape[0]
            merged[f"{names.generalise(module.name)}: {rows} rows inside {fused}, blocks of {granularity.rows}"] = None
        found += merged
    return tuple(found)
