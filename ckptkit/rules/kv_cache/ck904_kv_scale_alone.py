"""CK904 kv-scale-alone, and its fix."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding, Observation, Severity, StoredTensor
from ckptkit.checks.registry import fix, rule
from ckptkit.edits.changes import Duplicate, Edit
from ckptkit.errors import Fault
from ckptkit.model import names
from ckptkit.rules.kv_cache.attention import attention_of, declared_attention

_OTHER = {"k": "v", "v": "k"}


@rule(
    "CK904",
    "kv-scale-alone",
    Severity.ERROR,
    reports=(
        "vllm-project/vllm#46265",
        "vllm-project/vllm#6081",
        "sgl-project/sglang#1835",
    ),
)
def kv_scale_alone(context: Context) -> Iterator[Fault]:
    """An attention module has only one of its k and v scales.

    Why it hurts: with v alone vLLM asserts, or silently keeps k at 1.0; with k alone it copies k to v, or keeps v at
    1.0, depending on the format.

    Example: ``self_attn.k_scale`` without ``self_attn.v_scale``.

    Fix: export again with both. Copying one to the other is what some engines do, and a judgement call.
    """
    for _, attention in declared_attention(context):
        if (attention.k is None) != (attention.v is None):
            present = attention.k or attention.v
            missing = "v" if attention.v is None else "k"
            yield Observation(
                "kv-scale-alone",
                f"the {missing} scale of this attention module is missing",
                present.shard if present else None,
                present.name if present else None,
                expected="k and v scales",
                found=f"only {'k' if missing == 'v' else 'v'}",
                variant="k" if missing == "v" else "v",
            )


@fix("unsafe", "CK904")
def copy_to_partner(context: Context, finding: Finding) -> Iterator[Edit]:
    """Use one scale for keys and values, as vLLM does with k alone. Whether it fits the other was never measured."""
    attention, subject = attention_of(context, finding), finding.subject
    if attention is None or not isinstance(subject, StoredTensor) or not subject.shard:
        return
    have = "k" if attention.k is not None else "v"
    ending = subject.name.removeprefix(f"{attention.module}.")
    partner = ending.replace(f"{have}_proj", f"{_OTHER[have]}_proj").replace(f"{have}_scale", f"{_OTHER[have]}_scale")
    if partner != ending:
        yield Duplicate(subject.shard, subject.name, names.join(attention.module, partner))
