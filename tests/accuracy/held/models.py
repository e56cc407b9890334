"""Architectures that no fixture has, names with other prefixes, tied heads, stacked experts, and files."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np

from tests.accuracy.held.common import (
    GEMMA,
    MIXTRAL,
    MIXTRAL_QUARK,
    MODELOPT,
    MODELOPT_KV,
    MODELOPT_MOE,
    OWN,
    PHI3,
    PHI3_QUARK,
    PLAIN_BLOCK,
    PLAIN_MOE,
    QWEN2,
    QWEN2_QUARK,
    QWEN3,
    TIED_MODELOPT,
    TIED_QUARK,
    VL,
    VL_KV,
    Held,
    copied,
    no_side_file,
)
from tests.accuracy.reports import quantize
from tests.damage import (
    CT,
    CT_FP8,
    CT_KV,
    MOE,
    QUARK,
    QUARK_CUSTOM,
    QUARK_FP8,
    QUARK_KV,
    QUARK_MOE,
    QUARK_SHARDED,
    SHARDED,
    TIED,
    Damage,
    MutableCheckpoint,
    drop,
    high_precision,
    put,
    rename,
    set_config,
    steps,
)
from tests.raw import RawTensor

#: Architectures whose tensors are called as Llama's, with keys that theirs need.
_LIKE_LLAMA: dict[str, dict[str, object]] = {
    "mistral": {"architectures": ["MistralForCausalLM"], "sliding_window": None},
    "granite": {
        "architectures": ["GraniteForCausalLM"],
        "embedding_multiplier": 1.0,
        "logits_scaling": 1.0,
        "residual_multiplier": 1.0,
        "attention_multiplier": 0.1767766952966369,
    },
    "smollm3": {"architectures": ["SmolLM3ForCausalLM"], "no_rope_layers": [1, 1], "use_sliding_window": False},
    "ernie4_5": {"architectures": ["Ernie4_5ForCausalLM"], "use_bias": False},
    "seed_oss": {"architectures": ["SeedOssForCausalLM"], "attention_out_bias": False},
    "ministral3": {"architectures": ["Ministral3ForCausalLM"], "sliding_window": None},
}


def _architectures() -> Iterator[Held]:
    for model, keys in _LIKE_LLAMA.items():
        change = set_config(model_type=model, **keys)
        for fixture, name in ((CT, "ct"), (QUARK_FP8, "quark"), (MODELOPT_KV, "modelopt-kv"), (QUARK_CUSTOM, "fp8")):
            yield Held(f"model/{model}/{name}", fixture, change, OWN)
    for name, fixture, model in (
        ("LlamaModel/ct", CT, "LlamaModel"),
        ("LlamaForSequenceClassification/ct", CT, "LlamaForSequenceClassification"),
        ("Qwen3ForSequenceClassification/ct", QWEN3, "Qwen3ForSequenceClassification"),
        ("Qwen2Model/quark", QWEN2_QUARK, "Qwen2Model"),
        ("LlamaModel/modelopt", MODELOPT, "LlamaModel"),
    ):
        yield Held(f"model/{name}", fixture, set_config(architectures=[model]), OWN)


def _prefixes() -> Iterator[Held]:
    bare = rename(r"model\.(.*)", r"\1")
    for name, fixture in (("ct", CT), ("quark", QUARK), ("modelopt", MODELOPT), ("fp8-blocks", PLAIN_BLOCK)):
        yield Held(f"prefix/none/{name}", fixture, bare)
        yield Held(f"prefix/language-model/{name}", fixture, rename(r"model\.(.*)", r"model.language_model.\1"))
        yield Held(f"prefix/language-model-first/{name}", fixture, rename(r"(.*)", r"language_model.\1"))
        yield Held(f"prefix/compiled/{name}", fixture, rename(r"(.*)", r"_orig_mod.\1"))
    base = steps(bare, drop(r"lm_head\.weight"), set_config(architectures=["LlamaModel"]))
    yield Held("prefix/none-of-a-base-model/ct", CT, base)
    base = steps(bare, drop(r"lm_head\.weight"), set_config(architectures=["Qwen2Model"]))
    yield Held("prefix/none-of-a-base-model/quark", QWEN2_QUARK, base)
    older = rename(r"model\.language_model\.(.*)", r"language_model.model.\1")
    yield Held("prefix/older/gemma3-quark", GEMMA, older)
    newer = steps(rename(r"model\.(.*)", r"model.language_model.\1"), rename(r"visual\.(.*)", r"model.visual.\1"))
    for name, fixture in (("vl-ct", VL), ("vl-kv", VL_KV)):
        yield Held(f"prefix/newer/{name}", fixture, newer)
    yield Held("prefix/new-experts/mixtral-ct", MIXTRAL, rename(r"(.*)\.block_sparse_moe\.(.*)", r"\1.mlp.\2"))
    old = rename(r"(.*)\.mlp\.(experts|gate)(.*)", r"\1.block_sparse_moe.\2\3")
    yield Held("prefix/old-experts/mixtral-quark", MIXTRAL_QUARK, old)
    numbered = steps(
        rename(r"(.*experts\.\d+)\.gate_proj\.(.*)", r"\1.w1.\2"),
        rename(r"(.*experts\.\d+)\.down_proj\.(.*)", r"\1.w2.\2"),
        rename(r"(.*experts\.\d+)\.up_proj\.(.*)", r"\1.w3.\2"),
    )
    yield Held("prefix/numbered-experts/mixtral-ct", MIXTRAL, numbered, OWN)
    yield Held("prefix/numbered-experts/mixtral-quark", MIXTRAL_QUARK, steps(old, numbered), OWN)
    yield Held("prefix/numbered-experts/qwen3-modelopt", MODELOPT_MOE, numbered, OWN)


def _stacked(scale: str) -> Damage:
    """Experts of a layer as one tensor each: gate and up merged, in the order of the config's newer classes."""

    def change(checkpoint: MutableCheckpoint) -> None:
        for layer in range(2):
            base = f"model.layers.{layer}.mlp.experts"
            for ending in ("weight", scale):

                def parts(part: str, ending: str = ending, base: str = base) -> list[RawTensor]:
                    return [checkpoint.get(f"{base}.{n}.{part}_proj.{ending}") for n in range(4)]

                gate, up, down = parts("gate"), parts("up"), parts("down")
                tail = "" if ending == "weight" else ending.removeprefix("weight")
                merged = b"".join(g.data + u.data for g, u in zip(gate, up, strict=True))
                first = gate[0]
                checkpoint.put(
                    f"{base}.gate_up_proj{tail}", first.dtype, (4, 2 * first.shape[0], *first.shape[1:]), merged
                )
                data = b"".join(d.data for d in down)
                checkpoint.put(f"{base}.down_proj{tail}", down[0].dtype, (4, *down[0].shape), data)
        checkpoint.drop(r"model\.layers\.\d+\.mlp\.experts\.\d+\..*")

    return change


