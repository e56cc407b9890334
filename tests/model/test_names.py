"""What module names say, name by name."""

from __future__ import annotations

import pytest

from ckptkit.model import names

LAYER = "model.layers.0"


@pytest.mark.parametrize(
    ("module", "part", "name"), [("a.b", "c", "a.b.c"), ("a", "b", "a.b"), ("", "lm_head", "lm_head")]
)
def test_names_of_children(module: str, part: str, name: str) -> None:
    assert names.join(module, part) == name
    assert (names.parent(name), names.last_part(name)) == (module, part)


@pytest.mark.parametrize(
    ("module", "fused"),
    [
        (f"{LAYER}.self_attn.q_proj", f"{LAYER}.self_attn.qkv_proj"),
        (f"{LAYER}.self_attn.v_proj", f"{LAYER}.self_attn.qkv_proj"),
        (f"{LAYER}.mlp.gate_proj", f"{LAYER}.mlp.gate_up_proj"),
        (f"{LAYER}.mlp.up_proj", f"{LAYER}.mlp.gate_up_proj"),
        ("experts.3.w3", "experts.3.w13"),
        ("q_proj", "qkv_proj"),
        (f"{LAYER}.mlp.down_proj", None),
        ("experts.3.w2", None),
    ],
)
def test_fused_layers(module: str, fused: str | None) -> None:
    assert names.fused_layer(module) == fused
    if fused is not None:
        assert names.stored_parts(fused, {module, "other"}) == [module]


@pytest.mark.parametrize(
    ("chosen", "stored", "whole"),
    [
        ("b.k_proj b.q_proj a.up_proj a.gate_proj", "", "a.gate_up_proj b.qkv_proj"),
        ("l.10.q_proj l.10.k_proj l.2.q_proj l.2.k_proj", "", "l.2.qkv_proj l.10.qkv_proj"),
        ("a.q_proj a.k_proj", "a.v_proj", ""),
        ("a.q_proj", "", ""),
        ("a.qkv_proj a.q_proj a.k_proj", "", ""),
        ("m.experts.0.up_proj m.experts.0.gate_proj", "", ""),
        ("m.experts.0.up_proj m.experts.0.gate_proj z.k_proj z.v_proj", "", "z.qkv_proj"),
        ("a.down_proj z.k_proj z.v_proj", "", "z.qkv_proj"),
    ],
)
def test_layers_of_which_every_part_is_chosen(chosen: str, stored: str, whole: str) -> None:
    wanted = set(chosen.split())
    assert list(names.whole_layers(wanted, wanted | set(stored.split()))) == whole.split()


def test_parts_come_in_the_order_of_the_layer() -> None:
    assert names.stored_parts("a.qkv_proj", {"a.v_proj", "a.q_proj", "b.k_proj"}) == ["a.q_proj", "a.v_proj"]
    assert names.stored_parts("a.o_proj", {"a.o_proj"}) == []


@pytest.mark.parametrize(
    ("module", "head", "router", "owner"),
    [
        ("lm_head", True, False, None),
        ("language_model.lm_head", True, False, None),
        ("model.my_lm_head", False, False, None),
        ("model.layers.61.shared_head.head", True, False, None),
        ("head", True, False, None),
        ("model.head", False, False, None),
        (f"{LAYER}.mlp.gate", False, True, None),
        (f"{LAYER}.block_sparse_moe.gate", False, True, None),
        (f"{LAYER}.feed_forward.router", False, True, None),
        (f"{LAYER}.router.proj", False, True, None),
        (f"{LAYER}.router.classifier", False, True, None),
        (f"{LAYER}.mlp.shared_expert_gate", False, True, None),
        (f"{LAYER}.self_attn.gate", False, False, None),
        (f"{LAYER}.self_attn.o_proj", False, False, None),
        (f"{LAYER}.mlp.experts.3.gate_proj", False, False, f"{LAYER}.mlp.experts"),
        (f"{LAYER}.mlp.experts.gate_up_proj", False, False, None),
        (f"{LAYER}.mlp.shared_experts.0.up_proj", False, False, None),
    ],
)
def test_heads_routers_and_experts(module: str, head: bool, router: bool, owner: str | None) -> None:
    assert (names.is_head(module), names.is_router(module), names.experts_owner(module)) == (head, router, owner)


