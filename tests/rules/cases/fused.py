"""CK7xx and CK8xx: modules that are loaded as one, blocks, tensor parallelism."""

from __future__ import annotations

from tests.damage import (
    BLOCK,
    CT,
    CT_FP8,
    MOE,
    QUARK_BLOCK,
    Damage,
    MutableCheckpoint,
    drop,
    high_precision,
    left_alone,
    plain_fp8,
    steps,
    values,
)
from tests.rules.case import Case

_UNREAD = frozenset({"CK600"})


def _only_q(checkpoint: MutableCheckpoint) -> None:
    high_precision(r"model\.layers\.0\.self_attn\.[kv]_proj")(checkpoint)
    checkpoint.block["ignore"] += ["model.layers.0.self_attn.k_proj", "model.layers.0.self_attn.v_proj"]


def _plain_experts(*numbers: int) -> Damage:
    """Some experts of a layer in BF16, and the skip list says so."""
    parts = ("gate_proj", "up_proj", "down_proj")
    return steps(*(left_alone(f"model.layers.0.mlp.experts.{n}.{part}") for n in numbers for part in parts))


def _no_v(checkpoint: MutableCheckpoint) -> None:
    checkpoint.drop(r"model\.layers\.0\.self_attn\.v_proj\..*")


def _two_schemes(names: str) -> Damage:
    def change(checkpoint: MutableCheckpoint) -> None:
        first = checkpoint.group
        per_tensor = {**first["weights"], "strategy": "tensor"}
        checkpoint.block["config_groups"]["group_1"] = {**first, "targets": [names], "weights": per_tensor}
        for name in checkpoint.names(names.removeprefix("re:") + r"\.weight_scale"):
            checkpoint.change(name.replace(".", r"\."), lambda t: t._replace(shape=(1,), data=t.data[:2]))

    return change


def _side_by_side(parts: tuple[str, str], *quantized: str) -> Damage:
    """Two modules that engines load as one, some in FP8 and some in BF16."""

    def change(checkpoint: MutableCheckpoint) -> None:
        for part in parts:
            name = f"model.layers.0.mixer.{part}"
            if part in quantized:
                checkpoint.put(f"{name}.weight", "F8_E4M3", (16, 64), bytes([0x30]) * 1024)
                checkpoint.put(f"{name}.weight_scale", "BF16", (16, 1), b"\x80\x3a" * 16)
            else:
                checkpoint.put(f"{name}.weight", "BF16", (16, 64), bytes(2048))
                checkpoint.block["ignore"].append(name)

    return change


#: Qwen3-Next's and Qwen3.5's linear attention, DeepSeek's latent attention, that of DeepSeek V4.
_RARE = (
    ("in_proj_qkv", "in_proj_z"),
    ("in_proj_b", "in_proj_a"),
    ("q_a_proj", "kv_a_proj_with_mqa"),
    ("wq_a", "wkv"),
)


def _share(pattern: str) -> Damage:
    """The same power-of-two scale everywhere."""
    return values(pattern, 2.0**-10)


