"""CK4xx: element types."""

from __future__ import annotations

import struct

from tests.damage import (
    BLOCK,
    CT,
    QUARK,
    QUARK_BLOCK,
    Damage,
    MutableCheckpoint,
    dtype,
    plain_fp8,
    set_config,
)
from tests.rules.case import Case

_Q = r"model\.layers\.0\.self_attn\.q_proj"


def _f16(value: float) -> Damage:
    def change(checkpoint: MutableCheckpoint) -> None:
        checkpoint.change(
            rf"{_Q}\.weight_scale",
            lambda t: t._replace(dtype="F16", data=struct.pack("<e", value) * (len(t.data) // 2)),
        )

    return change


def _f16_tiny(checkpoint: MutableCheckpoint) -> None:
    _f16(2e-6)(checkpoint)


def _f16_usual(checkpoint: MutableCheckpoint) -> None:
    _f16(1e-3)(checkpoint)


def _exponents(code: str) -> Damage:
    def change(checkpoint: MutableCheckpoint) -> None:
        checkpoint.change(
            r".*\.weight_scale", lambda t: t._replace(dtype=code, data=bytes([117]) * (len(t.data) // _size(t.dtype)))
        )

    return change


def _size(code: str) -> int:
    return 4 if code == "F32" else 2


def _e8m0(checkpoint: MutableCheckpoint) -> None:
    _exponents("F8_E8M0")(checkpoint)


def _e8m0_declared(checkpoint: MutableCheckpoint) -> None:
    _e8m0(checkpoint)
    for spec in [checkpoint.block["global_quant_config"], *checkpoint.block["layer_quant_config"].values()]:
        spec["weight"]["scale_type"] = "float8_e8m0fnu"


def _u8(checkpoint: MutableCheckpoint) -> None:
    _exponents("U8")(checkpoint)


def _fp8_scales(checkpoint: MutableCheckpoint) -> None:
    _exponents("F8_E4M3")(checkpoint)


def _promised_powers(checkpoint: MutableCheckpoint) -> None:
    plain_fp8(checkpoint)
    checkpoint.block["scale_fmt"] = "ue8m0"


def _kept_powers(checkpoint: MutableCheckpoint) -> None:
    _promised_powers(checkpoint)
    checkpoint.change(r".*\.weight_scale_inv", lambda t: t._replace(data=b"\x80\x3a" * (len(t.data) // 2)))


def _int8_weight(checkpoint: MutableCheckpoint) -> None:
    checkpoint.change(rf"{_Q}\.weight", lambda t: t._replace(dtype="I8"))
    checkpoint.change(r".*\.layers\.0\.self_attn\.[kv]_proj\.weight", lambda t: t._replace(dtype="I8"))


def _int8_elsewhere(checkpoint: MutableCheckpoint) -> None:
    checkpoint.put("model.layers.0.lookup.table", "I8", (4, 4), bytes(16))


CASES = (
    Case("CK401", CT, _f16_tiny, _f16_usual),
    Case("CK402", QUARK_BLOCK, _e8m0, _e8m0_declared),
    Case("CK403", CT, _u8, _f16_usual),
    Case("CK404", BLOCK, _promised_powers, _kept_powers),
    Case(
        "CK405",
        CT,
        dtype(rf"{_Q}\.weight", "F8_E4M3FNUZ"),
        dtype(rf"{_Q}\.weight", "F8_E5M2"),
        near_also=frozenset({"CK406"}),
    ),
    Case(
        "CK406",
        QUARK,
        dtype(rf"{_Q}\.weight", "F8_E5M2"),
        dtype(rf"{_Q}\.weight", "F8_E5M2FNUZ"),
        near_also=frozenset({"CK405"}),
    ),
    Case("CK407", CT, _int8_weight, _int8_elsewhere, frozenset({"CK202"})),
    Case("CK408", CT, set_config(dtype=None), set_config(dtype=None, text_config={"dtype": "bfloat16"})),
    Case("CK408", CT, set_config(dtype="float8_e4m3fn"), set_config(dtype=None, torch_dtype="float16")),
    Case(
        "CK409",
        CT,
        lambda checkpoint: checkpoint.change(
            r"model\.norm\.weight", lambda t: t._replace(dtype="F8_E4M3", data=t.data[:64])
        ),
        dtype(r"model\.norm\.weight", "F16"),
    ),
    Case("CK410", CT, _fp8_scales, _f16_usual),
)
