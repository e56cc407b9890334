"""CK4xx: element types of weights and scales, and what the config says about types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import Level, rule
from ckptkit.dtypes import FP8_WEIGHT, SCALE_DTYPES
from ckptkit.engines.dimensions import TEXT_CONFIGS
from ckptkit.errors import Fault
from ckptkit.model.census import is_small
from ckptkit.rules.shapes import PACKED_DTYPES
from ckptkit.storage.payload import TensorRef

#: The smallest normal F16: below it, precision goes bit by bit, and at 6e-8 to zero.
_SMALLEST_NORMAL_F16 = 2.0**-14
#: One-byte or half-byte types that are no 8-bit float, whatever their size suggests.
ONE_BYTE = frozenset({"I8", "U8", "BOOL", "F4", "F6_E2M3", "F6_E3M2"})


@rule("CK401", "scale-f16-subnormal", Severity.WARNING, level=Level.SCALES)
def scale_f16_subnormal(context: Context) -> Iterator[Fault]:
    """A scale is stored as F16 and is so small that the type cannot hold it exactly, or at all.

    Why it hurts: below 6.1e-5 F16 loses precision bit by bit and at 6e-8 it is zero. BF16 and F32 scales are fine in
    every loader that was examined, and so are F16 scales of ordinary size; the dtype alone is no finding.

    Example: ``weight_scale`` F16 with the value 7e-7.

    Mend: export again with F32 scales.
    """
    for tensor, values in context.scale_values.values():
        if tensor.dtype == "F16" and values.minimum < _SMALLEST_NORMAL_F16:
            message = "scales are below the smallest normal F16 and have lost precision"
            found = f"{values.minimum:.3g}"
            yield Fault("scale-f16", message, tensor.shard, tensor.name, "F32, or at least 6.1e-5", found)


@rule("CK402", "scale-e8m0-undeclared", Severity.WARNING)
def scale_e8m0_undeclared(context: Context) -> Iterator[Fault]:
    """A scale is stored as F8_E8M0 although the config does not say that scales are powers of two.

    Why it hurts: loaders that allocate F32 convert by value, which is right, or copy into another one-byte type,
    which is not. Which of the two happens depends on the backend.

    Example: ``weight_scale`` F8_E8M0 in a Quark checkpoint whose spec has ``scale_type: float``.

    Mend: widen the scales to F32, which is exact, or declare the type.
    """
    if _declares_e8m0(context):
        return
    for tensor in _weight_scales(context):
        if tensor.dtype == "F8_E8M0":
            message = "a power-of-two type that the config does not declare"
            yield Fault("scale-e8m0", message, tensor.shard, tensor.name, "F32, or a declared type", tensor.dtype)


def _declares_e8m0(context: Context) -> bool:
    if "e8m0" in str(context.block.get("scale_fmt") or "").lower():
        return True
    specs: list[Any] = [context.block.get("global_quant_config")]
    layers = context.block.get("layer_quant_config")
    specs += layers.values() if isinstance(layers, Mapping) else []
    weights = [spec.get("weight") for spec in specs if isinstance(spec, Mapping)]
    flat = [one for weight in weights for one in (weight if isinstance(weight, list) else [weight])]
    return any("e8m0" in str(w.get("scale_type")) for w in flat if isinstance(w, Mapping))


@rule("CK403", "scale-exponents-as-bytes", Severity.ERROR)
def scale_exponents_as_bytes(context: Context) -> Iterator[Fault]:
    """Scales beside FP8 weights are stored as U8: biased exponents under a dtype that says plain numbers.

    Why it hurts: a reader that multiplies by the byte is off by many orders of magnitude. MXFP8 exports tag their
    E8M0 exponents so.

    Example: ``weight_scale`` U8 [4096, 128] beside a weight F8_E4M3 [4096, 4096].

    Mend: tag them F8_E8M0, or widen them to F32 powers of two.
    """
    for tensor in _weight_scales(context):
        if tensor.dtype == "U8":
            message = "bytes where numbers are expected: probably exponents of powers of two"
            yield Fault("scale-bytes", message, tensor.shard, tensor.name, "F8_E8M0 or F32", "U8")


@rule("CK404", "scale-not-power-of-two", Severity.WARNING, level=Level.SCALES)
def scale_not_power_of_two(context: Context) -> Iterator[Fault]:
    """The config says that block scales are powers of two (``ue8m0``), and they are not.

    Why it hurts: backends that take the promise at its word drop the mantissa, or requantize the weights while
    loading. Scales that promise nothing are left alone here: on Blackwell DeepGEMM requantizes those too, which
    costs about 2.6 % of weight accuracy.

    Example: ``scale_fmt: ue8m0`` beside ``weight_scale_inv`` with the value 0.00213.

    Mend: export again with power-of-two scales, or remove ``scale_fmt``.
    """
    if not _declares_e8m0(context):
        return
    for tensor, values in context.scale_values.values():
        if tensor.dtype == "F8_E8M0" or not tensor.name.endswith(("weight_scale", "weight_scale_inv")):
            continue
        if not (_is_power_of_two(values.minimum) and _is_power_of_two(values.maximum)):
            found = f"{values.minimum:.6g} to {values.maximum:.6g}"
            message = "the config declares power-of-two scales"
            yield Fault("scale-power", message, tensor.shard, tensor.name, "powers of two", found)


def _is_power_of_two(value: float) -> bool:
    """
    >>> _is_power_of_two(0.125), _is_power_of_two(0.1)
    (True, False)
    """
    import math

    return math.isfinite(value) and value > 0 and math.frexp(value)[0] == 0.5


@rule("CK405", "weight-fnuz", Severity.ERROR)
def weight_fnuz(context: Context) -> Iterator[Fault]:
    """A weight is stored as e4m3fnuz.

    Why it hurts: the same byte means half the value there, and 0x80 is NaN instead of -0. Loaders cast by value, not
    by bits, so every engine but one on older ROCm hardware reads something else.

    Example: ``q_proj.weight`` F8_E4M3FNUZ, saved from the memory of an engine on MI300.

    Mend: export as e4m3fn.
    """
    yield from _weight_faults(context, "F8_E4M3FNUZ", "F8_E5M2FNUZ")


@rule("CK406", "weight-e5m2", Severity.ERROR)
def weight_e5m2(context: Context) -> Iterator[Fault]:
    """A weight is stored as e5m2.

    Why it hurts: no FP8 linear layer takes it: loaders cast it to e4m3fn by value, silently on fused layers. No
    report of such a checkpoint was found; the finding rests on what loaders do with one.

    Example: ``q_proj.weight`` F8_E5M2.

    Mend: quantize again to e4m3fn.
    """
    yield from _weight_faults(context, "F8_E5M2")


@rule("CK407", "one-byte-weight-not-fp8", Severity.ERROR)
def one_byte_weight_not_fp8(context: Context) -> Iterator[Fault]:
    """A module that the config declares FP8 is stored in another type of one byte or less.

    Why it hurts: a tool that goes by element size takes it for FP8; engines cast the numbers by value. INT8 codes and
    packed FP4 both look like this.

    Example: an expert's ``weight`` I8 [2048, 3584] under a config that declares FP8 for every linear layer.

    Mend: declare what is stored, module by module.
    """
    checkpoint = context.checkpoint
    for name in checkpoint.declared_only if checkpoint is not None else ():
        weight = checkpoint.unquantized[name] if checkpoint is not None else None
        if weight is not None and weight.dtype in ONE_BYTE:
            message = "the config declares FP8, and another one-byte type is stored"
            yield Fault("one-byte-weight", message, weight.shard, weight.name, FP8_WEIGHT, weight.dtype)


@rule("CK408", "config-dtype-missing", Severity.INFO, fix="safe")
def config_dtype_missing(context: Context) -> Iterator[Fault]:
    """config.json names no dtype for the tensors that are not quantized, or names an 8-bit float.

    Why it hurts: ``dtype="auto"`` then takes the type from the first weight it sees, which may be FP8: transformers
    before 5.16 stopped, or built norms and embeddings in eight bits. Text models load today; composite ones may not.

    Example: neither ``dtype`` nor ``torch_dtype`` on any level of the config.

    Mend: write ``"dtype": "bfloat16"``, or what the unquantized tensors have.
    """
    if not context.fp8_weights or not context.config:
        return
    levels = [context.config, *(context.config.get(key) for key in TEXT_CONFIGS)]
    found = [level.get(key) for level in levels if isinstance(level, Mapping) for key in ("dtype", "torch_dtype")]
    named = [value for value in found if isinstance(value, str)]
    expected = '"dtype": "bfloat16", or what the norms have'
    if not named:
        yield Fault("config-dtype", "no dtype is named", "config.json", None, expected, "nothing")
    elif any("float8" in value for value in named):
        yield Fault(
            "config-dtype", "an 8-bit float is named as the model's dtype", "config.json", None, expected, named[0]
        )


@rule("CK409", "small-tensor-in-fp8", Severity.ERROR)
def small_tensor_in_fp8(context: Context) -> Iterator[Fault]:
    """A norm, a bias or another tensor that is no matrix is stored in FP8.

    Why it hurts: engines hold these in high precision and convert by value; there is no scale for them. Three
    mantissa bits in a norm or in an expert-choice bias change which tokens come out.

    Example: ``input_layernorm.weight`` F8_E4M3 [4096] after a cast of the whole state dict.

    Mend: take the tensor from the source checkpoint.
    """
    for tensor in context.checkpoint.stored_only if context.checkpoint else ():
        if is_small(tensor):
            message = "engines expect this tensor in high precision"
            yield Fault("small-fp8", message, tensor.shard, tensor.name, "BF16, F16 or F32", tensor.dtype)


@rule("CK410", "scale-dtype", Severity.ERROR)
def scale_dtype(context: Context) -> Iterator[Fault]:
    """A scale is stored in a type that holds no scales.

    Why it hurts: scales are F32, BF16 or F16, or E8M0 for powers of two. Small integers, doubles or FP8 E4M3 in
    their place are another format's two-level packing, or an accident.

    Example: ``weight_scale`` F8_E4M3, the inner scale of an FP4 format.

    Mend: export again.
    """
    for tensor in context.checkpoint.scale_tensors() if context.checkpoint else ():
        if tensor.dtype not in SCALE_DTYPES and tensor.dtype not in PACKED_DTYPES and tensor.dtype != "U8":
            wanted = ", ".join(sorted(SCALE_DTYPES))
            yield Fault("scale-dtype", "not a scale's dtype", tensor.shard, tensor.name, wanted, tensor.dtype)


def _weight_scales(context: Context) -> Iterator[TensorRef]:
    """The weight scales, by the format's reader or, where there is none, by their names."""
    if context.checkpoint is None:
        yield from context.raw_scales.values()
    for module in context.modules:
        if module.weight_scale is not None:
            yield module.weight_scale


def _weight_faults(context: Context, *dtypes: str) -> Iterator[Fault]:
    for tensor in context.fp8_weights.values():
        if tensor.dtype in dtypes:
            yield Fault(
                "weight-dtype",
                "engines cast this weight by value instead of reading its bits",
                tensor.shard,
                tensor.name,
                expected=FP8_WEIGHT,
                found=tensor.dtype,
            )
