"""CK8xx: block grids against merged layers, kernels and tensor parallelism."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import OnConversion, rule
from ckptkit.engines.parallel import block_obstacles, blocked_kinds, merged_obstacles
from ckptkit.errors import Fault, plural
from ckptkit.model import names

#: Sizes that CK802 tries; ``validate --matrix --tp`` judges any.
SIZES = (2, 4, 8, 16)
_KERNEL_ROWS = 128
_KERNEL_BLOCK = (128, 128)


@rule("CK801", "merged-member-cuts-block", Severity.ERROR, conversion=OnConversion.CARRIED)
def merged_member_cuts_block(context: Context) -> Iterator[Fault]:
    """A part of a merged layer ends inside a block, so that the next part's scales would not line up.

    Why it hurts: engines stack q/k/v and gate/up with their scale grids. Only the last part may end in a partial
    block; vLLM refuses the checkpoint on a single device already. In experts the last part may not either.

    Example: k_proj with 64 rows in blocks of 128.

    Mend: quantize these modules per channel, or leave them in BF16.
    """
    kinds: dict[tuple[str, int, int], list[str]] = {}
    for _, module, granularity in merged_obstacles(context.checkpoint) if context.checkpoint else ():
        key = (names.generalise(module.name), module.weight.shape[0], granularity.rows)
        kinds.setdefault(key, []).append(module.name)
    for (kind, rows, block), members in kinds.items():
        message = (
            f"{rows} rows inside a merged layer are no whole number of blocks, in {plural(len(members), 'module')}"
        )
        name = members[0] if len(members) == 1 else kind
        yield Fault("merged-block", message, None, name, f"a multiple of {block} rows", f"{rows} rows")


@rule("CK802", "parallel-size-cuts-block", Severity.INFO)
def parallel_size_cuts_block(context: Context) -> Iterator[Fault]:
    """Some tensor-parallel sizes would cut a block of scales.

    Why it hurts: engines stop when rows or columns for each device are no whole number of blocks. Experts with small
    intermediate sizes are the usual victims.

    Example: experts of 768 rows in blocks of 128: 2 devices work (384), 4 do not (192).

    Mend: serve with a smaller size or with expert parallelism, or quantize these modules per channel.
    """
    kinds = blocked_kinds(context.modules)
    if not kinds:
        return
    failing = {size: next(block_obstacles(kinds, context.dimensions, size), None) for size in SIZES}
    bad = [size for size, obstacle in failing.items() if obstacle is not None]
    if bad:
        message = "tensor-parallel sizes at which a block would be cut"
        sizes = ", ".join(map(str, bad))
        yield Fault("parallel-block", message, "config.json", None, None, f"{sizes} (first: {failing[bad[0]]})")


@rule("CK803", "rows-not-multiple-of-128", Severity.INFO)
def rows_not_multiple_of_128(context: Context) -> Iterator[Fault]:
    """A block-quantized weight has a number of rows that is no multiple of 128.

    Why it hurts: the CUTLASS block kernels need one. Engines take a slower path, and some versions chose the kernel
    and then aborted.

    Example: ``kv_a_proj_with_mqa`` with 576 rows.

    Mend: nothing is wrong in the file; a per-channel scheme for that module runs faster.
    """
    for kind in blocked_kinds(context.modules):
        if kind.shape[0] % _KERNEL_ROWS:
            message = f"no CUTLASS block kernel for {kind.shape[0]} rows"
            yield Fault("block-rows", message, None, kind.name, "a multiple of 128 rows", f"{kind.shape[0]} rows")


@rule("CK804", "block-size-unusual", Severity.WARNING, conversion=OnConversion.CARRIED)
def block_size_unusual(context: Context) -> Iterator[Fault]:
    """The block size is not 128 x 128.

    Why it hurts: TensorRT-LLM and most kernels know that size only; others refuse it or run a reference path.

    Example: ``weight_block_size: [32, 32]``.

    Mend: quantize again in blocks of 128 x 128, or per channel.
    """
    sizes: dict[tuple[int, int], str] = {}
    for kind in blocked_kinds(context.modules):
        sizes.setdefault((kind.rows, kind.columns), kind.name)
    declared = context.block.get("weight_block_size")
    if isinstance(declared, list) and len(declared) == 2 and all(type(n) is int for n in declared):
        sizes.setdefault((declared[0], declared[1]), "weight_block_size")
    for (rows, columns), name in sizes.items():
        if (rows, columns) != _KERNEL_BLOCK:
            message = "few kernels know this block size"
            yield Fault("block-size", message, "config.json", name, "128 x 128", f"{rows} x {columns}")


@rule("CK805", "inputs-not-whole-blocks", Severity.WARNING, conversion=OnConversion.CARRIED)
def inputs_not_whole_blocks(context: Context) -> Iterator[Fault]:
    """A block-quantized weight has a number of inputs that is no whole number of blocks.

    Why it hurts: activations are quantized in groups as wide as a block. vLLM pads or takes a short last group;
    transformers and Quark stop at the first request.

    Example: ``down_proj`` with 160 inputs in blocks of 128.

    Mend: quantize this module per channel, or leave it in BF16.
    """
    for kind in blocked_kinds(context.modules):
        if kind.shape[1] % kind.columns:
            message = "inputs are no whole number of blocks"
            yield Fault(
                "block-columns", message, None, kind.name, f"a multiple of {kind.columns}", f"{kind.shape[1]} inputs"
            )
