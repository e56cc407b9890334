"""CK9xx: values of KV scales, and what declaring an FP8 KV cache entails."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import Level, rule
from ckptkit.engines.effects import ENGINES, Effect, Outcome
from ckptkit.errors import Fault
from ckptkit.model.checkpoint import AttentionScales
from ckptkit.storage.payload import TensorRef

_STRATEGIES = ("tensor", "attn_head")


@rule("CK906", "kv-scale-value", Severity.ERROR, level=Level.SCALES)
def kv_scale_value(context: Context) -> Iterator[Fault]:
    """A KV or attention scale is zero, negative, NaN or infinite.

    Why it hurts: zero or NaN stops vLLM with an assertion on one path and is used as it is on another; infinity is
    accepted everywhere; SGLang takes what is not positive for 1.0.

    Example: ``self_attn.v_scale`` 0.0 in a layer that no token reached.

    Mend: calibrate and export again.
    """
    for attention in _attention(context):
        for tensor in dict.fromkeys(attention.stored().values()):
            if tensor.name not in context.scale_values:
                continue
            _, values = context.scale_values[tensor.name]
            if values.zeros or values.invalid:
                what = "zero" if values.zeros else "negative, infinite or NaN"
                silent = Effect("vllm", ENGINES["vllm"].version, Outcome.SILENT, "used as it is")
                yield Observation(
                    "kv-scale-value",
                    f"the scale is {what}",
                    tensor.shard,
                    tensor.name,
                    expected="a finite value above zero",
                    engines=(silent,) if context.method == "compressed-tensors" else None,
                )


@rule("CK908", "kv-scales-all-one", Severity.INFO, level=Level.SCALES)
def kv_scales_all_one(context: Context) -> Iterator[Fault]:
    """Every KV scale is exactly 1.0: nothing was calibrated.

    Why it hurts: engines behave as if no scales were stored, and the checkpoint looks calibrated. ModelOpt never
    writes a smaller value, so there it is the normal case.

    Example: 64 scales of 1.0 in a model of 32 layers.

    Mend: calibrate, or drop the scales and the declaration.
    """
    read = [tensor for attention in _attention(context) for tensor in (attention.k, attention.v) if tensor is not None]
    values = [context.scale_values[tensor.name][1] for tensor in read if tensor.name in context.scale_values]
    if values and all(value.minimum == value.maximum == 1.0 for value in values):
        message = "all KV scales are exactly 1.0"
        yield Fault("kv-all-one", message, read[0].shard, read[0].name, "calibrated values", f"{len(values)} times 1.0")


@rule("CK909", "latent-scales-differ", Severity.WARNING, level=Level.SCALES, fix="unsafe")
def latent_scales_differ(context: Context) -> Iterator[Fault]:
    """A model with latent attention stores a k scale that differs from its v scale.

    Why it hurts: keys and values are one latent vector there, which is stored once and has one scale. Engines that
    write it with one scale and read it with the other answer nonsense.

    Example: ``kv_lora_rank: 512``, ``k_scale`` 0.02 and ``v_scale`` 0.013.

    Mend: set both to the larger.
    """
    if context.dimensions.kv_lora_rank is None:
        return
    for attention in _attention(context):
        k, v = _value(context, attention.k), _value(context, attention.v)
        if attention.k is not None and k is not None and v is not None and k != v:
            message = "one latent vector, two scales"
            yield Fault(
                "latent-scales", message, attention.k.shard, attention.k.name, "one value", f"k {k:.4g}, v {v:.4g}"
            )


def _value(context: Context, tensor: TensorRef | None) -> float | None:
    read = context.scale_values.get(tensor.name) if tensor is not None else None
    return read[1].minimum if read is not None and read[1].count == 1 else None


@rule("CK911", "kv-cache-switched-on", Severity.INFO)
def kv_cache_switched_on(context: Context) -> Iterator[Fault]:
    """The checkpoint turns the FP8 KV cache on by itself.

    Why it hurts: with ``--kv-cache-dtype auto`` vLLM follows the declarations of compressed-tensors and ModelOpt
    (those of Quark and plain fp8 it does not). Older GPUs slow down or fail, and an E5M2 cache is refused.

    Example: ``kv_cache_scheme`` in a compressed-tensors config.

    Mend: nothing if it is meant; else remove the declaration and the scales.
    """
    checkpoint = context.checkpoint
    declared = checkpoint is not None and checkpoint.kv_cache is not None and checkpoint.kv_cache.scheme is not None
    raw = context.method == "modelopt" and bool(context.block.get("kv_cache_scheme"))
    if (declared and context.method == "compressed-tensors") or raw:
        message = "vLLM serves this checkpoint with an FP8 KV cache unless it is told otherwise"
        yield Fault("kv-switched-on", message, "config.json", None, None, f"{context.method}: kv_cache_scheme")


@rule("CK912", "kv-scheme-not-representable", Severity.ERROR, fix="unsafe")
def kv_scheme_not_representable(context: Context) -> Iterator[Fault]:
    """``kv_cache_scheme`` describes a cache that no engine has: other bits, asymmetric, dynamic, another strategy.

    Why it hurts: vLLM stops; SGLang drops the scheme with one line in the log. A dynamic scheme is taken by vLLM, and
    all scales are then 1.0.

    Example: ``{"num_bits": 8, "type": "int", "strategy": "channel"}``.

    Mend: declare 8-bit float, symmetric, static, strategy ``tensor`` or ``attn_head``, or remove the scheme.
    """
    for fault in context.faults("config-value"):
        if fault.message.startswith("kv_cache_scheme"):
            yield fault
    scheme = context.block.get("kv_cache_scheme")
    if context.method != "compressed-tensors" or context.checkpoint is None or not isinstance(scheme, Mapping):
        return
    strategy = scheme.get("strategy")
    if strategy not in _STRATEGIES:
        message = "vLLM takes two strategies and no default"
        found = "nothing" if strategy is None else repr(strategy)
        yield Fault("kv-strategy", message, "config.json", None, "kv_cache_scheme.strategy tensor or attn_head", found)
    if scheme.get("symmetric") is None:
        message = "vLLM reads the key itself and takes its absence for asymmetric"
        yield Fault("kv-symmetric", message, "config.json", None, "kv_cache_scheme.symmetric = true", "nothing")
    if scheme.get("dynamic"):
        silent = Effect("vllm", ENGINES["vllm"].version, Outcome.SILENT, "all scales are 1.0")
        yield Observation(
            "kv-dynamic",
            "no engine computes KV scales while running",
            "config.json",
            expected="kv_cache_scheme.dynamic = false",
            found=repr(scheme["dynamic"]),
            engines=(silent,),
            severity=Severity.WARNING,
        )


def _attention(context: Context) -> tuple[AttentionScales, ...]:
    checkpoint = context.checkpoint
    return checkpoint.kv_cache.attention if checkpoint is not None and checkpoint.kv_cache is not None else ()
