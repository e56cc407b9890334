"""What a target format cannot hold of a checkpoint: every loss, each with what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ckptkit.conversion.grouped import product
from ckptkit.errors import Fault, plural
from ckptkit.formats.dialect import Capabilities
from ckptkit.model import names
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.model.granularity import PerBlock, PerGroup
from ckptkit.model.scheme import InputKind, Quantization, Scheme

#: How what no target holds becomes FP8 all the same.
TWO_STEPS = "first make it plain (ckptkit convert --to bf16), then quantize what that gives (--scheme NAME)"
#: What to do about a loss that the user may take, for Python and for the command line.
ALLOW_LOSS = "allow it with allow_lossy (--allow-lossy)"
#: How a target without stacks holds experts that are stacked.
SPLIT = 'cut them into one weight for each expert with experts="split" (--experts split)'


def find_losses(checkpoint: Checkpoint, capabilities: Capabilities, target: str) -> Iterator[Fault]:
    """Every part of the checkpoint that the target cannot express."""
    yield from _other_losses(checkpoint, capabilities, target)
    if capabilities.schemes and not checkpoint.schemes and not checkpoint.opaque:
        yield _loss("kv-cache-alone", "no config is written for a quantized KV cache alone", "FP8 weights", "none")
    for scheme, members in checkpoint.schemes.items():
        yield from _scheme_losses(scheme, members, capabilities, target)
    if len(checkpoint.schemes) > 1 and not capabilities.mixed_schemes:
        found = "; ".join(f"{len(members)} x {scheme}" for scheme, members in checkpoint.schemes.items())
        yield _loss("mixed-schemes", f"{target} holds one scheme for all modules", "one scheme", found)
    kinds = [kind.first.name for kind in checkpoint.alike]
    if any(map(names.is_head, kinds)) and not capabilities.quantized_lm_head:
        yield _loss(
            "quantized-head",
            f"{target} readers do not load a quantized output head",
            "lm_head in BF16",
            "FP8",
        )
    embedding = next(filter(names.is_embedding, kinds), None)
    if embedding is not None and not capabilities.quantized_embeddings:
        message = f"{target} readers do not load a quantized embedding: {embedding}"
        yield _loss("quantized-embedding", message, "embeddings in BF16", "FP8")
    if capabilities.whole_columns:
        yield from _column_losses(checkpoint, target)
    stacked = (kind for kind in checkpoint.alike if kind.first.experts is not None)
    stacks = tuple(module.name for kind in stacked for module in kind.modules)
    if stacks and not capabilities.stacked_experts:
        message = f"{target} has one module for each expert, and all of a layer are one stack: {_where(stacks)}"
        expected, found = "one 2-D weight for each expert", "weights [experts, rows, columns]"
        yield _loss("stacked-experts", message, expected, found, SPLIT)
    yield from _kv_losses(checkpoint, capabilities, target)


def _column_losses(checkpoint: Checkpoint, target: str) -> Iterator[Fault]:
    """Weights whose columns end inside a block, where the target's loaders want whole ones."""
    for scheme, members in checkpoint.schemes.items():
        block = scheme.weight.granularity
        cut = (
            tuple(name for name in members if checkpoint.modules[name].weight.shape[-1] % block.columns)
            if isinstance(block, PerBlock)
            else ()
        )
        if cut and isinstance(block, PerBlock):
            columns = checkpoint.modules[cut[0]].weight.shape[-1]
            message = f"{target} readers take whole blocks of columns only: {_where(cut)}"
            yield _loss("block-columns", message, f"a multiple of {block.columns} columns", str(columns))


def _other_losses(checkpoint: Checkpoint, capabilities: Capabilities, target: str) -> Iterator[Fault]:
    """Modules in another quantization than FP8, which only a target with the same storage can carry."""
    for scheme, members in checkpoint.other_schemes.items():
        if scheme.storage not in capabilities.other_storages:
            known = f"FP8 modules{', or layouts of its own' if capabilities.other_storages else ''}"
            words = [word.lower().removesuffix("a16") for word in scheme.name.split()]
            own = sorted(kept for kept in capabilities.other_storages if any(word in kept for word in words))
            if own:  # the same numbers, and scales that are not: reciprocals, or other groups
                known = f"the layout {' or '.join(own)}, into which no exact change is known"
            message = f"{target} cannot hold the {scheme.name} modules as they are stored: {_where(members)}"
            help_text = TWO_STEPS if product(checkpoint.opaque[members[0]], "BF16") is not None else None
            yield replace(_loss("other-quantization", message, known, f"{scheme} ({scheme.storage})"), help=help_text)


