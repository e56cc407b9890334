"""CK5xx: values of scales and weights."""

from __future__ import annotations

from ckptkit.checks.registry import Level
from tests.accuracy.plain import FP8_VALUES, bf16_of, in_high_precision, to_bf16
from tests.damage import BLOCK, CT, CT_FP8, MOE, QUARK_FP8, Damage, MutableCheckpoint, exactly, f32, steps, values
from tests.rules.case import Case

_Q = r"model\.layers\.0\.self_attn\.q_proj"
_FULL = Level.FULL
_UNEVEN = (frozenset({"CK705"}), frozenset({"CK705"}))


def codes(pattern: str, share: float, code: int) -> Damage:
    """Set the first share of a weight's bytes to one code."""

    def change(checkpoint: MutableCheckpoint) -> None:
        def replace(data: bytes) -> bytes:
            count = max(1, round(len(data) * share))
            return bytes([code]) * count + data[count:]

        checkpoint.change(pattern, lambda t: t._replace(data=replace(t.data)))

    return change


def _twice(pattern: str) -> Damage:
    """Codes of these weights hold the weights themselves, and the scales are there still."""

    def change(checkpoint: MutableCheckpoint) -> None:
        everything = checkpoint.everything()
        for name in checkpoint.names(pattern):
            weight = in_high_precision(name, everything)
            stored = FP8_VALUES.codes_of(bf16_of(weight.data))
            checkpoint.change(exactly(name), lambda t, stored=stored: t._replace(data=stored))  # type: ignore[misc]

    return change


def scaled_twice(checkpoint: MutableCheckpoint) -> None:
    """All codes are those of weights that were not scaled."""
    _twice(r".*_proj\.weight")(checkpoint)


def _halved(checkpoint: MutableCheckpoint) -> None:
    """Codes a power of two smaller, as scales that are twice as large would have them."""
    checkpoint.change(
        r".*_proj\.weight",
        lambda t: t._replace(data=bytes(code & 0x80 | max(0, (code & 0x7F) - 8) for code in t.data)),
    )


def _cast(checkpoint: MutableCheckpoint) -> None:
    """Codes as numbers in BF16, and nothing that says what scales they had."""
    for name in checkpoint.names(r".*_proj\.weight"):
        checkpoint.change(exactly(name), lambda t: t._replace(dtype="BF16", data=to_bf16(FP8_VALUES.values_of(t.data))))
    _without_traces(checkpoint)


def _multiplied(checkpoint: MutableCheckpoint) -> None:
    """The same, multiplied with their scales before."""
    everything = checkpoint.everything()
    for name in checkpoint.names(r".*_proj\.weight"):
        plain = in_high_precision(name, everything)
        checkpoint.change(exactly(name), lambda t, plain=plain: plain)  # type: ignore[misc]
    _without_traces(checkpoint)


def _without_traces(checkpoint: MutableCheckpoint) -> None:
    checkpoint.drop(r".*_scale")
    checkpoint.config.pop("quantization_config")


def _static_experts(value: float) -> Damage:
    """Experts with static inputs, one of them with this input scale."""

    def change(checkpoint: MutableCheckpoint) -> None:
        static = {"num_bits": 8, "type": "float", "strategy": "tensor", "symmetric": True, "dynamic": False}
        checkpoint.group["input_activations"] = static
        for name in checkpoint.names(r".*_proj\.weight"):
            scale = value if ".experts.3." in name else 0.0125
            checkpoint.put(name.replace(".weight", ".input_scale"), "F32", (1,), f32(scale))

    return change


def _doubled(checkpoint: MutableCheckpoint) -> None:
    """Scales twice as large as before."""
    checkpoint.change(r".*_proj\.weight_scale", lambda t: t._replace(data=to_bf16(2 * bf16_of(t.data))))


def _one(pattern: str, raw: bytes) -> Damage:
    """The first scale of a tensor of BF16."""

    def change(checkpoint: MutableCheckpoint) -> None:
        checkpoint.change(pattern, lambda t: t._replace(data=raw + t.data[2:]))

    return change


CASES = (
    Case("CK501", CT, _one(rf"{_Q}\.weight_scale", b"\0\0"), _one(rf"{_Q}\.weight_scale", b"\x01\0")),
    Case("CK501", QUARK_FP8, values(rf"{_Q}\.input_scale", 0.0), values(rf"{_Q}\.input_scale", 2.0**-120), *_UNEVEN),
    Case("CK502", CT, _one(rf"{_Q}\.weight_scale", b"\x80\x7f"), _one(rf"{_Q}\.weight_scale", b"\x7f\x7f")),
    Case("CK502", CT, _one(rf"{_Q}\.weight_scale", b"\x80\xbf"), _one(rf"{_Q}\.weight_scale", b"\x80\x3f")),
    Case("CK503", CT, codes(rf"{_Q}\.weight", 0, 0x7F), codes(rf"{_Q}\.weight", 0, 0x7E), level=_FULL),
    Case("CK503", BLOCK, codes(rf"{_Q}\.weight", 0, 0xFF), codes(rf"{_Q}\.weight", 0, 0xFE), level=_FULL),
    Case("CK504", CT_FP8, codes(rf"{_Q}\.weight", 0.2, 0xFE), codes(rf"{_Q}\.weight", 0.01, 0x7E), level=_FULL),
    Case(
        "CK505", CT_FP8, values(rf"{_Q}\.weight_scale", 2.0**10), values(rf"{_Q}\.weight_scale", 2.0**-6), level=_FULL
    ),
    Case("CK505", CT, values(rf"{_Q}\.weight_scale", 2.0**-60), values(rf"{_Q}\.weight_scale", 2.0**-12), level=_FULL),
    Case("CK506", MOE, _static_experts(1.0), _static_experts(0.5)),
    Case("CK507", CT, codes(rf"{_Q}\.weight", 0.5, 0), codes(rf"{_Q}\.weight", 0.005, 0), level=_FULL),
    Case("CK509", CT, scaled_twice, steps(scaled_twice, _doubled)),
    Case("CK509", CT_FP8, scaled_twice, steps(scaled_twice, _doubled)),
    Case("CK509", CT, _twice(r".*\.down_proj\.weight"), _doubled),
    Case("CK509", "llama-block-aligned/transformers-block-ue8m0", _twice(r".*_proj\.weight"), _halved),
    Case("CK509", BLOCK, scaled_twice, steps(scaled_twice, _doubled)),
    Case("CK510", CT, _cast, _multiplied, frozenset({"CK600"}), frozenset({"CK600"})),
    Case("CK508", CT, codes(rf"{_Q}\.weight", 1.0, 0x38), codes(rf"{_Q}\.weight", 0.3, 0x38), level=_FULL),
)
