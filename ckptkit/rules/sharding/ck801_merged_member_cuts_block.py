"""CK801 merged-member-cuts-block."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import OnConversion, rule
from ckptkit.engines.parallel import merged_obstacles
from ckptkit.errors import Fault, plural
from ckptkit.formats.base import UNSAID_BLOCKS
from ckptkit.model import names
from ckptkit.rules.config.block import is_said_otherwise


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
    is stored merged, as Phi-3's, has the same parts.

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
