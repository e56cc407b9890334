"""CK9xx: which scales the KV cache and attention operands have, under which names and in which shapes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import OnConversion, rule
from ckptkit.engines.effects import ENGINES, Effect, Outcome
from ckptkit.errors import Fault
from ckptkit.model import names
from ckptkit.model.checkpoint import AttentionScales
from ckptkit.model.granularity import PerHead
from ckptkit.rules.skip_rules import is_mtp
from ckptkit.storage.payload import TensorRef

#: format -> the names under which its loaders map k and v scales.
_SPELLINGS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "compressed-tensors": {"k": ("k_scale",), "v": ("v_scale",)},
    "quark": {
        "k": (
            "k_scale",
            "k_proj.output_scale",
            "k_proj.k_scale",
            "qkv_proj.k_scale",
        ),
        "v": (
            "v_scale",
            "v_proj.output_scale",
            "v_proj.v_scale",
            "qkv_proj.v_scale",
        ),
    },
}
_VLLM = ENGINES["vllm"].version


@rule("CK901", "kv-scales-missing", Severity.WARNING, fix="unsafe")
def kv_scales_missing(context: Context) -> Iterator[Fault]:
    """A static KV-cache scheme is declared, but no attention module has k or v scales.

    Why it hurts: engines use 1.0: vLLM's compressed-tensors path without a word, the others with one warning. A cache
    at scale 1.0 clips nothing and rounds everything small.

    Example: ``kv_cache_scheme`` in the config, and not one ``k_scale`` in the headers.

    Mend: calibrate and export again, or remove the declaration.
    """
    if _any_stored(context):
        return
    for scheme_is_static, attention in _attention(context):
        if scheme_is_static:
            yield Observation(
                "kv-scales-missing",
                "an FP8 KV cache is declared, but no k and v scales are stored",
                "config.json",
                attention.module,
                expected="k and v scales",
                found="nothing",
                help="calibrate and export again, or remove the KV-cache scheme",
                engines=_without_scales(context),
            )


def _without_scales(context: Context) -> tuple[Effect, ...]:
    """What engines do without KV scales: vLLM's two paths differ."""
    silent = context.method == "compressed-tensors"
    word = "1.0 is used without a word" if silent else "1.0 is used, with one line in the log"
    outcome = Outcome.SILENT if silent else Outcome.WARNING
    return (
        Effect("vllm", _VLLM, outcome, word),
        Effect("sglang", ENGINES["sglang"].version, Outcome.WARNING, "1.0 is used"),
    )


@rule("CK902", "kv-scheme-missing", Severity.WARNING, fix="safe")
def kv_scheme_missing(context: Context) -> Iterator[Fault]:
    """k and v scales are stored, but the config declares no FP8 KV cache.

    Why it hurts: engines ignore the scales, or keep the cache in high precision.

    Example: ``self_attn.k_scale`` in every layer, ``kv_cache_scheme: null``.

    Mend: declare the scheme, or drop the scales.
    """
    checkpoint = context.checkpoint
    if checkpoint is not None and checkpoint.kv_cache is not None and checkpoint.kv_cache.scheme is None:
        first = next(iter(checkpoint.kv_cache.attention), None)
        stored = next(iter(first.stored().values()), None) if first else None
        yield Fault(
            "kv-scheme-missing",
            "k and v scales are stored, but the config declares no FP8 KV cache",
            "config.json",
            stored.name if stored else None,
            expected="a KV-cache scheme",
            found="none",
        )


@rule("CK903", "kv-scale-name", Severity.ERROR, conversion=OnConversion.MENDED, fix="safe")
def kv_scale_name(context: Context) -> Iterator[Fault]:
    """A KV scale is stored under a name that the format's loaders do not map.

    Why it hurts: vLLM stops with an attribute error; elsewhere the scale is dropped and 1.0 used. The one scale of a
    fused ``qkv_proj`` is what Quark itself writes and reads, and vLLM stops at it all the same: a warning.

    Example: ``k_proj.output_scale`` in a compressed-tensors checkpoint, as early llm-compressor wrote it.

    Mend: rename it. A conversion does.
    """
    checkpoint = context.checkpoint
    if checkpoint is None or checkpoint.format not in _SPELLINGS:
        return
    spellings = _SPELLINGS[checkpoint.format]
    for _, attention in _attention(context):
        # One stored tensor may stand for k and v: it is one finding.
        for tensor, role in {tensor: role for role, tensor in attention.stored().items()}.items():
            wanted = [names.join(attention.module, ending) for ending in spellings.get(role, ())]
            if wanted and tensor.name not in wanted and not tensor.name.endswith(".kv_scale"):
                own = tensor.name.endswith("qkv_proj.output_scale") and checkpoint.format == "quark"
                yield Observation(
                    "kv-scale-name",
                    "loaders of this format do not know the KV scale under this name",
                    tensor.shard,
                    tensor.name,
                    expected=wanted[0],
                    found=tensor.name,
                    help="convert the checkpoint to rename it",
                    severity=Severity.WARNING if own else None,
                )


