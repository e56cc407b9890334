"""Cases of the rules about skip lists, and about what should stand in them."""

from __future__ import annotations

from tests.damage import (
    CT,
    MOE,
    QUARK,
    QUARK_CUSTOM,
    QUARK_MOE,
    Damage,
    MutableCheckpoint,
    high_precision,
    set_block,
)
from tests.rules.case import Case
from tests.rules.cases.config import fp8_module, plain_module


def _router(checkpoint: MutableCheckpoint) -> None:
    checkpoint.block["ignore"] = ["lm_head"]


def _router_by_name(checkpoint: MutableCheckpoint) -> None:
    checkpoint.block["ignore"] = ["lm_head", *(f"model.layers.{layer}.mlp.gate" for layer in range(2))]


def _prediction_layer(listed: bool) -> Damage:
    def change(checkpoint: MutableCheckpoint) -> None:
        checkpoint.put("model.layers.2.eh_proj.weight", "BF16", (64, 128), bytes(2 * 64 * 128))
        checkpoint.config["num_nextn_predict_layers"] = 1
        if listed:
            checkpoint.block["ignore"].append("model.layers.2.eh_proj")

    return change


def _head(method: str) -> Damage:
    """The output head in FP8, with a scale as the format stores it."""

    def change(checkpoint: MutableCheckpoint) -> None:
        checkpoint.change(r"lm_head\.weight", lambda t: t._replace(dtype="F8_E4M3", data=_CODES[: len(t.data) // 2]))
        checkpoint.put("lm_head.weight_scale", "BF16", (32, 1) if method == "ct" else (32,), b"\x80\x3a" * 32)
        checkpoint.block["ignore" if method == "ct" else "exclude"] = []

    return change


def _quark_score(checkpoint: MutableCheckpoint) -> None:
    """A classifier on top of the decoder, in FP8 per channel: a head, and not the output head."""
    checkpoint.put("model.score.weight", "F8_E4M3", (32, 64), bytes([0x30]) * 2048)
    checkpoint.put("model.score.weight_scale", "BF16", (32,), b"\x80\x3a" * 32)


#: What comes with the name of a fused layer on a skip list, where not every engine knows it.
_FUSED = frozenset({"CK605", "CK608"})
#: Codes of several sizes, as many as any module here has.
_CODES = bytes([0x30, 0x35, 0x28, 0xB1, 0x3A, 0x2C, 0xA9]) * 512


def _router_fp8(checkpoint: MutableCheckpoint) -> None:
    checkpoint.change(r".*\.mlp\.gate\.weight", lambda t: t._replace(dtype="F8_E4M3", data=_CODES[: len(t.data) // 2]))
    for layer in range(2):
        checkpoint.put(f"model.layers.{layer}.mlp.gate.weight_scale", "BF16", (4, 1), b"\x80\x3a" * 4)
    checkpoint.block["ignore"] = ["lm_head"]


def _fused_entry(checkpoint: MutableCheckpoint) -> None:
    high_precision(r"model\.layers\.0\.self_attn\.[qkv]_proj")(checkpoint)
    checkpoint.block["ignore"].append("model.layers.0.self_attn.qkv_proj")


def _fused_entry_and_parts(checkpoint: MutableCheckpoint) -> None:
    high_precision(r"model\.layers\.0\.self_attn\.[qkv]_proj")(checkpoint)
    checkpoint.block["ignore"] += [f"model.layers.0.self_attn.{part}" for part in ("q_proj", "k_proj", "v_proj")]


def _expert_leaves(container: bool) -> Damage:
    def change(checkpoint: MutableCheckpoint) -> None:
        high_precision(r"model\.layers\.0\.mlp\.experts\.\d+\.\w+")(checkpoint)
        owner = "model.layers.0.mlp.experts"
        parts = ("gate_proj", "up_proj", "down_proj")
        checkpoint.block["ignore"] += [f"{owner}.{expert}.{part}" for expert in range(4) for part in parts]
        if container:
            checkpoint.block["ignore"].append(owner)

    return change


def _glob(checkpoint: MutableCheckpoint) -> None:
    high_precision(r"model\.layers\.\d+\.mlp\.down_proj")(checkpoint)
    checkpoint.block["exclude"].append("*down_proj")


def _names_for_glob(checkpoint: MutableCheckpoint) -> None:
    high_precision(r"model\.layers\.\d+\.mlp\.down_proj")(checkpoint)
    checkpoint.block["exclude"] += [f"model.layers.{layer}.mlp.down_proj" for layer in range(2)]


def _class_name(checkpoint: MutableCheckpoint) -> None:
    checkpoint.block["ignore"] = ["LinearBase"]


CASES = (
    Case("CK605", MOE, _router, _router_by_name),
    Case(
        "CK605",
        QUARK_MOE,
        set_block(exclude=["lm_head"]),
        set_block(exclude=["lm_head", "*mlp.gate"]),
        near_also=frozenset({"CK608"}),
    ),
    Case(
        "CK606",
        CT,
        set_block(ignore=["lm_head", "re:.*mlp.*"]),
        set_block(ignore=["lm_head", "re:mlp.*"]),
        frozenset({"CK202"}),
        frozenset({"CK607"}),
    ),
    Case(
        "CK607",
        CT,
        set_block(ignore=["lm_head", "visual.blocks.0.attn.qkv"]),
        set_block(ignore=["lm_head", "model.norm"]),
    ),
    Case("CK608", QUARK, _glob, _names_for_glob),
    Case(
        "CK608",
        CT,
        _class_name,
        set_block(ignore=["lm_head", "Conv1d"]),
        frozenset({"CK202", "CK606", "CK607"}),
        frozenset({"CK607"}),
    ),
    Case("CK609", QUARK_CUSTOM, set_block(modules_to_not_convert=[]), set_block(modules_to_not_convert=["lm_head"])),
    Case("CK610", CT, _fused_entry, _fused_entry_and_parts, _FUSED, frozenset({"CK608"})),
    Case("CK610", MOE, _expert_leaves(False), _expert_leaves(True)),
    Case("CK611", CT, _head("ct"), fp8_module("model.lm_head.adapter", (32, 64))),
    Case("CK611", QUARK, _head("quark"), _quark_score),
    Case(
        "CK612",
        CT,
        fp8_module("visual.blocks.0.attn.proj", (64, 64)),
        plain_module("visual.blocks.0.attn.proj", (64, 64)),
    ),
    Case("CK613", MOE, _router_fp8, _router_by_name, frozenset({"CK310"})),
    Case("CK614", CT, _prediction_layer(False), _prediction_layer(True)),
    Case(
        "CK615",
        CT,
        fp8_module("model.layers.2.eh_proj", (64, 128)),
        plain_module("model.layers.2.eh_proj", (64, 128)),
    ),
)
