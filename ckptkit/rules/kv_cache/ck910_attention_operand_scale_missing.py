"""CK910 attention-operand-scale-missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ckptkit.checks.config_keys import keys_of, layers_of, said
from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import rule
from ckptkit.errors import Fault
from ckptkit.model import names
from ckptkit.rules.kv_cache.attention import declared_attention


@rule(
    "CK910",
    "attention-operand-scale-missing",
    Severity.INFO,
    reports=(
        "vllm-project/llm-compressor#1294",
        "vllm-project/vllm#52012",
        "vllm-project/vllm#15734",
    ),
)
def attention_operand_scale_missing(context: Context) -> Iterator[Fault]:
    """FP8 attention is declared or begun, but scales of the query or of the probabilities are missing.

    Why it hurts: engines use 1.0 for what is missing. Quark's exporter drops the probabilities' scale without a word
    for any attention implementation but ``eager``.

    Example: ``softmax_quant_spec`` in the config and no ``self_attn.prob_output_scale``.

    Fix: export again with eager attention, or do not serve with FP8 attention.
    """
    operands = [attention for _, attention in declared_attention(context)]
    probabilities = any(attention.prob is not None for attention in operands)
    promised = _promises_queries(context)
    key = keys_of(context).probabilities
    queries = promised or any(attention.q is not None for attention in operands)
    if said(context, key) and operands and not probabilities:
        message = f"{key} is set, but no scale of the probabilities is stored"
        yield Fault("prob-scale-missing", message, context.section.file, None, "self_attn.prob_output_scale", "nothing")
    for attention in operands:
        missing = [
            role
            for role, begun, stored in (("q", queries, attention.q), ("prob", probabilities, attention.prob))
            if begun and stored is None
        ]
        if missing:
            by_config = promised and "q" in missing
            message = "other attention modules have scales that this one lacks"
            message = "the config quantizes queries, and this module has no scale for them" if by_config else message
            yield Observation(
                "operand-scale-missing",
                message,
                None,
                attention.module,
                ", ".join(missing),
                "nothing",
                variant="query" if "q" in missing else None,
                severity=Severity.WARNING if "q" in missing else None,
            )


def _promises_queries(context: Context) -> bool:
    """Whether the config quantizes the outputs of query projections."""
    return any(
        names.last_part(name).lstrip("*") == "q_proj" and isinstance(spec, Mapping) and spec.get("output_tensors")
        for name, spec in layers_of(context).items()
    )