def _experts() -> Iterator[Held]:
    yield Held("experts/stacked/ct", MOE, _stacked("weight_scale"))
    yield Held("experts/stacked/quark", QUARK_MOE, _stacked("weight_scale"))
    yield Held("experts/stacked/fp8-blocks", PLAIN_MOE, _stacked("weight_scale_inv"))
    plain = high_precision(r"model\.layers\.\d+\.mlp\.experts\.\d+\.\w+")
    pattern = ["re:.*experts.*"]
    yield Held("experts/plain-and-listed/ct", MOE, steps(plain, lambda c: c.block["ignore"].extend(pattern)), OWN)
    yield Held("experts/plain-and-not-listed/ct", MOE, plain, OWN)
    yield Held("experts/plain-and-not-listed/quark", QUARK_MOE, plain, OWN)
    yield Held("experts/plain-and-not-listed/modelopt", MODELOPT_MOE, plain, OWN)
    attention = high_precision(r"model\.layers\.\d+\.self_attn\.\w+_proj")
    for name, fixture, key, entry in (
        ("ct", MOE, "ignore", "re:.*self_attn.*"),
        ("quark", QUARK_MOE, "exclude", "*self_attn*"),
        ("modelopt", MODELOPT_MOE, "ignore", "*self_attn*"),
        ("modelopt-prefix", MODELOPT_MOE, "ignore", "model.layers.*.self_attn"),
    ):
        change = steps(no_side_file, attention, lambda c, k=key, e=entry: c.block[k].append(e))  # type: ignore[misc]
        yield Held(f"experts/only-quantized/{name}", fixture, change, OWN)
    router = steps(no_side_file, quantize(r"model\.layers\.0\.mlp\.gate", lambda rows: ()))
    yield Held("experts/router-quantized-and-listed/modelopt", MODELOPT_MOE, router, OWN)
    shared = put("model.layers.0.mlp.shared_expert.down_proj.weight", "BF16", (64, 32), bytes(4096))
    yield Held("experts/shared-too/ct", MOE, shared)


