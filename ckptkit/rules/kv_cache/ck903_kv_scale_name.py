"""CK903 kv-scale-name, and its fix."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding, Observation, Severity, StoredTensor
from ckptkit.checks.registry import OnConversion, fix, rule
from ckptkit.edits.changes import Duplicate, Edit, Rename
from ckptkit.errors import Fault
from ckptkit.model import names
from ckptkit.rules.kv_cache.attention import attention_of, declared_attention

#: How the library that has names of its own ends them.
_OWN_ENDING = "_proj.output_scale"
#: Where some store the scale of queries, beside those of keys and values.
_QUERY_PROJECTION = ".q_proj.q_scale"


@rule(
    "CK903",
    "kv-scale-name",
    Severity.ERROR,
    conversion=OnConversion.FIXED,
    reports=(
        "sgl-project/sglang#39942",
        "vllm-project/vllm#25047",
        "vllm-project/vllm#54624",
        "intel/auto-round#2370",
        "vllm-project/compressed-tensors#133",
        "vllm-project/vllm#34293",
        "sgl-project/sglang#20870",
    ),
)
def kv_scale_name(context: Context) -> Iterator[Fault]:
    """A KV scale is stored under a name that the format's loaders do not map.

    Why it hurts: vLLM stops with an attribute error; elsewhere the scale is dropped and 1.0 used. The one scale of a
    fused ``qkv_proj`` is what Quark itself writes and reads, and vLLM stops at it all the same: a warning.

    Example: ``k_proj.output_scale`` in a compressed-tensors checkpoint, as early llm-compressor wrote it.

    Fix: rename it. A conversion does.
    """
    dialect = context.dialect
    if context.checkpoint is None or dialect is None:
        return
    for _, attention in declared_attention(context):
        # One stored tensor may stand for k and v: it is one finding.
        for tensor, role in {tensor: role for role, tensor in attention.stored().items()}.items():
            loaded = dialect.attention[role].loaded if role in dialect.attention else ()
            wanted = [names.join(attention.module, ending) for ending in loaded]
            if wanted and tensor.name not in wanted and not tensor.name.endswith(".kv_scale"):
                own = tensor.name.endswith(dialect.own_attention)
                yield Observation(
                    "kv-scale-name",
                    "loaders of this format do not know the KV scale under this name",
                    tensor.shard,
                    tensor.name,
                    expected=wanted[0],
                    found=tensor.name,
                    help="convert the checkpoint to rename it",
                    variant=_place(tensor.name),
                    severity=Severity.WARNING if own else None,
                    subject=StoredTensor(tensor.name, tensor.shard, wanted[0]),
                )
            elif role == "q" and not wanted and tensor.name.endswith(_QUERY_PROJECTION):
                yield Observation(
                    "kv-scale-name",
                    "engines look for the scale of queries right below attention, and not at their projection",
                    tensor.shard,
                    tensor.name,
                    expected=names.join(attention.module, "q_scale"),
                    found=tensor.name,
                    variant="query",
                    severity=Severity.WARNING,
                    subject=StoredTensor(tensor.name, tensor.shard, names.join(attention.module, "q_scale")),
                )
            elif wanted and _is_strange(tensor.name, dialect.attention[role].written):
                yield Observation(
                    "kv-scale-name",
                    "engines know the KV scale under this name, and the library that wrote the format does not",
                    tensor.shard,
                    tensor.name,
                    expected=names.join(attention.module, dialect.attention[role].written),
                    found=tensor.name,
                    variant="not-own",
                    severity=Severity.WARNING,
                    subject=StoredTensor(
                        tensor.name, tensor.shard, names.join(attention.module, dialect.attention[role].written)
                    ),
                )


def _place(name: str) -> str | None:
    """Where a scale is stored that goes by its usual name."""
    if name.endswith((".attn.k_scale", ".attn.v_scale")):
        return "below-attention"
    if name.endswith(("qkv_proj.k_scale", "qkv_proj.v_scale")):
        return "on-merged"
    return "on-projection" if name.endswith(("k_proj.k_scale", "v_proj.v_scale")) else None


def _is_strange(name: str, written: str) -> bool:
    """Whether a name is not the one that a library with names of its own writes, nor its name for a fused layer."""
    return written.endswith(_OWN_ENDING) and not name.endswith(_OWN_ENDING)


@fix("safe", "CK903")
def rename_kv_scale(context: Context, finding: Finding) -> Iterator[Edit]:
    """Give the scale the name that the format's loaders map; one scale that stood for k and v becomes two."""
    attention, subject = attention_of(context, finding), finding.subject
    if attention is None or not isinstance(subject, StoredTensor) or not subject.wanted or not subject.shard:
        return
    module, shard = attention.module, subject.shard
    if attention.k is not None and attention.k == attention.v and subject.wanted.endswith(("k_scale", "v_scale")):
        yield Duplicate(shard, subject.name, names.join(module, "v_scale"))
        yield Rename(shard, subject.name, names.join(module, "k_scale"))
    else:
        yield Rename(shard, subject.name, subject.wanted)
