"""CK9xx: scales of the KV cache and of attention operands."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.errors import Fault
from ckptkit.model import names
from ckptkit.model.checkpoint import AttentionScales
from ckptkit.model.granularity import PerHead
from ckptkit.rules.context import Context
from ckptkit.rules.finding import Severity
from ckptkit.rules.registry import Level, OnConversion, rule
from ckptkit.storage.payload import TensorRef

#: format -> the names under which its loaders map k and v scales.
_SPELLINGS = {
    "compressed-tensors": {"k": ("k_scale",), "v": ("v_scale",)},
    "quark": {
        "k": (
            "k_scale",
            "k_proj.output_scale",
            "k_proj.k_scale",
            "qkv_proj.output_scale",
            "qkv_proj.k_scale",
        ),
        "v": (
            "v_scale",
            "v_proj.output_scale",
            "v_proj.v_scale",
            "qkv_proj.output_scale",
            "qkv_proj.v_scale",
        ),
    },
}


@rule("CK901", "kv-scales-missing", Severity.WARNING)
def kv_scales_missing(context: Context) -> Iterator[Fault]:
    """A static KV-cache scheme is declared, but no attention module has k or v scales.

    Engines then use 1.0: vLLM's compressed-tensors path without a word, the others with one warning.

    Mend: calibrate and export again, or remove the declaration.
    """
    for scheme_is_static, attention in _attention(context):
        if scheme_is_static and attention.k is None and attention.v is None and not _any_stored(context):
            yield Fault(
                "kv-scales-missing",
                "an FP8 KV cache is declared, but no k and v scales are stored",
                "config.json",
                attention.module,
                expected="k and v scales",
                found="nothing",
                help="calibrate and export again, or remove the KV-cache scheme",
            )


@rule("CK902", "kv-scheme-missing", Severity.WARNING)
def kv_scheme_missing(context: Context) -> Iterator[Fault]:
    """k and v scales are stored, but the config declares no FP8 KV cache.

    Engines ignore the scales, or keep the cache in high precision.

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


@rule("CK903", "kv-scale-name", Severity.ERROR, conversion=OnConversion.MENDED)
def kv_scale_name(context: Context) -> Iterator[Fault]:
    """A KV scale is stored under a name that the format's loaders do not map.

    ``k_proj.output_scale`` in a compressed-tensors checkpoint, as early llm-compressor wrote it, stops vLLM with
    an attribute error; elsewhere the scale is dropped and 1.0 used.

    Mend: rename it. A conversion does.
    """
    checkpoint = context.checkpoint
    if checkpoint is None or checkpoint.format not in _SPELLINGS:
        return
    spellings = _SPELLINGS[checkpoint.format]
    for _, attention in _attention(context):
        for role, tensor in attention.stored().items():
            wanted = [names.join(attention.module, ending) for ending in spellings.get(role, ())]
            if wanted and tensor.name not in wanted and not tensor.name.endswith(".kv_scale"):
                yield Fault(
                    "kv-scale-name",
                    "loaders of this format do not know the KV scale under this name",
                    tensor.shard,
                    tensor.name,
                    expected=wanted[0],
                    found=tensor.name,
                    help="convert the checkpoint to rename it",
                )


@rule("CK904", "kv-scale-alone", Severity.ERROR)
def kv_scale_alone(context: Context) -> Iterator[Fault]:
    """An attention module has only one of its k and v scales.

    With v alone vLLM asserts, or silently keeps k at 1.0; with k alone it copies k to v, or keeps v at 1.0,
    depending on the format.

    Mend: export again with both.
    """
    for _, attention in _attention(context):
        if (attention.k is None) != (attention.v is None):
            present = attention.k or attention.v
            missing = "v" if attention.v is None else "k"
            yield Fault(
                "kv-scale-alone",
                f"the {missing} scale of this attention module is missing",
                present.shard if present else None,
                present.name if present else None,
                expected="k and v scales",
                found=f"only {'k' if missing == 'v' else 'v'}",
            )


@rule("CK905", "kv-scales-uneven", Severity.ERROR)
def kv_scales_uneven(context: Context) -> Iterator[Fault]:
    """Some attention modules have KV scales and others have none.

    Those without run at 1.0 while their neighbours are scaled.

    Mend: export again so that every attention module is calibrated.
    """
    if not _any_stored(context):
        return
    for scheme_is_static, attention in _attention(context):
        if scheme_is_static and attention.k is None and attention.v is None:
            message = "this attention module has no KV scales, others have"
            yield Fault("kv-scales-uneven", message, None, attention.module, "k and v scales", "nothing")


@rule("CK906", "kv-scale-value", Severity.ERROR, level=Level.SCALES)
def kv_scale_value(context: Context) -> Iterator[Fault]:
    """A KV or attention scale is zero, negative, NaN or infinite.

    Zero or NaN stops vLLM with an assertion on one path and is used as it is on another.

    Mend: calibrate and export again.
    """
    for _, attention in _attention(context):
        for tensor in dict.fromkeys(attention.stored().values()):
            if tensor.name not in context.scale_values:
                continue
            _, values = context.scale_values[tensor.name]
            if values.zeros or values.invalid:
                what = "zero" if values.zeros else "negative, infinite or NaN"
                message = f"the scale is {what}"
                yield Fault("kv-scale-value", message, tensor.shard, tensor.name, "a finite value above zero")


@rule("CK907", "kv-scale-shape", Severity.ERROR)
def kv_scale_shape(context: Context) -> Iterator[Fault]:
    """A KV scale is neither one value, nor one for each head where the config declares that.

    Mend: reshape it if it holds one value; else export again.
    """
    checkpoint = context.checkpoint
    scheme = checkpoint.kv_cache.scheme if checkpoint and checkpoint.kv_cache else None
    per_head = scheme is not None and isinstance(scheme.quantization.granularity, PerHead)
    for _, attention in _attention(context):
        for tensor in dict.fromkeys(attention.stored().values()):
            wrong = _wrong_head_shape(tensor) if per_head else tensor.numel != 1 or len(tensor.shape) > 1
            if wrong:
                expected = "[heads, 1, 1]" if per_head else "[] or [1]"
                message = "the KV scale has the wrong shape"
                yield Fault("kv-scale-shape", message, tensor.shard, tensor.name, expected, str(list(tensor.shape)))


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