def _prediction() -> Iterator[Held]:
    for name, fixture in (("ct", QWEN3), ("quark", QUARK), ("modelopt", MODELOPT), ("fp8-blocks", PLAIN_BLOCK)):
        mtp = put("mtp.layers.0.mlp.down_proj.weight", "BF16", (64, 80), bytes(2 * 64 * 80))
        yield Held(f"mtp/plain/{name}", fixture, mtp)
        layer = copied(r"model\.layers\.0\..*", lambda n: n.replace("layers.0", "layers.2"))
        yield Held(f"mtp/layer/{name}", fixture, steps(layer, set_config(num_nextn_predict_layers=1)))
    quantized = put("mtp.layers.0.mlp.down_proj.weight", "F8_E4M3", (64, 80), bytes([0x30]) * 64 * 80)
    scale = put("mtp.layers.0.mlp.down_proj.weight_scale", "BF16", (64, 1), b"\x80\x3a" * 64)
    yield Held("mtp/quantized/ct", QWEN3, steps(quantized, scale))


def _heads() -> Iterator[Held]:
    head = copied(r"model\.embed_tokens\.weight", lambda n: "lm_head.weight")

    for name, fixture in (("ct", TIED), ("modelopt", TIED_MODELOPT), ("quark", TIED_QUARK)):
        yield Held(f"tied/stored-too/{name}", fixture, head)
        yield Held(f"tied/not-said/{name}", fixture, set_config(tie_word_embeddings=False))
        yield Held(f"tied/key-missing/{name}", fixture, set_config(tie_word_embeddings=None))
    yield Held("tied/only-the-head/ct", TIED, rename(r"model\.embed_tokens\.weight", "lm_head.weight"))
    for name, fixture in (("ct", QWEN2), ("quark", QUARK)):
        yield Held(f"tied/said-of-two/{name}", fixture, set_config(tie_word_embeddings=True))
    norm = r"model\.layers\.0\.input_layernorm\.weight"
    for name, fixture in (("modelopt", MODELOPT), ("quark", QUARK)):
        yield Held(f"small/norm-in-fp8/{name}", fixture, lambda c: c.change(norm, _as_codes))
    bias = r"model\.layers\.0\.self_attn\.q_proj\.bias"
    yield Held("small/bias-in-fp8/qwen2-ct", QWEN2, lambda c: c.change(bias, _as_codes))
    extra = put("model.layers.0.self_attn.q_proj.bias", "BF16", (128,), bytes(256))
    for name, fixture in (("ct", CT), ("quark", QUARK_FP8), ("modelopt", MODELOPT)):
        yield Held(f"small/bias-too/{name}", fixture, extra)
    inverse = put("model.layers.0.self_attn.rotary_emb.inv_freq", "F32", (16,), np.ones(16, np.float32).tobytes())
    for name, fixture in (("ct", CT), ("quark", QUARK), ("modelopt", MODELOPT), ("fp8-blocks", PLAIN_BLOCK)):
        yield Held(f"small/inv-freq/{name}", fixture, inverse)
    for name, fixture in (("ct", PHI3), ("quark", PHI3_QUARK)):
        yield Held(
            f"small/extra-scale/phi3-{name}",
            fixture,
            copied(r".*qkv_proj\.weight_scale", lambda n: n.replace("weight_scale", "input_scale")),
        )


