"""CK3xx: shapes of weights and scales."""

from __future__ import annotations

from random import Random

from tests.damage import (
    BLOCK,
    CT,
    CT_FP8,
    QUARK,
    QUARK_BLOCK,
    Damage,
    MutableCheckpoint,
    left_alone,
    load,
    shape,
    steps,
)
from tests.rules.case import Case

_Q = r"model\.layers\.0\.self_attn\.q_proj"


def _drop_scale_row(checkpoint: MutableCheckpoint) -> None:
    checkpoint.change(
        r".*\.mlp\.up_proj\.weight_scale", lambda t: t._replace(shape=(1, 1), data=t.data[: len(t.data) // 2])
    )


def _modelopt(four_dimensional: bool) -> Damage:
    def change(checkpoint: MutableCheckpoint) -> None:
        checkpoint.config["quantization_config"] = {
            "quant_method": "modelopt",
            "quant_algo": "FP8_PB_WO",
            "ignore": ["lm_head"],
        }
        if four_dimensional:
            for name in checkpoint.names(r".*\.weight_scale"):
                rows, columns = checkpoint.get(name).shape
                shape(name.replace(".", r"\."), rows, 1, columns, 1)(checkpoint)

    return change


def _modelopt_grid(checkpoint: MutableCheckpoint) -> None:
    _modelopt(False)(checkpoint)


def _modelopt_four(checkpoint: MutableCheckpoint) -> None:
    _modelopt(True)(checkpoint)


def _one_value(checkpoint: MutableCheckpoint) -> None:
    checkpoint.change(rf"{_Q}\.weight_scale", lambda t: t._replace(shape=(1,), data=t.data[:2]))


def _half_the_rows(checkpoint: MutableCheckpoint) -> None:
    checkpoint.change(rf"{_Q}\.weight_scale", lambda t: t._replace(shape=(1, 64), data=t.data[:128]))


def _transpose(checkpoint: MutableCheckpoint) -> None:
    """down_proj [64, 80], up_proj [80, 64], as if the writer had kept [in, out]."""
    checkpoint.change(r".*\.down_proj\.weight", lambda t: t._replace(shape=t.shape[::-1]))
    checkpoint.change(r".*\.down_proj\.weight_scale", lambda t: t._replace(shape=(80, 1), data=t.data + t.data[:32]))


def _other_hidden(checkpoint: MutableCheckpoint) -> None:
    checkpoint.config["hidden_size"] = 96


def _packed(checkpoint: MutableCheckpoint) -> None:
    checkpoint.change(r".*\.up_proj\.weight_scale", lambda t: t._replace(dtype="I32", data=t.data * 2))


def _wide(checkpoint: MutableCheckpoint) -> None:
    checkpoint.change(
        r".*\.up_proj\.weight_scale", lambda t: t._replace(dtype="F32", data=b"\0\0\x80\x3a" * (len(t.data) // 2))
    )


def _fuse(checkpoint: MutableCheckpoint) -> None:
    """gate and up of layer 0 as one weight with one scale."""
    owner = "model.layers.0.mlp"
    gate, up = (checkpoint.get(f"{owner}.{part}.weight") for part in ("gate_proj", "up_proj"))
    scale, inputs = (checkpoint.get(f"{owner}.up_proj.{part}") for part in ("weight_scale", "input_scale"))
    checkpoint.drop(rf"{owner}\.(gate|up)_proj\..*".replace("model.layers", r"model\.layers"))
    checkpoint.put(f"{owner}.gate_up_proj.weight", "F8_E4M3", (160, 64), gate.data + up.data)
    checkpoint.put(f"{owner}.gate_up_proj.weight_scale", scale.dtype, scale.shape, scale.data)
    checkpoint.put(f"{owner}.gate_up_proj.input_scale", inputs.dtype, inputs.shape, inputs.data)


def _per_channel(checkpoint: MutableCheckpoint) -> None:
    """Every linear module as in the per-channel export of the same model."""
    other = load(CT)
    checkpoint.block["config_groups"] = other.block["config_groups"]
    checkpoint.drop(r".*_scale")
    for name in other.names(r".*\.weight(_scale)?"):
        checkpoint.put(name, *other.get(name))


def _fuse_per_channel(checkpoint: MutableCheckpoint) -> None:
    owner = "model.layers.0.mlp"
    parts = ("gate_proj", "up_proj")
    weights = b"".join(checkpoint.get(f"{owner}.{part}.weight").data for part in parts)
    scales = b"".join(checkpoint.get(f"{owner}.{part}.weight_scale").data for part in parts)
    checkpoint.drop(rf"{owner}\.(gate|up)_proj\..*".replace("model.layers", r"model\.layers"))
    checkpoint.put(f"{owner}.gate_up_proj.weight", "F8_E4M3", (160, 64), weights)
    checkpoint.put(f"{owner}.gate_up_proj.weight_scale", "BF16", (160, 1), scales)


def _odd_rows(checkpoint: MutableCheckpoint) -> None:
    checkpoint.change(r".*\.down_proj\.weight", lambda t: t._replace(shape=(40, 128)))
    checkpoint.change(r".*\.down_proj\.weight_scale", lambda t: t._replace(shape=(40, 1), data=t.data[:80]))


def _even_rows(checkpoint: MutableCheckpoint) -> None:
    checkpoint.change(r".*\.down_proj\.weight", lambda t: t._replace(shape=(32, 160)))
    checkpoint.change(r".*\.down_proj\.weight_scale", lambda t: t._replace(shape=(32, 1), data=t.data[:64]))


def _many_inputs(checkpoint: MutableCheckpoint) -> None:
    checkpoint.change(rf"{_Q}\.input_scale", lambda t: t._replace(shape=(2,), data=t.data * 2))


def _blocks(kv_heads: int, hidden: int = 256) -> Damage:
    """A whole model in blocks of 128: 16 heads of 80, so that keys have 80 rows for each of their heads."""

    def change(checkpoint: MutableCheckpoint) -> None:
        rows = {"q": 1280, "k": 80 * kv_heads, "v": 80 * kv_heads, "o": hidden, "gate": 256, "up": 256, "down": hidden}
        inputs = {"o": 1280, "down": 256}
        for name in checkpoint.names(r".*_proj\.weight"):
            part = name.split(".")[-2].removesuffix("_proj")
            shape = rows[part], inputs.get(part, hidden)
            grid = -(-shape[0] // 128), -(-shape[1] // 128)
            codes = bytes(code & 0xF7 for code in Random(part).randbytes(shape[0] * shape[1]))
            scales = b"".join(bytes([0x80, 0x38 + 2 * (number // 2 % 2)]) for number in range(grid[0] * grid[1]))
            checkpoint.put(name, "F8_E4M3", shape, codes)
            checkpoint.put(f"{name}_scale", "BF16", grid, scales)
        for name in checkpoint.names(r".*(norm|embed_tokens|lm_head)\.weight"):
            shape = (*checkpoint.get(name).shape[:-1], hidden)
            size = hidden * (shape[0] if len(shape) > 1 else 1)
            noise = b"".join(bytes([code, 0x3C | code & 0x80]) for code in Random(name).randbytes(size))
            checkpoint.put(name, "BF16", shape, b"\x80\x3f" * size if len(shape) == 1 else noise)
        checkpoint.config.update(
            hidden_size=hidden, num_attention_heads=16, num_key_value_heads=kv_heads, head_dim=80, intermediate_size=256
        )

    return change


#: What keys whose last block is not whole bring as well.
_CUT = frozenset({"CK801", "CK803"})
CASES = (
    Case("CK301", CT, shape(rf"{_Q}\.weight_scale", -1), _one_value, near_also=frozenset({"CK306"})),
    Case("CK301", CT, shape(rf"{_Q}\.weight_scale", 1, -1), _half_the_rows, near_also=frozenset({"CK306"})),
    Case(
        "CK301",
        QUARK,
        shape(rf"{_Q}\.weight_scale", -1, 1),
        shape(rf"{_Q}\.weight_scale", 2, 64),
        near_also=frozenset({"CK306"}),
    ),
    Case("CK302", CT_FP8, shape(rf"{_Q}\.weight_scale", 1, 1), shape(rf"{_Q}\.weight_scale")),
    Case(
        "CK303",
        BLOCK,
        _drop_scale_row,
        shape(r".*\.up_proj\.weight_scale", 1, 2),
        near_also=frozenset({"CK304"}),
    ),
    Case(
        "CK304",
        QUARK_BLOCK,
        shape(r".*\.up_proj\.weight_scale", 1, 2),
        _drop_scale_row,
        near_also=frozenset({"CK303"}),
    ),
    Case(
        "CK305",
        BLOCK,
        shape(r".*\.up_proj\.weight_scale", 2, 1, 1, 1),
        shape(r".*\.up_proj\.weight_scale", 1, 2, 1, 1),
        near_also=frozenset({"CK303"}),
    ),
    Case("CK305", BLOCK, _modelopt_grid, _modelopt_four),
    Case("CK306", CT, _one_value, shape(rf"{_Q}\.weight_scale", -1), near_also=frozenset({"CK301"})),
    Case("CK307", CT, _transpose, _other_hidden, near_also=frozenset({"CK312"})),
    Case("CK308", CT, _packed, _wide),
    Case("CK315", BLOCK, _blocks(2), _blocks(16), _CUT, given=_blocks(8)),
    Case("CK315", BLOCK, _blocks(4), _blocks(16), _CUT, given=_blocks(8)),
    Case("CK315", BLOCK, _blocks(8, hidden=128), _blocks(16), given=_blocks(8)),
    Case("CK309", CT_FP8, _fuse, steps(_fuse, left_alone("model.layers.0.mlp.gate_up_proj"))),
    Case("CK309", CT_FP8, _fuse, steps(_per_channel, _fuse_per_channel)),
    Case("CK310", CT, _odd_rows, _even_rows, frozenset({"CK312"}), frozenset({"CK312"})),
    Case("CK311", CT_FP8, _many_inputs, shape(rf"{_Q}\.input_scale")),
)
