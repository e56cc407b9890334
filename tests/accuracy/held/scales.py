"""Scales and weights: shapes, types, values, what is missing, and where it is stored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.accuracy.held.common import (
    CUSTOM_KV,
    GEMMA,
    KV_HEADS,
    MIXTRAL,
    MIXTRAL_QUARK,
    MODELOPT,
    MODELOPT_BLOCK,
    MODELOPT_CHANNEL,
    MODELOPT_KV,
    MODELOPT_MOE,
    OWN,
    PHI3,
    PHI3_QUARK,
    PHI3_QUARK_KV,
    PLAIN_BLOCK,
    PLAIN_MOE,
    POWERS,
    QWEN2,
    QWEN2_QUARK,
    QWEN3,
    RAGGED,
    RAGGED_QUARK,
    VL_KV,
    Held,
    copied,
    cut,
    first_value,
    mapped,
    repeated,
    stored_as,
    transposed,
)
from tests.damage import (
    BLOCK,
    CT_FP8,
    CT_KV,
    MOE,
    QUARK_BLOCK,
    QUARK_CUSTOM,
    QUARK_FP8,
    QUARK_KV,
    QUARK_MOE,
    drop,
    dtype,
    rename,
    shape,
    steps,
)

_WEIGHT_SCALES, _INPUT_SCALES = r".*\.weight_scale(_inv)?", r".*\.input_scale"
_LAST = r"model\.layers\.1\.mlp\.down_proj"
_SHORT = {
    QWEN3: "qwen3-ct",
    QWEN2: "qwen2-ct",
    QWEN2_QUARK: "qwen2-quark",
    MOE: "experts-ct",
    MIXTRAL: "mixtral-ct",
    MIXTRAL_QUARK: "mixtral-quark",
    QUARK_MOE: "experts-quark",
    MODELOPT_MOE: "experts-modelopt",
    PLAIN_MOE: "experts-blocks",
    CT_FP8: "ct-tensor",
    QUARK_FP8: "quark-tensor",
    QUARK_CUSTOM: "fp8",
    MODELOPT: "modelopt",
    MODELOPT_CHANNEL: "modelopt-channel",
    MODELOPT_BLOCK: "modelopt-blocks",
    PHI3: "phi3-ct",
    PHI3_QUARK: "phi3-quark",
    BLOCK: "ct-blocks",
    QUARK_BLOCK: "quark-blocks",
    PLAIN_BLOCK: "fp8-blocks",
    POWERS: "fp8-powers",
    RAGGED: "ragged-ct",
    RAGGED_QUARK: "ragged-quark",
    CT_KV: "ct-kv",
    KV_HEADS: "ct-kv-heads",
    CUSTOM_KV: "fp8-kv",
    MODELOPT_KV: "modelopt-kv",
    QUARK_KV: "quark-kv",
    VL_KV: "vl-kv",
    GEMMA: "gemma3-quark",
    PHI3_QUARK_KV: "phi3-quark-kv",
}


def _shapes() -> Iterator[Held]:
    for fixture in (QWEN3, PHI3, MIXTRAL, MOE):
        yield Held(f"shape/flat/{_SHORT[fixture]}", fixture, shape(_WEIGHT_SCALES, -1))
        yield Held(f"shape/row/{_SHORT[fixture]}", fixture, shape(_WEIGHT_SCALES, 1, -1))
    for fixture in (QWEN2_QUARK, MIXTRAL_QUARK, MODELOPT_CHANNEL, PHI3_QUARK):
        yield Held(f"shape/column/{_SHORT[fixture]}", fixture, shape(_WEIGHT_SCALES, -1, 1))
        yield Held(f"shape/row/{_SHORT[fixture]}", fixture, shape(_WEIGHT_SCALES, 1, -1))
    for fixture in (CT_FP8, QUARK_FP8, MODELOPT, QUARK_CUSTOM, MODELOPT_MOE):
        for name, extents in {"scalar": (), "one": (1,), "one-by-one": (1, 1)}.items():
            change = steps(shape(_WEIGHT_SCALES, *extents), shape(_INPUT_SCALES, *extents))
            yield Held(f"shape/{name}/{_SHORT[fixture]}", fixture, change)
        two = repeated(rf"{_LAST.replace('mlp', '(mlp|mlp[.]experts[.]0)')}\.weight_scale", 2)
        yield Held(f"shape/two/{_SHORT[fixture]}", fixture, two)
    for fixture in (BLOCK, QUARK_BLOCK, PLAIN_BLOCK, RAGGED, RAGGED_QUARK, PLAIN_MOE):
        one = r"model\.layers\.0\.(mlp|mlp\.experts\.1)\.gate_proj\.weight_scale(_inv)?"
        yield Held(f"shape/transposed/{_SHORT[fixture]}", fixture, transposed(_WEIGHT_SCALES))
        yield Held(f"shape/row-fewer/{_SHORT[fixture]}", fixture, cut(one, -1))
        yield Held(f"shape/row-more/{_SHORT[fixture]}", fixture, cut(one, 1))
        yield Held(f"shape/flat/{_SHORT[fixture]}", fixture, shape(_WEIGHT_SCALES, -1))
    pairs = rename(r"(.*)\.weight_scale", r"\1.weight_scale_inv")
    yield Held("shape/rank-two/modelopt-blocks", MODELOPT_BLOCK, _rank_two())
    yield Held("shape/rank-two-inverse/modelopt-blocks", MODELOPT_BLOCK, steps(_rank_two(), pairs))
    yield Held("shape/weight-transposed/quark", QWEN2_QUARK, transposed(rf"{_LAST}\.weight"))
    yield Held("shape/weight-transposed/modelopt", MODELOPT, transposed(r"model\.layers\.1\.self_attn\.o_proj\.weight"))


def _rank_two() -> Any:
    return lambda checkpoint: checkpoint.change(
        r".*\.weight_scale", lambda t: t._replace(shape=(t.shape[0], t.shape[2]) if t.shape else (1, 1))
    )


def _types() -> Iterator[Held]:
    for fixture in (QWEN3, MOE, MIXTRAL_QUARK, BLOCK, QUARK_CUSTOM):
        for code in ("F16", "F32", "F64"):
            yield Held(f"type/{code}/{_SHORT[fixture]}", fixture, stored_as(_WEIGHT_SCALES, code), OWN)
    for fixture in (MODELOPT, MODELOPT_MOE, PLAIN_BLOCK, PLAIN_MOE):
        for code in ("BF16", "F16", "F64"):
            yield Held(f"type/{code}/{_SHORT[fixture]}", fixture, stored_as(_WEIGHT_SCALES, code), OWN)
    for fixture in (PLAIN_BLOCK, PLAIN_MOE, BLOCK):
        yield Held(f"type/E8M0/{_SHORT[fixture]}", fixture, stored_as(_WEIGHT_SCALES, "F8_E8M0"), OWN)
    yield Held("type/U8/fp8-blocks", PLAIN_BLOCK, stored_as(_WEIGHT_SCALES, "U8"), OWN)
    yield Held("type/F32/fp8-powers", POWERS, stored_as(_WEIGHT_SCALES, "F32"))
    for fixture in (CT_FP8, MODELOPT, QUARK_FP8):
        yield Held(f"type/inputs-F64/{_SHORT[fixture]}", fixture, stored_as(_INPUT_SCALES, "F64"))
    for fixture in (QWEN2_QUARK, MODELOPT, BLOCK, MOE, PHI3_QUARK):
        one = r"model\.layers\.0\.(mlp|mlp\.experts\.1)\.down_proj\.weight"
        yield Held(f"type/E5M2/{_SHORT[fixture]}", fixture, dtype(one, "F8_E5M2"))
        yield Held(f"type/all-E5M2/{_SHORT[fixture]}", fixture, dtype(r"model\.layers.*_proj\.weight", "F8_E5M2"))
    for fixture in (QWEN3, MODELOPT, PLAIN_BLOCK, MIXTRAL_QUARK):
        yield Held(f"type/bytes/{_SHORT[fixture]}", fixture, dtype(r"model\.layers.*_proj\.weight", "U8"))
    yield Held("type/fnuz/modelopt", MODELOPT, dtype(r"model\.layers.*_proj\.weight", "F8_E4M3FNUZ"))
    yield Held("type/norms-F32", QWEN3, stored_as(r".*norm\.weight", "F32"))
    yield Held("type/embedding-F16", QWEN2_QUARK, stored_as(r"(model\.embed_tokens|lm_head)\.weight", "F16"), OWN)
    yield Held("type/embedding-F32", MODELOPT, stored_as(r"(model\.embed_tokens|lm_head)\.weight", "F32"))


def _values() -> Iterator[Held]:
    for fixture in (QWEN2_QUARK, MOE, MODELOPT, PLAIN_MOE, QUARK_CUSTOM):
        one = r"model\.layers\.0\.(mlp|mlp\.experts\.1)\.down_proj\.weight_scale(_inv)?"
        for name, value in {"zero": 0.0, "nan": np.nan, "negative": -0.001953125, "infinite": np.inf}.items():
            yield Held(f"value/{name}/{_SHORT[fixture]}", fixture, mapped(one, first_value(value)))
        reciprocal = mapped(_WEIGHT_SCALES, lambda values: (1 / values).astype(np.float32))
        yield Held(f"value/reciprocal/{_SHORT[fixture]}", fixture, reciprocal)
    for fixture in (CT_FP8, MODELOPT_MOE):
        one = r"model\.layers\.1\.(mlp|mlp\.experts\.1)\.up_proj\.input_scale"
        for name, value in {"zero": 0.0, "nan": np.nan}.items():
            yield Held(f"value/input-{name}/{_SHORT[fixture]}", fixture, mapped(one, first_value(value)))


def _missing() -> Iterator[Held]:
    one = r"model\.layers\.1\.(mlp|\w+\.experts\.1)\.down_proj"
    for fixture in (CT_FP8, MODELOPT, QUARK_FP8, QUARK_CUSTOM, MODELOPT_MOE):
        yield Held(f"missing/input-scale/{_SHORT[fixture]}", fixture, drop(rf"{one}\.input_scale"))
        yield Held(f"missing/input-scales/{_SHORT[fixture]}", fixture, drop(_INPUT_SCALES))
    for fixture in (MIXTRAL, MIXTRAL_QUARK, MODELOPT_MOE, PLAIN_MOE, QWEN2_QUARK, QUARK_CUSTOM):
        yield Held(f"missing/weight-scale/{_SHORT[fixture]}", fixture, drop(rf"{one}\.weight_scale(_inv)?"))
        yield Held(f"missing/weight/{_SHORT[fixture]}", fixture, drop(rf"{one}\.weight"))
    for fixture in (QWEN2, QWEN2_QUARK):
        yield Held(f"missing/bias/{_SHORT[fixture]}", fixture, drop(r"model\.layers\.0\.self_attn\.q_proj\.bias"))
    for fixture in (QWEN3, MODELOPT):
        yield Held(f"missing/norm/{_SHORT[fixture]}", fixture, drop(r"model\.layers\.0\.input_layernorm\.weight"))
        yield Held(f"missing/head/{_SHORT[fixture]}", fixture, drop(r"lm_head\.weight"))
    yield Held("missing/q-norm/qwen3-ct", QWEN3, drop(r"model\.layers\.0\.self_attn\.q_norm\.weight"))
    yield Held("missing/router/experts-ct", MOE, drop(r"model\.layers\.0\.mlp\.gate\.weight"))
    yield Held("missing/embedding/qwen2-ct", QWEN2, drop(r"model\.embed_tokens\.weight"))


def _kv() -> Iterator[Held]:
    scales = r".*\.(self_attn|[kv]_proj)\.[kv]_scale"
    for fixture in (CT_KV, CUSTOM_KV, MODELOPT_KV, VL_KV):
        for name, change in {
            "scalar": shape(scales),
            "two": repeated(scales, 2),
            "column": repeated(scales, 2, 1, 1),
            "one-by-one": shape(scales, 1, 1),
            "zero": mapped(scales, first_value(0.0)),
            "nan": mapped(scales, first_value(np.nan)),
            "negative": mapped(scales, first_value(-0.5)),
            "F64": stored_as(scales, "F64"),
            "last-layer-missing": drop(r".*layers\.1\..*\.[kv]_scale"),
            "only-k": drop(r".*\.v_scale"),
            "under-attn": rename(r"(.*\.self_attn)\.(?:[kv]_proj\.)?([kv])_scale", r"\1.attn.\2_scale"),
            "q-too": copied(
                r".*self_attn\.(k_proj\.)?k_scale",
                lambda n: n.replace("k_proj.", "q_proj.").replace("k_scale", "q_scale"),
            ),
        }.items():
            yield Held(f"kv/{name}/{_SHORT[fixture]}", fixture, change)
    heads = r".*self_attn\.[kv]_scale"
    yield Held("kv/flat/ct-kv-heads", KV_HEADS, shape(heads, -1))
    yield Held("kv/row/ct-kv-heads", KV_HEADS, shape(heads, 1, -1, 1))
    yield Held("kv/first/ct-kv-heads", KV_HEADS, cut(heads, -1))
    outputs = r".*[kv]_proj\.output_scale"
    yield Held("kv/one/quark-kv", QUARK_KV, shape(outputs, 1))
    yield Held("kv/only-k/quark-kv", QUARK_KV, drop(r".*v_proj\.output_scale"))
    yield Held("kv/zero/quark-kv", QUARK_KV, mapped(outputs, first_value(0.0)))
    yield Held("kv/last-layer-missing/quark-kv", QUARK_KV, drop(r".*layers\.1\..*\.output_scale"))
    yield Held(
        "kv/q-too/quark-kv", QUARK_KV, copied(r".*k_proj\.output_scale", lambda n: n.replace("k_proj", "q_proj"))
    )
    yield Held("kv/none/gemma3-quark", GEMMA, drop(r".*\.output_scale"))
    yield Held("kv/none/phi3-quark-kv", PHI3_QUARK_KV, drop(r".*\.output_scale"))
    yield Held("kv/three/phi3-quark-kv", PHI3_QUARK_KV, repeated(r".*\.output_scale", 3))
    for name, fixture in (("experts-ct", MOE), ("mixtral-ct", MIXTRAL)):
        yield Held(f"kv/added/{name}", fixture, _with_kv, OWN)


def _with_kv(checkpoint: Any) -> None:
    checkpoint.block["kv_cache_scheme"] = {
        "num_bits": 8,
        "type": "float",
        "strategy": "tensor",
        "dynamic": False,
        "symmetric": True,
    }
    for layer in range(2):
        for part in "kv":
            checkpoint.put(f"model.layers.{layer}.self_attn.{part}_scale", "BF16", (1,), b"\x80\x3d")


SCALES = (*_shapes(), *_types(), *_values(), *_missing(), *_kv())
