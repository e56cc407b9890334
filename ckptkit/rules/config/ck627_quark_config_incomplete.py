"""CK627 quark-config-incomplete, and its fix."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding, Observation, Severity
from ckptkit.checks.registry import OnConversion, fix, rule
from ckptkit.edits.changes import Edit
from ckptkit.errors import Fault
from ckptkit.rules.config.block import put_right


@rule(
    "CK627",
    "quark-config-incomplete",
    Severity.ERROR,
    conversion=OnConversion.FIXED,
    reports=(
        "vllm-project/vllm#10765",
        "vllm-project/vllm#54547",
    ),
)
def quark_config_incomplete(context: Context) -> Iterator[Fault]:
    """A Quark config is written in a way that vLLM cannot read although the tensors are right.

    Why it hurts: null where a list is iterated, ``dynamic`` for ``is_dynamic``, per-type specs that nothing applies,
    quantized outputs of linear layers, a ``kv_cache_group`` without entries of ``layer_quant_config`` that match it,
    or a default spec without ``output_tensors``, whose keys then differ from those of the KV entries.

    Example: ``"exclude": null``, as exports up to 0.8 wrote it.

    Fix: converting the checkpoint to Quark again writes every key.
    """
    faults = (
        *context.faults("quark-null-key", "quark-old-key", "quark-layer-type", "quark-kv-group"),
        *context.faults("quark-default-outputs", "quark-outputs", "quark-empty-list"),
    )
    yield from (Observation.of(fault, variant=fault.kind.partition("-")[2]) for fault in faults)


@fix("safe", "CK627")
def complete_config(context: Context, finding: Finding) -> Iterator[Edit]:
    """Write empty lists and objects for null, today's spellings, and an entry for each member of the KV group."""
    yield from put_right(context, "quark-null-key", "quark-old-key", "quark-kv-group", "quark-default-outputs")
    yield from put_right(context, "quark-empty-list")