@rule("CK904", "kv-scale-alone", Severity.ERROR, fix="unsafe")
def kv_scale_alone(context: Context) -> Iterator[Fault]:
    """An attention module has only one of its k and v scales.

    Why it hurts: with v alone vLLM asserts, or silently keeps k at 1.0; with k alone it copies k to v, or keeps v at
    1.0, depending on the format.

    Example: ``self_attn.k_scale`` without ``self_attn.v_scale``.

    Mend: export again with both. Copying one to the other is what some engines do, and a judgement call.
    """
    for _, attention in _attention(context):
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
                engines=_with_one_scale(context, missing),
            )


def _with_one_scale(context: Context, missing: str) -> tuple[Effect, ...]:
    if context.method == "compressed-tensors":
        return (Effect("vllm", _VLLM, Outcome.SILENT, f"{missing} stays at 1.0"),)
    if missing == "v":
        return (Effect("vllm", _VLLM, Outcome.SILENT, "k is copied to v"),)
    return (Effect("vllm", _VLLM, Outcome.ERROR, "assertion once the cache is FP8"),)


@rule("CK905", "kv-scales-uneven", Severity.ERROR)
def kv_scales_uneven(context: Context) -> Iterator[Fault]:
    """Some attention modules have KV scales and others have none.

    Why it hurts: those without run at 1.0 while their neighbours are scaled. Only modules with keys of their own
    count; linear attention has none.

    Example: layers 0 to 30 have ``k_scale`` and ``v_scale``, layer 31 does not.

    Mend: export again so that every attention module is calibrated.
    """
    if not _any_stored(context):
        return
    for scheme_is_static, attention in _attention(context):
        if scheme_is_static and attention.k is None and attention.v is None:
            message = "this attention module has no KV scales, others have"
            yield Observation(
                "kv-scales-uneven",
                message,
                None,
                attention.module,
                "k and v scales",
                "nothing",
                engines=_without_scales(context),
                # Exporters do not calibrate prediction layers: no engine needs them to serve the model.
                severity=Severity.WARNING if is_mtp(context, attention.module) else None,
            )


@rule("CK907", "kv-scale-shape", Severity.ERROR, fix="safe")
def kv_scale_shape(context: Context) -> Iterator[Fault]:
    """A KV scale is neither one value, nor one for each head where the config declares that.

    Why it hurts: loaders allocate one value, or [heads, 1, 1], and stop at anything else. The rank of a single value
    does not matter: [], [1] and [1, 1] all load.

    Example: ``k_scale`` [8, 1, 1] under the strategy ``tensor``.

    Mend: reshape [heads] to [heads, 1, 1] under ``attn_head``; declare that strategy if there is one scale for each
    head; else export again.
    """
    checkpoint = context.checkpoint
    scheme = checkpoint.kv_cache.scheme if checkpoint and checkpoint.kv_cache else None
    per_head = scheme is not None and isinstance(scheme.quantization.granularity, PerHead)
    for _, attention in _attention(context):
        for tensor in dict.fromkeys(attention.stored().values()):
            wrong = _wrong_head_shape(tensor) if per_head else tensor.numel != 1
            if wrong:
                expected = "[heads, 1, 1]" if per_head else "one value"
                message = "the KV scale has the wrong shape"
                yield Fault("kv-scale-shape", message, tensor.shard, tensor.name, expected, str(list(tensor.shape)))


@rule("CK910", "attention-operand-scale-missing", Severity.INFO)
def attention_operand_scale_missing(context: Context) -> Iterator[Fault]:
    """FP8 attention is declared or begun, but scales of the query or of the probabilities are missing.

    Why it hurts: engines use 1.0 for what is missing. Quark's exporter drops the probabilities' scale without a word
    for any attention implementation but ``eager``.

    Example: ``softmax_quant_spec`` in the config and no ``self_attn.prob_output_scale``.

    Mend: export again with eager attention, or do not serve with FP8 attention.
    """
    operands = [attention for _, attention in _attention(context)]
    probabilities = any(attention.prob is not None for attention in operands)
    queries = any(attention.q is not None for attention in operands)
    if context.block.get("softmax_quant_spec") and operands and not probabilities:
        message = "softmax_quant_spec is set, but no scale of the probabilities is stored"
        yield Fault("prob-scale-missing", message, "config.json", None, "self_attn.prob_output_scale", "nothing")
    for attention in operands:
        missing = [
            role
            for role, begun, stored in (("q", queries, attention.q), ("prob", probabilities, attention.prob))
            if begun and stored is None
        ]
        if missing:
            message = "other attention modules have scales that this one lacks"
            yield Fault("operand-scale-missing", message, None, attention.module, ", ".join(missing), "nothing")


def _wrong_head_shape(tensor: TensorRef) -> bool:
    return len(tensor.shape) != 3 or tensor.shape[1:] != (1, 1)


def _attention(context: Context) -> Iterator[tuple[bool, AttentionScales]]:
    """Attention modules, each with whether static KV scales are declared for it."""
    checkpoint = context.checkpoint
    if checkpoint is None or checkpoint.kv_cache is None:
        return
    scheme = checkpoint.kv_cache.scheme
    is_static = scheme is not None and not scheme.quantization.dynamic
    for attention in checkpoint.kv_cache.attention:
        yield is_static, attention


def _any_stored(context: Context) -> bool:
    return any(attention.k or attention.v for _, attention in _attention(context))