def _as_codes(tensor: RawTensor) -> RawTensor:
    return RawTensor("F8_E4M3", tensor.shape, bytes([0x38]) * (len(tensor.data) // 2))


def _files() -> Iterator[Held]:
    for name, fixture in (("ct", SHARDED), ("quark", QUARK_SHARDED)):
        yield Held(f"files/last-shard-missing/{name}", fixture, _without_last)
        yield Held(f"files/index-gone/{name}", fixture, lambda c: setattr(c, "index", None))
        yield Held(f"files/index-lacks-scales/{name}", fixture, _index_without(".weight_scale"))
        yield Held(f"files/index-lacks-a-norm/{name}", fixture, _index_without("1.input_layernorm.weight"))
        yield Held(f"files/stored-twice/{name}", fixture, _twice(False))
        yield Held(f"files/stored-twice-otherwise/{name}", fixture, _twice(True))
        yield Held(f"files/index-names-more/{name}", fixture, _index_names("model.layers.0.mlp.up_proj.bias"))
        yield Held(f"files/index-points-elsewhere/{name}", fixture, _elsewhere)
    for name, fixture in (("ct", CT_FP8), ("modelopt", MODELOPT), ("quark", QUARK_KV)):
        yield Held(f"files/renamed-shard/{name}", fixture, _renamed)
        yield Held(f"files/consolidated-too/{name}", fixture, _consolidated)
        yield Held(f"files/index-of-one/{name}", fixture, lambda c: c.true_index() and None)
    yield Held("files/second-file-alone/ct", CT_KV, _second_file)


def _without_last(checkpoint: MutableCheckpoint) -> None:
    del checkpoint.shards[max(checkpoint.shards)]


def _index_without(ending: str) -> Damage:
    def change(checkpoint: MutableCheckpoint) -> None:
        assert checkpoint.index is not None
        places = checkpoint.index["weight_map"]
        checkpoint.index["weight_map"] = {name: shard for name, shard in places.items() if not name.endswith(ending)}

    return change


def _index_names(name: str) -> Damage:
    def change(checkpoint: MutableCheckpoint) -> None:
        assert checkpoint.index is not None
        checkpoint.index["weight_map"][name] = min(checkpoint.shards)

    return change


def _elsewhere(checkpoint: MutableCheckpoint) -> None:
    assert checkpoint.index is not None
    name = next(name for name in checkpoint.index["weight_map"] if name.endswith("layers.1.mlp.down_proj.weight"))
    here = checkpoint.index["weight_map"][name]
    checkpoint.index["weight_map"][name] = next(shard for shard in checkpoint.shards if shard != here)


def _twice(otherwise: bool) -> Damage:
    def change(checkpoint: MutableCheckpoint) -> None:
        name = "model.layers.0.mlp.down_proj.weight"
        tensor = checkpoint.get(name)
        data = tensor.data[::-1] if otherwise else tensor.data
        checkpoint.shards[max(checkpoint.shards)][name] = tensor._replace(data=data)

    return change


def _renamed(checkpoint: MutableCheckpoint) -> None:
    checkpoint.shards["weights.safetensors"] = checkpoint.shards.pop("model.safetensors")


def _consolidated(checkpoint: MutableCheckpoint) -> None:
    tensors = checkpoint.tensors
    name = "model.layers.0.mlp.down_proj.weight"
    changed = {**tensors, name: tensors[name]._replace(data=tensors[name].data[::-1])}
    checkpoint.shards["consolidated.safetensors"] = changed


def _second_file(checkpoint: MutableCheckpoint) -> None:
    """Scales in a file of their own that no index names."""
    tensors = checkpoint.tensors
    scales = {name: tensors.pop(name) for name in list(tensors) if name.endswith("_scale")}
    checkpoint.shards["scales.safetensors"] = scales
    checkpoint.files["README.md"] = json.dumps("quantized").encode()


MODELS = (*_architectures(), *_prefixes(), *_experts(), *_prediction(), *_heads(), *_files())
