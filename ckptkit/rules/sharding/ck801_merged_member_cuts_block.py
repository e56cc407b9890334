"""CK801 merged-member-cuts-block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.fused import FusedGroup
from ckptkit.checks.registry import OnConversion, rule
from ckptkit.checks.skip_lists import engines_that_build
from ckptkit.engines.parallel import merged_obstacles
from ckptkit.errors import Fault, plural
from ckptkit.formats.base import UNSAID_BLOCKS
from ckptkit.model import names
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.model.granularity import PerBlock
from ckptkit.model.scheme import Scheme
from ckptkit.rules.config.block import is_said_otherwise

#: Two gates of linear attention of the same size, stored as one.
_GATES = "in_proj_ba"
_GATE_PARTS = frozenset({_GATES, "in_proj_b", "in_proj_a"})


@rule(
    "CK801",
    "merged-member-cuts-block",
    Severity.ERROR,
    conversion=OnConversion.CARRIED,
    reports=(
        "sgl-project/sglang#26107",
        "vllm-project/vllm#21404",
    ),
)
def merged_member_cuts_block(context: Context) -> Iterator[Fault]:
    """A part of a merged layer ends inside a block, so that the next part's scales would not line up.

    Why it hurts: engines stack q/k/v and gate/up with their scale grids. Only the last part may end in a partial
    block; vLLM refuses the checkpoint on a single device already. In experts the last part may not either. A layer that
    is stored merged, as Phi-3's, has the same parts, and so has one in BF16 that no skip list names.

    Example: k_proj with 64 rows in blocks of 128.

    Fix: quantize these modules per channel, or leave them in BF16.
    """
    # Engines that are not told of blocks look for no whole number of them.
    variant = UNSAID_BLOCKS if is_said_otherwise(context, UNSAID_BLOCKS) else None
    kinds: dict[tuple[str, int, int], list[str]] = {}
    for cut in merged_obstacles(context.checkpoint) if context.checkpoint else ():
        key = (names.generalise(cut.module.name), cut.rows, cut.block.rows)
        kinds.setdefault(key, []).append(cut.module.name)
    for (kind, rows, block), members in kinds.items():
        message = (
            f"{rows} rows inside a merged layer are no whole number of blocks, in {plural(len(members), 'module')}"
        )
        name = members[0] if len(members) == 1 else kind
        wanted = f"a multiple of {block} rows"
        yield Observation("merged-block", message, None, name, wanted, f"{rows} rows", variant=variant)
    yield from _built_in_blocks(context, variant)
    yield from _in_other_attention(context)


def _in_other_attention(context: Context) -> Iterator[Observation]:
    """The same in what linear or latent attention merges, which most engines do not measure."""
    modules = context.checkpoint.modules if context.checkpoint else {}
    kinds: dict[tuple[str, int, int], None] = {}
    for group in context.fused_groups:
        for name in group.members[:-1] if group.other_attention else ():
            grain = modules[name].scheme.weight.granularity if name in modules else None
            if isinstance(grain, PerBlock) and modules[name].weight.shape[0] % grain.rows:
                kinds[names.generalise(name), modules[name].weight.shape[0], grain.rows] = None
    for kind, rows, block in kinds:
        message = f"{rows} rows inside a merged layer of linear or latent attention are no whole number of blocks"
        wanted = f"a multiple of {block} rows"
        yield Observation(
            "merged-block",
            message,
            None,
            kind,
            wanted,
            f"{rows} rows",
            variant="other-attention",
            severity=Severity.WARNING,
        )


def _built_in_blocks(context: Context, variant: str | None) -> Iterator[Observation]:
    """Parts in high precision that no list leaves alone: engines build the merged layer in blocks all the same."""
    checkpoint = context.checkpoint
    if checkpoint is None or not checkpoint.declared_only:
        return
    for kind, (module, rows, block) in _declared_parts(checkpoint, context.fused_groups).items():
        yield Observation(
            "merged-block",
            f"{rows} rows inside a merged layer that the config declares in blocks are no whole number of these",
            None,
            kind,
            f"a multiple of {block} rows",
            f"{rows} rows",
            variant=variant or ("gates" if names.last_part(module) in _GATE_PARTS else None),
            only=engines_that_build(context, module, quantized=True),
        )


def _declared_parts(checkpoint: Checkpoint, groups: Iterable[FusedGroup]) -> dict[str, tuple[str, int, int]]:
    """Kinds of such parts that end inside a block: the first module of each, its rows, and the rows of a block."""
    found: dict[str, tuple[str, int, int]] = {}
    inner = {name for group in groups for name in group.members[:-1] if not _is_latent(group)}
    for name in checkpoint.declared_only:
        scheme, weight = checkpoint.contradicted[name], checkpoint.unquantized[name]
        stored_merged = names.last_part(name) == _GATES
        grain = scheme.weight.granularity if isinstance(scheme, Scheme) else None
        if isinstance(grain, PerBlock) and (stored_merged or name in inner):
            rows = weight.shape[0] // 2 if stored_merged else weight.shape[0]
            if rows % grain.rows:
                found.setdefault(names.generalise(name), (name, rows, grain.rows))
    return found


def _is_latent(group: FusedGroup) -> bool:
    """Whether a layer is one of latent attention: what is merged there is no layer of several outputs to engines."""
    return group.other_attention and not group.fused.startswith("in_proj")
