"""CK301 channel-scale-rank, and its fix."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import OnConversion, fix, rule
from ckptkit.errors import Fault
from ckptkit.model.granularity import PerChannel
from ckptkit.rules.shapes.grids import mismatches, rank_faults, reshape_weight_scale


@rule(
    "CK301",
    "channel-scale-rank",
    Severity.ERROR,
    conversion=OnConversion.FIXED,
    reports=(
        "NVIDIA/TensorRT-LLM#15415",
        "sgl-project/sglang#25286",
        "FlashML-org/FreeToken#415",
    ),
)
def channel_scale_rank(context: Context) -> Iterator[Fault]:
    """A per-channel scale has the right number of values in the wrong rank.

    Why it hurts: vLLM stops with an assertion that has no message; transformers broadcasts [N] along the wrong axis,
    silently where the weight is square.

    Example: ``weight_scale`` [64] in a compressed-tensors checkpoint, which stores [64, 1]; Quark and ModelOpt store
    [64].

    Fix: reshape it; the bytes do not change. A conversion does.
    """
    wrong = {scale.name: (module.weight.shape, scale.shape) for module, scale, _ in mismatches(context)}
    for fault in rank_faults(context, PerChannel):
        (rows, *columns), shape = wrong.get(fault.tensor or "", ((0,), ()))
        lying = len(shape) == 2 and shape[0] == 1
        words = [*(["lying"] if lying else []), *(["square"] if columns == [rows] else [])]
        # As many values as rows may be taken for those of groups of columns where there are as many of these.
        wide = lying and len(columns) == 1 and columns[0] > rows and columns[0] % rows == 0
        yield Observation.of(fault, variant=f"{'-'.join(words)}{'/wide' * wide}" or None)


fix("safe", "CK301")(reshape_weight_scale)
