"""CK106 index-unlisted-tensor, and its fix."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import OnConversion, fix, rule
from ckptkit.errors import Fault
from ckptkit.rules.files.index_fixes import rebuild_index


@rule(
    "CK106",
    "index-unlisted-tensor",
    Severity.WARNING,
    conversion=OnConversion.FIXED,
    reports=(
        "vllm-project/vllm#54230",
        "vllm-project/vllm#5353",
    ),
)
def index_unlisted_tensor(context: Context) -> Iterator[Fault]:
    """A shard holds a tensor that the index does not list.

    Why it hurts: engines read every tensor of every shard they open, so a stale scale left in a shard is loaded
    although the index says nothing of it.

    Example: FP8 experts left behind in shards that were reused for another quantization of the same model.

    Fix: rebuild the index, or rewrite the shard without the stale tensor.
    """
    yield from context.faults("index-unlisted-tensor")


fix("safe", "CK106")(rebuild_index)
