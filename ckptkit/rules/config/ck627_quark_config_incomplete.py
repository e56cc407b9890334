"""CK627 quark-config-incomplete, and its fix."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.config_keys import layers_of
from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding, Observation, Severity
from ckptkit.checks.registry import OnConversion, fix, rule
from ckptkit.edits.changes import Edit
from ckptkit.errors import Fault
from ckptkit.formats.base import ConfigFault
from ckptkit.rules.config.block import put_right
from ckptkit.rules.kv_cache.attention import declared_attention


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
    quantized outputs of linear layers, weights called dynamic, specs in lists, layers left plain by a spec without
    weights and not by the skip list, a ``kv_cache_group`` without entries of
    ``layer_quant_config`` that match it, or a default spec without ``output_tensors``, whose keys then differ from
    those of the KV entries.

    Example: ``"exclude": null``, as exports up to 0.8 wrote it.

    Fix: converting the checkpoint to Quark again writes every key.
    """
    faults = (
        *context.faults("quark-null-key", "quark-old-key", "quark-layer-type", "quark-kv-group"),
        *context.faults("quark-default-outputs", "quark-outputs", "quark-empty-list", "quark-dynamic-weights"),
    )
    yield from (Observation.of(fault, variant=_variant(fault, context)) for fault in faults)
    for fault in context.faults("quark-spec-list", "quark-plain-layer"):
        yield Observation.of(fault, variant=_variant(fault, context), severity=Severity.WARNING)


def _variant(fault: Fault, context: Context) -> str:
    """What engines tell apart: the kind of fault, and of keys that are null or missing which one it is."""
    kind = fault.kind.partition("-")[2]
    if kind == "null-key" and isinstance(fault, ConfigFault):
        (key, *_), dialect = fault.path, context.dialect
        is_list = dialect is not None and key in dialect.skip_list.keys
        return "other-null-key" if not is_list else kind if key in context.block else "missing-list"
    if kind == "kv-group" and isinstance(fault, ConfigFault) and fault.what:
        return f"{kind}/{fault.what}"
    if kind != "kv-group" or context.checkpoint is None or layers_of(context):
        return kind
    stored = (tensor for _, attention in declared_attention(context) for tensor in attention.stored().values())
    return "kv-no-layers" if any(tensor.module in context.checkpoint.modules for tensor in stored) else kind


@fix("safe", "CK627")
def complete_config(context: Context, finding: Finding) -> Iterator[Edit]:
    """Write empty lists and objects for null, today's spellings, and an entry for each member of the KV group."""
    yield from put_right(context, "quark-null-key", "quark-old-key", "quark-kv-group", "quark-default-outputs")
    yield from put_right(context, "quark-empty-list")