@pytest.mark.parametrize(
    ("module", "tower"),
    [
        ("visual.blocks.0.mlp", "visual"),
        ("model.vision_tower.encoder.layers.0", "vision_tower"),
        ("model.multi_modal_projector.linear_1", "multi_modal_projector"),
        ("audio_encoder.fc1", "audio_encoder"),
        ("encoder.layers.0.fc1", "encoder"),
        ("model.encoder.layers.0.fc1", None),
        ("model.layers.0.revision", None),
    ],
)
def test_towers(module: str, tower: str | None) -> None:
    assert names.other_tower(module) == tower


def test_modules_with_a_cache() -> None:
    owners = [f"{LAYER[:-1]}{n}.self_attn" for n in (10, 2, 1)]
    modules = [f"{owners[0]}.k_proj", f"{owners[1]}.kv_b_proj", f"{owners[2]}.qkv_proj", f"{owners[2]}.o_proj"]
    towers = ["visual.blocks.0.attn.qkv", f"{LAYER}.mlp.up_proj"]
    assert names.attention_modules([*modules, *towers]) == tuple(reversed(owners))


MOVED = {"architectures": ["LlavaForConditionalGeneration"]}


@pytest.mark.parametrize(
    ("stored", "config", "moved"),
    [
        ("visual.a model.layers.0.b lm_head", MOVED, "model.visual.a model.language_model.layers.0.b -"),
        (
            "language_model.model.layers.0.b language_model.lm_head vision_tower.a",
            MOVED,
            "model.language_model.layers.0.b lm_head model.vision_tower.a",
        ),
        ("visual.a model.embed_tokens model.norm model.other", MOVED, None),
        ("visual.a language_model.other", MOVED, "model.visual.a -"),
        ("model.layers.0.b lm_head", MOVED, "- -"),
        ("visual.a", {**MOVED, "auto_map": {}}, "-"),
        ("visual.a", {"architectures": ["LlavaForCausalLM"]}, "-"),
        ("visual.a", {"architectures": ["Llama4ForConditionalGeneration"]}, "-"),
        ("visual.a", {"architectures": "LlavaForConditionalGeneration"}, "-"),
        ("visual.a", {"architectures": [None]}, "-"),
        ("visual.a", {"architectures": []}, "-"),
        ("visual.a", {}, "-"),
        ("model.visual.a model.language_model.layers.0.b", MOVED, "- -"),
    ],
)
def test_names_in_memory(stored: str, config: dict[str, object], moved: str | None) -> None:
    if moved is None:
        moved = "model.visual.a model.language_model.embed_tokens model.language_model.norm -"
    pairs = zip(stored.split(), moved.split(), strict=True)
    assert names.in_memory(stored.split(), config) == {module: other for module, other in pairs if other != "-"}


@pytest.mark.parametrize(
    ("name", "common"),
    [
        (f"{LAYER}.block_sparse_moe.experts.3.w1", f"{LAYER}.mlp.experts.3.gate_proj"),
        (f"{LAYER}.block_sparse_moe.experts.3.w3", f"{LAYER}.mlp.experts.3.up_proj"),
        (f"{LAYER}.block_sparse_moe.gate", f"{LAYER}.mlp.gate"),
        (f"{LAYER}.mlp.experts.3.up_proj", f"{LAYER}.mlp.experts.3.up_proj"),
        (f"{LAYER}.mlp.w1", f"{LAYER}.mlp.w1"),
    ],
)
def test_mixtrals_names(name: str, common: str) -> None:
    assert names.common(name) == common


@pytest.mark.parametrize(
    ("name", "general"),
    [
        ("model.layers.17.mlp.experts.3.up_proj", "model.layers.*.mlp.experts.*.up_proj"),
        ("0", "*"),
        ("a.0", "a.*"),
        ("a.0.b", "a.*.b"),
        ("1.2.3", "*.*.*"),
        ("layer1.conv2d.w3", "layer1.conv2d.w3"),
        ("", ""),
    ],
)
def test_names_of_all_layers(name: str, general: str) -> None:
    assert names.generalise(name) == general
