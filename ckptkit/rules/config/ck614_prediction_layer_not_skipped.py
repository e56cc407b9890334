"""CK614 prediction-layer-not-skipped, and its fix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import OnConversion, fix, rule
from ckptkit.checks.skip_lists import engines_that_skip
from ckptkit.engines.architectures import leaves_alone
from ckptkit.engines.prediction import is_mtp
from ckptkit.engines.registry import engines
from ckptkit.errors import Fault
from ckptkit.rules.config.skip_entries import declared_high_precision, incomplete, list_module


@rule(
    "CK614",
    "prediction-layer-not-skipped",
    Severity.WARNING,
    conversion=OnConversion.FIXED,
    reports=(
        "vllm-project/vllm#38650",
        "vllm-project/vllm#49187",
        "vllm-project/vllm#43893",
        "vllm-project/vllm#52649",
    ),
)
def prediction_layer_not_skipped(context: Context) -> Iterator[Fault]:
    """A linear module of a multi-token prediction layer is stored in high precision and not in the skip list.

    Why it hurts: the draft model is built quantized from weights that are not. It loads, and no drafted token is ever
    accepted; or its experts stop the load.

    Example: ``mtp.fc.weight`` in BF16, and nothing of ``mtp`` in the skip list. The input projection ``eh_proj`` of
    most classes is plain whatever the config says: there it is a note.

    Fix: add the layer's modules to the skip list. A conversion does.
    """
    for name in declared_high_precision(context):
        if is_mtp(context.dimensions, name):
            fault = incomplete(context, name, "a prediction layer in high precision that the config calls quantized")
            if leaves_alone(context.dimensions.architecture, name):
                yield replace(fault, only=frozenset(), severity=Severity.INFO)
            else:
                yield replace(fault, only=frozenset(engines()) - engines_that_skip(context, name))


fix("safe", "CK614")(list_module)
