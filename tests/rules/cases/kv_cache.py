"""CK9xx: the KV cache."""

from __future__ import annotations

import struct

from tests.rules.mutate import (
    CT,
    CT_KV,
    QUARK_KV,
    Case,
    Change,
    Draft,
    drop,
    nothing,
    rename,
    set_block,
    set_config,
    shape,
    steps,
    values,
)

_K, _V = r".*\.self_attn\.k_scale", r".*\.self_attn\.v_scale"
_ATTENTION = "llama/quark-fp8-attention"


def _scheme(**keys: object) -> Change:
    def change(draft: Draft) -> None:
        draft.block["kv_cache_scheme"].update(keys)

    return change


def _no_strategy(draft: Draft) -> None:
    del draft.block["kv_cache_scheme"]["strategy"]


def _one_for_each_head(draft: Draft) -> None:
    draft.change(
        r".*\.(self_attn\.k_scale|k_proj\.output_scale)", lambda t: t._replace(shape=(2, 1, 1), data=t.data * 2)
    )


def _int_scheme(draft: Draft) -> None:
    _scheme(type="int")(draft)


def _k_differs(draft: Draft) -> None:
    draft.config["kv_lora_rank"] = 16


def _k_equals(draft: Draft) -> None:
    _k_differs(draft)
    values(_K, 0.125)(draft)
    values(_V, 0.125)(draft)


def _scalar(value: float) -> Change:
    def change(draft: Draft) -> None:
        draft.change(
            r"model\.layers\.0\.self_attn\.v_scale", lambda t: t._replace(dtype="F32", data=struct.pack("<f", value))
        )

    return change


CASES = (
    Case("CK901", CT_KV, drop(r".*\.[kv]_scale"), nothing),
    Case("CK901", QUARK_KV, drop(r".*\.output_scale"), nothing),
    Case(
        "CK902", CT_KV, set_block(kv_cache_scheme=None), steps(set_block(kv_cache_scheme=None), drop(r".*\.[kv]_scale"))
    ),
    Case("CK903", CT_KV, rename(r"(.*\.self_attn)\.(k|v)_scale", r"\1.\2_proj.output_scale"), nothing),
    Case("CK904", CT_KV, drop(_V), nothing),
    Case("CK904", QUARK_KV, drop(r".*\.k_proj\.output_scale"), nothing),
    Case("CK905", CT_KV, drop(r"model\.layers\.1\.self_attn\.[kv]_scale"), drop(r"model\.layers\.1\.self_attn\..*")),
    Case("CK906", CT_KV, _scalar(0.0), _scalar(1e-3)),
    Case("CK906", CT_KV, _scalar(float("inf")), _scalar(448.0)),
    Case("CK906", QUARK_KV, values(r".*\.k_proj\.output_scale", 0.0), nothing),
    Case("CK907", CT_KV, _one_for_each_head, shape(_K, 1, 1)),
    Case("CK907", QUARK_KV, _one_for_each_head, shape(r".*\.output_scale", 1)),
    Case("CK908", CT_KV, steps(values(_K, 1.0), values(_V, 1.0)), values(_K, 1.0)),
    Case("CK909", CT_KV, _k_differs, _k_equals),
    Case("CK910", _ATTENTION, drop(r".*\.prob_output_scale"), nothing),
    Case("CK910", _ATTENTION, drop(r"model\.layers\.1\.self_attn\.q_proj\.output_scale"), nothing),
    Case(
        "CK911",
        CT,
        set_block(kv_cache_scheme={"num_bits": 8, "type": "float", "strategy": "tensor", "symmetric": True}),
        nothing,
        frozenset({"CK901"}),
    ),
    Case("CK912", CT_KV, _no_strategy, nothing),
    Case("CK912", CT_KV, _int_scheme, set_config(kv_cache_scheme=None)),
    Case("CK912", CT_KV, _scheme(dynamic=True), nothing),
    Case("CK912", CT_KV, _scheme(symmetric=None), nothing, frozenset({"CK629"})),
)