def _block_rows(name: str, rows: int) -> Damage:
    """Cut a block-quantized module [128, 128] or [256, 128] to other rows."""

    def change(checkpoint: MutableCheckpoint) -> None:
        columns = checkpoint.get(f"{name}.weight").shape[1]
        grid = -(-rows // 128)
        width = -(-columns // 128)
        checkpoint.put(f"{name}.weight", "F8_E4M3", (rows, columns), bytes([0x30]) * (rows * columns))
        checkpoint.put(f"{name}.weight_scale", "BF16", (grid, width), b"\x80\x3a" * (grid * width))

    return change


def _block_columns(name: str, columns: int) -> Damage:
    """Cut a block-quantized module of 128 rows to other columns."""

    def change(checkpoint: MutableCheckpoint) -> None:
        checkpoint.put(f"{name}.weight", "F8_E4M3", (128, columns), bytes([0x30]) * (128 * columns))
        checkpoint.put(f"{name}.weight_scale", "BF16", (1, -(-columns // 128)), b"\x80\x3a" * -(-columns // 128))

    return change


_LAYER = "model.layers.0"


def _blocks_of_64(checkpoint: MutableCheckpoint) -> None:
    plain_fp8(checkpoint)
    checkpoint.block["weight_block_size"] = [64, 64]
    checkpoint.change(
        r".*\.weight_scale_inv",
        lambda t: t._replace(shape=(2 * t.shape[0], 2 * t.shape[1]), data=t.data[:2] * (2 * len(t.data))),
    )


def _wide(checkpoint: MutableCheckpoint) -> None:
    """Every dimension a multiple of 128 for up to 16 devices: 2048 rows, 2048 columns."""
    for part in ("q_proj", "k_proj", "v_proj", "o_proj"):
        _resize(checkpoint, f"{_LAYER}.self_attn.{part}")
    for part in ("gate_proj", "up_proj", "down_proj"):
        _resize(checkpoint, f"{_LAYER}.mlp.{part}")
    checkpoint.config.update(hidden_size=2048, num_attention_heads=16, num_key_value_heads=16)


def _resize(checkpoint: MutableCheckpoint, name: str) -> None:
    checkpoint.put(f"{name}.weight", "F8_E4M3", (2048, 2048), bytes([0x30]) * 2048 * 2048)
    checkpoint.put(f"{name}.weight_scale", "BF16", (16, 16), b"\x80\x3a" * 256)


def _wide_mlp(rows: int) -> Damage:
    def change(checkpoint: MutableCheckpoint) -> None:
        for part in ("gate_proj", "up_proj"):
            name = f"{_LAYER}.mlp.{part}"
            checkpoint.put(f"{name}.weight", "F8_E4M3", (rows, 2048), bytes([0x30]) * rows * 2048)
            checkpoint.put(f"{name}.weight_scale", "BF16", (rows // 128, 16), b"\x80\x3a" * (rows // 8))

    return change


CASES = (
    Case("CK701", CT, _only_q, _no_v, frozenset({"CK608"})),
    Case("CK701", MOE, _plain_experts(0), _plain_experts(0, 1, 2, 3), frozenset({"CK610"}), frozenset({"CK610"})),
    Case(
        "CK702",
        CT,
        _two_schemes(r"re:model\.layers\.0\.self_attn\.k_proj"),
        _two_schemes(r"re:model\.layers\.0\.self_attn\..*_proj"),
        frozenset({"CK608", "CK616"}),
        frozenset({"CK616", "CK704"}),
    ),
    Case(
        "CK702",
        MOE,
        _two_schemes(r"re:model\.layers\.0\.mlp\.experts\.1\..*_proj"),
        _two_schemes(r"re:model\.layers\.0\.self_attn\.o_proj"),
        frozenset({"CK616", "CK704"}),
        frozenset({"CK616"}),
    ),
    *(Case("CK703", CT, _side_by_side(parts, parts[0]), _side_by_side(parts, *parts)) for parts in _RARE),
    Case(
        "CK704",
        CT_FP8,
        values(r"model\.layers\.0\.self_attn\.q_proj\.weight_scale", 2.0**-9),
        values(r"model\.layers\.0\.self_attn\.o_proj\.weight_scale", 2.0**-9),
        given=_share(r".*\.weight_scale"),
    ),
    Case(
        "CK705",
        CT_FP8,
        values(r"model\.layers\.0\.self_attn\.q_proj\.input_scale", 0.5),
        values(r"model\.layers\.0\.self_attn\.o_proj\.input_scale", 0.5),
    ),
    Case(
        "CK801",
        BLOCK,
        _block_rows(f"{_LAYER}.self_attn.k_proj", 64),
        _block_rows(f"{_LAYER}.self_attn.v_proj", 64),
        frozenset({"CK312", "CK803"}),
        frozenset({"CK312", "CK803"}),
    ),
    Case(
        "CK801",
        QUARK_BLOCK,
        steps(_block_rows(f"{_LAYER}.mlp.gate_proj", 192)),
        drop(r"model\.layers\.0\.mlp\.gate_proj\..*"),
        frozenset({"CK312", "CK803"}),
    ),
    Case("CK802", BLOCK, _wide_mlp(768), _wide_mlp(4096), given=_wide),
    Case(
        "CK803",
        BLOCK,
        _block_rows(f"{_LAYER}.mlp.down_proj", 192),
        _block_rows(f"{_LAYER}.mlp.down_proj", 256),
        frozenset({"CK312"}),
        frozenset({"CK312"}),
    ),
    Case(
        "CK805",
        BLOCK,
        _block_columns(f"{_LAYER}.mlp.down_proj", 160),
        _block_columns(f"{_LAYER}.mlp.down_proj", 384),
        frozenset({"CK312"}),
        frozenset({"CK312"}),
    ),
    Case("CK804", BLOCK, _blocks_of_64, plain_fp8),
)