def _where(members: tuple[str, ...]) -> str:
    return f"{members[0]} and {len(members) - 1} more" if len(members) > 1 else members[0]


def _scheme_losses(
    scheme: Scheme, members: tuple[str, ...], capabilities: Capabilities, target: str
) -> Iterator[Fault]:
    granularity = scheme.weight.granularity
    where = _where(members)
    if (type(granularity), InputKind.of(scheme.input)) not in capabilities.schemes:
        known = sorted(str(inputs) for weight, inputs in capabilities.schemes if weight is type(granularity))
        expected = f"{granularity.kind} weights with {' or '.join(known)} inputs" if known else None
        if expected is None:
            expected = f"{' or '.join(sorted({weight.kind for weight, _ in capabilities.schemes}))} weights"
        message = f"{target} cannot express the scheme of {where}"
        yield _loss("scheme", message, expected, str(scheme))
    elif isinstance(granularity, PerBlock):
        size = (granularity.rows, granularity.columns)
        if capabilities.block_sizes is not None and size not in capabilities.block_sizes:
            known_sizes = " or ".join(f"{rows}x{columns}" for rows, columns in sorted(capabilities.block_sizes))
            yield _loss(
                "block-size",
                f"{target} cannot express the block size of {where}",
                known_sizes,
                str(granularity),
            )
        if capabilities.groups_match_blocks:
            yield from _group_losses(granularity, scheme.input, where, target)
    bound = scheme.input.upper_bound if scheme.input is not None else None
    bounded = capabilities.input_bound is not None
    if scheme.input is not None and (bound is not None) is not bounded:
        expected = "inputs without a bound" if capabilities.input_bound is None else "inputs with an upper bound"
        message = f"{target} cannot express the inputs of {where}"
        yield _loss("input-bound", message, expected, str(scheme.input))
    if scheme.output is not None and not capabilities.output_quantization:
        message = f"{target} cannot express quantized outputs of linear modules ({where})"
        yield _loss("output-quantization", message, "outputs in high precision", str(scheme.output))


def _group_losses(block: PerBlock, inputs: Quantization | None, where: str, target: str) -> Iterator[Fault]:
    group = inputs.granularity if inputs is not None else None
    if isinstance(group, PerGroup) and group.size != block.columns:
        message = f"{target} has no other groups than the columns of a block for the inputs of {where}"
        yield _loss("group-size", message, f"per-group {block.columns}", str(group))


def _kv_losses(checkpoint: Checkpoint, capabilities: Capabilities, target: str) -> Iterator[Fault]:
    if checkpoint.kv_cache is None:
        return
    scheme = checkpoint.kv_cache.scheme
    if scheme is not None and type(scheme.quantization.granularity) not in capabilities.kv_granularities:
        expected = " or ".join(sorted(kind.kind for kind in capabilities.kv_granularities)) or "no quantized KV cache"
        message = f"{target} cannot express the KV-cache scheme"
        yield _loss("kv-granularity", message, expected, str(scheme.quantization.granularity))
    missing: dict[str, int] = {}
    for attention in checkpoint.kv_cache.attention:
        for role in attention.stored():
            if role not in capabilities.kv_roles:
                missing[role] = missing.get(role, 0) + 1
    for role, count in missing.items():
        yield _loss(
            "attention-role",
            f"{target} has no place for the {role} scales of {plural(count, 'attention module')}",
            " and ".join(sorted(capabilities.kv_roles)) or "no attention scales",
            role,
        )


def _loss(kind: str, message: str, expected: str, found: str, help: str | None = None) -> Fault:
    return Fault(kind, message, expected=expected, found=found, help=help)
