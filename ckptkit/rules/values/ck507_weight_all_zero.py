"""CK507 weight-all-zero."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import Level, rule
from ckptkit.errors import Fault


@rule("CK507", "weight-all-zero", Severity.INFO, level=Level.FULL, reports=("NVIDIA/Model-Optimizer#2276",))
def weight_all_zero(context: Context) -> Iterator[Fault]:
    """A weight, or whole rows or blocks of it, are zero.

    Why it hurts: usually nothing: pruned experts and padded vocabularies look so. But a merge of scales that divides
    by an expert's largest weight makes NaN of it, and a tensor that was never written looks so too.

    Example: all of ``experts.93.up_proj.weight``.

    Fix: nothing if it is meant.
    """
    for scan in context.weight_scans.values():
        if scan.zero_units:
            what = (
                "the weight is"
                if scan.zero_units == scan.units
                else f"{scan.zero_units} of {scan.units} scales' weights are"
            )
            yield Fault("weight-zero", f"{what} all zero", scan.tensor.shard, scan.tensor.name)
