"""CK3xx: shapes of weights and scales."""

from __future__ import annotations

from tests.rules.cases.naming import plain_fp8
from tests.rules.mutate import (
    BLOCK,
    CT,
    CT_FP8,
    QUARK,
    QUARK_BLOCK,
    Case,
    Change,
    Draft,
    dtype,
    nothing,
    set_config,
    shape,
    steps,
)

_Q = r"model\.layers\.0\.self_attn\.q_proj"


def _drop_scale_row(draft: Draft) -> None:
    draft.change(r".*\.mlp\.up_proj\.weight_scale", lambda t: t._replace(shape=(1, 1), data=t.data[:2]))


def _modelopt(four_dimensional: bool) -> Change:
    def change(draft: Draft) -> None:
        draft.config["quantization_config"] = {"quant_method": "modelopt", "quant_algo": "FP8_PB_WO", "ignore": []}
        if four_dimensional:
            for name in draft.names(r".*\.weight_scale"):
                rows, columns = draft.get(name).shape
                shape(name.replace(".", r"\."), rows, 1, columns, 1)(draft)

    return change


def _modelopt_grid(draft: Draft) -> None:
    _modelopt(False)(draft)


def _modelopt_four(draft: Draft) -> None:
    _modelopt(True)(draft)


def _one_value(draft: Draft) -> None:
    draft.change(rf"{_Q}\.weight_scale", lambda t: t._replace(shape=(1,), data=t.data[:2]))


def _transpose(draft: Draft) -> None:
    """down_proj [64, 80], up_proj [80, 64], as if the writer had kept [in, out]."""
    draft.change(r".*\.down_proj\.weight", lambda t: t._replace(shape=t.shape[::-1]))
    draft.change(r".*\.down_proj\.weight_scale", lambda t: t._replace(shape=(80, 1), data=t.data + t.data[:32]))


def _other_hidden(draft: Draft) -> None:
    draft.config["hidden_size"] = 96


def _packed(draft: Draft) -> None:
    draft.change(r".*\.up_proj\.weight_scale", lambda t: t._replace(dtype="I32", data=t.data * 2))


def _wide(draft: Draft) -> None:
    draft.change(
        r".*\.up_proj\.weight_scale", lambda t: t._replace(dtype="F32", data=b"\0\0\x80\x3a" * (len(t.data) // 2))
    )


def _fuse(draft: Draft) -> None:
    """gate and up of layer 0 as one weight with one scale."""
    owner = "model.layers.0.mlp"
    gate, up = (draft.get(f"{owner}.{part}.weight") for part in ("gate_proj", "up_proj"))
    scale, inputs = (draft.get(f"{owner}.up_proj.{part}") for part in ("weight_scale", "input_scale"))
    draft.drop(rf"{owner}\.(gate|up)_proj\..*".replace("model.layers", r"model\.layers"))
    draft.put(f"{owner}.gate_up_proj.weight", "F8_E4M3", (160, 64), gate.data + up.data)
    draft.put(f"{owner}.gate_up_proj.weight_scale", scale.dtype, scale.shape, scale.data)
    draft.put(f"{owner}.gate_up_proj.input_scale", inputs.dtype, inputs.shape, inputs.data)


def _fuse_per_channel(draft: Draft) -> None:
    owner = "model.layers.0.mlp"
    parts = ("gate_proj", "up_proj")
    weights = b"".join(draft.get(f"{owner}.{part}.weight").data for part in parts)
    scales = b"".join(draft.get(f"{owner}.{part}.weight_scale").data for part in parts)
    draft.drop(rf"{owner}\.(gate|up)_proj\..*".replace("model.layers", r"model\.layers"))
    draft.put(f"{owner}.gate_up_proj.weight", "F8_E4M3", (160, 64), weights)
    draft.put(f"{owner}.gate_up_proj.weight_scale", "BF16", (160, 1), scales)


def _odd_rows(draft: Draft) -> None:
    draft.change(r".*\.down_proj\.weight", lambda t: t._replace(shape=(40, 128)))
    draft.change(r".*\.down_proj\.weight_scale", lambda t: t._replace(shape=(40, 1), data=t.data[:80]))


def _even_rows(draft: Draft) -> None:
    draft.change(r".*\.down_proj\.weight", lambda t: t._replace(shape=(32, 160)))
    draft.change(r".*\.down_proj\.weight_scale", lambda t: t._replace(shape=(32, 1), data=t.data[:64]))


def _many_inputs(draft: Draft) -> None:
    draft.change(rf"{_Q}\.input_scale", lambda t: t._replace(shape=(2,), data=t.data * 2))


CASES = (
    Case("CK301", CT, shape(rf"{_Q}\.weight_scale", -1), nothing),
    Case("CK301", CT, shape(rf"{_Q}\.weight_scale", 1, -1), nothing),
    Case("CK301", QUARK, shape(rf"{_Q}\.weight_scale", -1, 1), nothing),
    Case("CK302", CT_FP8, shape(rf"{_Q}\.weight_scale", 1, 1), shape(rf"{_Q}\.weight_scale")),
    Case("CK303", BLOCK, _drop_scale_row, nothing),
    Case("CK304", QUARK_BLOCK, shape(r".*\.up_proj\.weight_scale", 1, 2), nothing),
    Case("CK305", BLOCK, shape(r".*\.up_proj\.weight_scale", 2, 1, 1, 1), nothing),
    Case("CK305", BLOCK, _modelopt_grid, _modelopt_four, frozenset({"CK600"}), frozenset({"CK600"})),
    Case("CK306", CT, _one_value, nothing),
    Case("CK307", CT, _transpose, _other_hidden, near_also=frozenset({"CK312"})),
    Case("CK308", CT, _packed, _wide),
    Case("CK309", CT_FP8, _fuse, nothing),
    Case("CK309", CT_FP8, _fuse, steps(dtype(r"model\.norm\.weight", "F16")), frozenset()),
    Case("CK310", CT, _odd_rows, _even_rows, frozenset({"CK312"}), frozenset({"CK312"})),
    Case("CK311", CT_FP8, _many_inputs, shape(rf"{_Q}\.input_scale")),
)
PLAIN = (plain_fp8, set_config)
