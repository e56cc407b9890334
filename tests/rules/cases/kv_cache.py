"""CK9xx: the KV cache."""

from __future__ import annotations

import struct

from tests.damage import (
    CT,
    CT_KV,
    QUARK_KV,
    Damage,
    MutableCheckpoint,
    drop,
    put,
    rename,
    set_block,
    shape,
    steps,
    values,
)
from tests.rules.case import Case

_K, _V = r".*\.self_attn\.k_scale", r".*\.self_attn\.v_scale"
_LAST = r"model\.layers\.1\.self_attn"
_SOME = frozenset({"CK905"})
_ATTENTION = "llama/quark-fp8-attention"


def _scheme(**keys: object) -> Damage:
    def change(checkpoint: MutableCheckpoint) -> None:
        checkpoint.block["kv_cache_scheme"].update(keys)

    return change


def _no_strategy(checkpoint: MutableCheckpoint) -> None:
    del checkpoint.block["kv_cache_scheme"]["strategy"]


def _one_for_each_head(checkpoint: MutableCheckpoint) -> None:
    checkpoint.change(
        r".*\.(self_attn\.k_scale|k_proj\.output_scale)", lambda t: t._replace(shape=(2, 1, 1), data=t.data * 2)
    )


def _int_scheme(checkpoint: MutableCheckpoint) -> None:
    _scheme(type="int")(checkpoint)


def _no_queries(checkpoint: MutableCheckpoint) -> None:
    checkpoint.block["layer_quant_config"]["*q_proj"]["output_tensors"] = None


def _k_differs(checkpoint: MutableCheckpoint) -> None:
    checkpoint.config["kv_lora_rank"] = 16


def _k_equals(checkpoint: MutableCheckpoint) -> None:
    _k_differs(checkpoint)
    values(_K, 0.125)(checkpoint)
    values(_V, 0.125)(checkpoint)


def _scalar(value: float) -> Damage:
    def change(checkpoint: MutableCheckpoint) -> None:
        checkpoint.change(
            r"model\.layers\.0\.self_attn\.v_scale", lambda t: t._replace(dtype="F32", data=struct.pack("<f", value))
        )

    return change


CASES = (
    Case("CK901", CT_KV, drop(r".*\.[kv]_scale"), drop(rf"{_LAST}\.[kv]_scale"), near_also=_SOME),
    Case("CK901", QUARK_KV, drop(r".*\.output_scale"), drop(rf"{_LAST}\.[kv]_proj\.output_scale"), near_also=_SOME),
    Case(
        "CK902", CT_KV, set_block(kv_cache_scheme=None), steps(set_block(kv_cache_scheme=None), drop(r".*\.[kv]_scale"))
    ),
    Case(
        "CK903",
        CT_KV,
        rename(r"(.*\.self_attn)\.(k|v)_scale", r"\1.\2_proj.output_scale"),
        put("model.layers.0.self_attn.o_proj.output_scale", "BF16", (1,), b"\x80\x3c"),
        near_also=frozenset({"CK202"}),
    ),
    Case("CK904", CT_KV, drop(_V), drop(rf"{_LAST}\.[kv]_scale"), near_also=_SOME),
    Case(
        "CK904",
        QUARK_KV,
        drop(r".*\.k_proj\.output_scale"),
        rename(r"(.*)\.k_proj\.output_scale", r"\1.k_scale"),
        near_also=frozenset({"CK903"}),
    ),
    Case("CK905", CT_KV, drop(r"model\.layers\.1\.self_attn\.[kv]_scale"), drop(r"model\.layers\.1\.self_attn\..*")),
    Case("CK906", CT_KV, _scalar(0.0), _scalar(1e-3)),
    Case("CK906", CT_KV, _scalar(float("inf")), _scalar(448.0)),
    Case("CK906", QUARK_KV, values(r".*\.k_proj\.output_scale", 0.0), values(r".*\.k_proj\.output_scale", 2.0**-120)),
    Case("CK907", CT_KV, _one_for_each_head, shape(_K, 1, 1)),
    Case("CK907", QUARK_KV, _one_for_each_head, shape(r".*\.output_scale", 1)),
    Case("CK908", CT_KV, steps(values(_K, 1.0), values(_V, 1.0)), values(_K, 1.0)),
    Case("CK909", CT_KV, _k_differs, _k_equals),
    Case(
        "CK910",
        _ATTENTION,
        drop(r".*\.prob_output_scale"),
        steps(drop(r".*\.prob_output_scale"), set_block(softmax_quant_spec=None)),
    ),
    Case(
        "CK910",
        _ATTENTION,
        drop(rf"{_LAST}\.q_proj\.output_scale"),
        steps(drop(r".*\.q_proj\.output_scale"), _no_queries),
    ),
    Case("CK910", _ATTENTION, drop(r".*\.q_proj\.output_scale"), _no_queries),
    Case(
        "CK911",
        CT,
        set_block(kv_cache_scheme={"num_bits": 8, "type": "float", "strategy": "tensor", "symmetric": True}),
        steps(*(put(f"model.layers.0.self_attn.{part}_scale", "BF16", (1,), b"\x80\x3c") for part in "kv")),
        frozenset({"CK901"}),
        frozenset({"CK902"}),
    ),
    Case("CK912", CT_KV, _no_strategy, _scheme(strategy="attn_head"), near_also=frozenset({"CK907"})),
    Case("CK912", CT_KV, _int_scheme, _scheme(observer="mse")),
    Case("CK912", CT_KV, _scheme(dynamic=True), _scheme(observer="memoryless_minmax")),
    Case("CK912", CT_KV, _scheme(symmetric=None), _scheme(zp_dtype="float8_e4m3fn"), frozenset({"CK629"})),
)
