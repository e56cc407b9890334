"""CK2xx: names of scales and modules."""

from __future__ import annotations

from tests.damage import (
    BLOCK,
    CT,
    CT_FP8,
    MOE,
    QUARK,
    MutableCheckpoint,
    bf16,
    drop,
    f32,
    left_alone,
    plain_fp8,
    put,
    rename,
    set_config,
    steps,
    values,
)
from tests.rules.case import Case

_Q = r"model\.layers\.0\.self_attn\.q_proj"
_ALL = r"(model\.layers\.\d+\..*)"


def _plain_fp8_with_short_names(checkpoint: MutableCheckpoint) -> None:
    plain_fp8(checkpoint)
    checkpoint.rename(r"(.*)\.weight_scale_inv", r"\1.weight_scale")


def _expert_parts(checkpoint: MutableCheckpoint) -> None:
    checkpoint.rename(r"(.*\.mlp\.experts\.\d+)\.gate_proj\.(.*)", r"\1.w1.\2")


def _shared_experts(checkpoint: MutableCheckpoint) -> None:
    """Shared experts may have names that no routed expert of the class has."""
    for part in ("w1", "w3"):
        for ending, tensor in (
            ("weight", checkpoint.get("model.layers.0.mlp.experts.0.up_proj.weight")),
            ("weight_scale", checkpoint.get("model.layers.0.mlp.experts.0.up_proj.weight_scale")),
        ):
            checkpoint.put(f"model.layers.0.mlp.shared_experts.{part}.{ending}", *tensor)


def _fused_experts(checkpoint: MutableCheckpoint) -> None:
    checkpoint.put("model.layers.0.mlp.experts.gate_up_proj", "BF16", (4, 64, 64), bytes(2 * 4 * 64 * 64))


def _other_three_dimensional(checkpoint: MutableCheckpoint) -> None:
    checkpoint.put("model.layers.0.conv1d.weight", "BF16", (4, 1, 4), bytes(32))


def _amax(checkpoint: MutableCheckpoint) -> None:
    checkpoint.put("model.layers.0.self_attn.q_proj.input_quantizer._amax", "F32", (), f32(3.0))


def _adapter(checkpoint: MutableCheckpoint) -> None:
    checkpoint.put("model.layers.0.self_attn.q_proj.base_layer.bias", "BF16", (128,), bytes(256))


def _bias(checkpoint: MutableCheckpoint) -> None:
    checkpoint.put("model.layers.0.self_attn.q_proj.bias", "BF16", (128,), bytes(256))


CASES = (
    Case("CK201", CT, drop(rf"{_Q}\.weight_scale"), left_alone("model.layers.0.self_attn.o_proj")),
    Case("CK201", QUARK, drop(r".*\.up_proj\.weight_scale"), drop(r".*\.norm\.weight")),
    Case(
        "CK202",
        CT,
        put("lm_head.weight_scale", "BF16", (32, 1), b"\x80\x3f" * 32),
        put("lm_head.bias", "BF16", (32,), bytes(64)),
    ),
    Case(
        "CK203",
        CT,
        rename(rf"({_Q})\.weight_scale", r"\1.weight_scale_inv"),
        put("model.layers.0.self_attn.q_proj.old_weight_scale_inv", "BF16", (1,), bf16(1.0)),
        near_also=frozenset({"CK208"}),
    ),
    Case("CK203", BLOCK, _plain_fp8_with_short_names, plain_fp8),
    Case(
        "CK204",
        QUARK,
        rename(rf"({_Q})\.weight_scale", r"\1.weight_quantizer.scale"),
        put("model.layers.0.self_attn.q_proj.weight_quantizer.scale", "BF16", (128,), bf16(1.0) * 128),
        near_also=frozenset({"CK208"}),
    ),
    Case(
        "CK204",
        QUARK,
        rename(rf"({_Q})\.weight_scale", r"\1.weight_scale_inv"),
        put("lm_head.weight_scale_inv", "BF16", (32,), bf16(1.0) * 32),
        near_also=frozenset({"CK202"}),
    ),
    Case("CK205", CT, values(r".*\.weight_scale", 1024.0), values(rf"{_Q}\.weight_scale", 0.125)),
    Case(
        "CK210",
        "qwen2/llmcompressor-dynamic",
        drop(r"model\.layers\.1\.self_attn\.k_proj\.bias"),
        values(r"model\.layers\.1\.self_attn\.k_proj\.bias", 0.0),
    ),
    Case(
        "CK206",
        CT,
        rename(r"model\.(.*)", r"language_model.model.\1"),
        rename(r"model\.(layers\.1\..*)", r"language_model.model.\1"),
        near_also=frozenset({"CK114"}),
    ),
    Case(
        "CK206",
        CT,
        rename(r"model\.(layers\..*)", r"\1"),
        steps(rename(r"model\.(layers\..*)", r"\1"), set_config(architectures=["SomeNewModel"])),
    ),
    Case("CK207", MOE, _expert_parts, _shared_experts),
    Case("CK207", CT, _fused_experts, _other_three_dimensional),
    Case("CK208", CT_FP8, _amax, _bias),
    Case("CK208", CT, _adapter, _bias),
    Case(
        "CK208",
        CT,
        rename(rf"({_Q})\.weight_scale", r"\1.act_scale"),
        put("model.layers.0.self_attn.logit_scale", "BF16", (1,), bf16(1.0)),
        frozenset({"CK201"}),
    ),
    Case(
        "CK208",
        QUARK,
        put("model.layers.0.mlp.down_proj.input_rotation", "I8", (8, 8), b"\1" * 64),
        put("model.layers.0.mlp.rotation.weight", "BF16", (64,), bytes(128)),
    ),
)
