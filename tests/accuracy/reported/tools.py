"""What reports to the tools that write and read checkpoints are about."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from tests.accuracy.again.drawn import in_fp8
from tests.accuracy.again.hub import blocks, channels, kv_scales, ordered, quark
from tests.accuracy.held.common import (
    MODELOPT,
    MODELOPT_KV,
    OWN,
    PLAIN_BLOCK,
    QWEN2,
    QWEN3,
    VL,
    Held,
    listed,
)
from tests.accuracy.reported.merged import HUB, MERGED, in_bf16, short
from tests.damage import (
    CT_KV,
    QUARK,
    QUARK_FP8,
    QUARK_KV,
    QUARK_SHARDED,
    SHARDED,
    Damage,
    MutableCheckpoint,
    drop,
    f32,
    put,
    rename,
    set_block,
    set_config,
    steps,
)
from tests.raw import RawTensor

_LAST = "model.layers.0.mlp.down_proj"
_KV_SCHEME = {"num_bits": 8, "type": "float", "strategy": "tensor", "dynamic": False, "symmetric": True}


def _names() -> Iterator[Held]:
    """Scales under the exporter's own names, and tensors of its own that were saved too."""
    # amd/Quark#44, vllm-project/vllm#49420: named after the quantizer.
    named = rename(r"(.*)\.(weight|input|output)_scale", r"\1.\2_quantizer.scale")
    for name, base in (
        ("ptpc", QUARK),
        ("tensor", QUARK_FP8),
        ("kv", QUARK_KV),
        ("deepseek-v3", f"{HUB}deepseek-v3/quark"),
        ("qwen3-vl", f"{HUB}qwen3-vl/quark"),
    ):
        yield Held(f"quantizer-names/{name}", base, named)
    # NVIDIA/Model-Optimizer#2038, intel/auto-round#2103: what calibration left.
    yield Held("leaked/amax/modelopt", MODELOPT, put(f"{_LAST}.input_quantizer._amax", "F32", (), f32(3.0)))
    amax = put("model.layers.1.mlp.experts.0.up_proj.weight_quantizer._amax", "F32", (128, 1), f32(*[1.0] * 128))
    yield Held("leaked/amax/glm4-moe-modelopt", f"{HUB}glm4-moe/modelopt", amax)
    smooth = put(f"{_LAST}.pre_quant_scale", "BF16", (80,), b"\x80\x3f" * 80)
    yield Held("leaked/pre-quant-scale/modelopt", MODELOPT, smooth)
    yield Held("leaked/q-max/ct-kv", CT_KV, put("model.layers.0.self_attn.q_max", "BF16", (1,), b"\x80\x3f"))
    yield Held("leaked/observer/quark", QUARK, put(f"{_LAST}.weight_observer.min_val", "F32", (1,), f32(-1.0)))
    kind = json.dumps({"format": "float8_e4m3fn"}).encode()
    yield Held("leaked/comfy-quant/fp8-blocks", PLAIN_BLOCK, put(f"{_LAST}.comfy_quant", "U8", (len(kind),), kind))
    yield Held("leaked/weight-shape/ct", QWEN3, put(f"{_LAST}.weight_shape", "I64", (2,), bytes(16)))
    # deepseek-ai/DeepSeek-V3: names of its own code for inference.
    yield Held("native-names/all/deepseek-v3-fp8", f"{HUB}deepseek-v3/fp8", _native)
    yield Held(
        "native-names/scale/deepseek-v3-fp8", f"{HUB}deepseek-v3/fp8", rename(r"(.*)\.weight_scale_inv", r"\1.scale")
    )
    # unslothai/unsloth#2086, sgl-project/sglang#38618: the text model alone, with the wrapper's names.
    first = rename(r"(model\..*|lm_head\..*)", r"language_model.\1")
    inside = rename(r"model\.(.*)", r"model.language_model.\1")
    for name in ("gemma3/ct", "gemma3/modelopt", "qwen3.5/fp8"):
        yield Held(f"wrapper-names/language-model-first/{short(name)}", f"{HUB}{name}", first)
        yield Held(f"wrapper-names/model-first/{short(name)}", f"{HUB}{name}", inside)


def _native(checkpoint: MutableCheckpoint) -> None:
    parts = {
        "self_attn": "attn",
        "mlp": "ffn",
        "weight_scale_inv": "scale",
        "e_score_correction_bias": "bias",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "q_a_proj": "wq_a",
        "q_a_layernorm": "q_norm",
        "q_b_proj": "wq_b",
        "kv_a_proj_with_mqa": "wkv_a",
        "kv_a_layernorm": "kv_norm",
        "kv_b_proj": "wkv_b",
        "o_proj": "wo",
        "gate_proj": "w1",
        "down_proj": "w2",
        "up_proj": "w3",
        "embed_tokens": "embed",
        "lm_head": "head",
    }
    for file, tensors in checkpoint.shards.items():
        checkpoint.shards[file] = {
            ".".join(parts.get(part, part) for part in name.removeprefix("model.").split(".")): tensor
            for name, tensor in tensors.items()
        }


def _kv() -> Iterator[Held]:
    """Scales of the cache that are not 1, under three names (sglang#39942, vllm#25047, llm-compressor#2176)."""
    for name, base in (("qwen2", QWEN2), ("qwen3", QWEN3), ("glm4", f"{HUB}glm4/ct")):
        made = steps(
            set_block(kv_cache_scheme=_KV_SCHEME),
            kv_scales,
            lambda c: c.change(r".*\.[kv]_scale", lambda t: RawTensor("BF16", (1,), b"\x80\x3d")),
            rename(r"(.*)\.[kv]_proj\.([kv])_scale", r"\1.\2_scale"),
            ordered,
        )
        yield Held(f"kv/usual/{name}", base, made, OWN)
        usual = f"reported/kv/usual/{name}"
        yield Held(f"kv/on-the-merged/{name}", usual, rename(r"(.*)\.([kv])_scale", r"\1.qkv_proj.\2_scale"))
        yield Held(f"kv/on-projections/{name}", usual, rename(r"(.*)\.([kv])_scale", r"\1.\2_proj.\2_scale"))
        one = steps(drop(r".*\.v_scale"), rename(r"(.*)\.k_scale", r"\1.kv_scale"))
        yield Held(f"kv/one-for-both/{name}", usual, one)
        # intel/auto-round#2370
        yield Held(f"kv/under-attention/{name}", usual, rename(r"(.*)\.([kv])_scale", r"\1.attn.\2_scale"))
    merged = rename(r"(.*)\.[kv]_proj\.([kv])_scale", r"\1.qkv_proj.\2_scale")
    yield Held("kv/on-the-merged/llama-modelopt", MODELOPT_KV, merged)


def _stored(entry: str, key: str) -> Damage:
    return listed(key, entry)


def _lists() -> Iterator[Held]:
    """Lists that the exporter did not follow, or wrote in other names than engines ask for."""
    # vllm-project/compressed-tensors#712: listed, and quantized when saved.
    for name, key, entry in (
        ("glm4-moe/ct", "ignore", "re:.*shared_experts.*"),
        ("exaone4/ct", "ignore", "re:.*self_attn.*"),
        ("deepseek-v3/fp8", "modules_to_not_convert", "model.layers.0.self_attn.o_proj"),
        ("olmo2/quark", "exclude", "*down_proj"),
        ("falcon-h1/ct", "ignore", "re:.*feed_forward.down_proj"),
    ):
        yield Held(f"listed-and-quantized/{short(name)}", f"{HUB}{name}", _stored(entry, key))
    # amd/Quark#42: excluded layers stay in blocks of FP8, as they were.
    kept = r"model\.layers\.\d\.self_attn\.o_proj"
    names = [f"model.layers.{layer}.self_attn.o_proj" for layer in range(2)]
    left = steps(in_bf16(kept), listed("exclude", *names))
    for scale in ("weight_scale", "weight_scale_inv"):
        change = steps(left, in_fp8("block", scale, only=kept), ordered)
        yield Held(f"excluded-in-fp8/{scale}/deepseek-v3-quark", f"{HUB}deepseek-v3/quark", change, OWN)
    yield Held("excluded-in-fp8/in-bf16/deepseek-v3-quark", f"{HUB}deepseek-v3/quark", left, OWN)
    # sgl-project/sglang#24929: entries with one part more.
    for name, base in (("vl-ct", VL), ("qwen3-vl-ct", f"{HUB}qwen3-vl/ct")):
        yield Held(f"tower-listed/with-linear/{name}", base, _towers_listed(r"\g<0>.linear"))
        yield Held(f"tower-listed/by-names/{name}", base, _towers_listed(r"\g<0>"))
    # vllm-project/vllm#54547: names of the checkpoint, where modules are called otherwise.
    yield Held("tower-listed/by-names/qwen3-vl-quark", f"{HUB}qwen3-vl/quark", _towers_listed(r"\g<0>"))
    tower = quark(("language_model.lm_head", "vision_tower.*", "multi_modal_projector.*"))
    made = steps(tower, ordered)
    yield Held("tower-listed/by-glob/mistral3-quark", "drawn/mistral3", made, OWN)
    yield Held("tower-listed/by-names/mistral3-quark", "drawn/mistral3", steps(made, _towers_listed(r"\g<0>")), OWN)
    # huggingface/transformers#48349: the text model alone, with the wrapper's list.
    inside = _renamed_list(r"model\.(.*)", r"model.language_model.\1")
    for name in ("qwen3.5/fp8", "qwen3.5-moe/fp8"):
        yield Held(f"text-alone/wrapper-list/{short(name)}", f"{HUB}{name}", inside)
        both = steps(_both_lists, ordered)
        yield Held(f"text-alone/both-lists/{short(name)}", f"{HUB}{name}", both)
    # vllm-project/vllm#41457, vllm#25378, llm-compressor#1988: parts of what engines merge.
    skipped = "modules_to_not_convert"
    for name, key, layer, first, second in (
        ("qwen3.5/fp8", skipped, "layers.0.linear_attn", "in_proj_z", "in_proj_qkv"),
        ("deepseek-v3/ct", "ignore", "layers.0.self_attn", "q_a_proj", "kv_a_proj_with_mqa"),
        ("deepseek-v3/fp8", skipped, "layers.1.self_attn", "q_a_proj", "kv_a_proj_with_mqa"),
        ("exaone4/fp8", skipped, "layers.0.mlp", "gate_proj", "up_proj"),
    ):
        base = f"{HUB}{name}"
        one, two = f"model.{layer}.{first}", f"model.{layer}.{second}"
        yield Held(f"merged-parts/one/{short(name)}", base, steps(in_bf16(re.escape(one)), listed(key, one)), OWN)
        all_of = f"({re.escape(one)}|{re.escape(two)})"
        yield Held(f"merged-parts/all/{short(name)}", base, steps(in_bf16(all_of), listed(key, one, two)), OWN)


def _towers_listed(spelled: str) -> Damage:
    """Every linear layer of a tower by its name, as the pattern spells it, in the place of patterns."""

    def change(checkpoint: MutableCheckpoint) -> None:
        key = "exclude" if "exclude" in checkpoint.block else "ignore"
        names = [
            re.sub(r".*", spelled, name.removesuffix(".weight"), count=1)
            for name, tensor in checkpoint.everything().items()
            if name.endswith(".weight")
            and len(tensor.shape) == 2
            and re.search(r"visual|vision_tower|multi_modal_projector", name)
        ]
        head = next(n.removesuffix(".weight") for n in checkpoint.everything() if n.endswith("lm_head.weight"))
        checkpoint.block[key] = [*names, head]

    return change


def _renamed_list(pattern: str, to: str) -> Damage:
    def change(checkpoint: MutableCheckpoint) -> None:
        entries = checkpoint.block["modules_to_not_convert"]
        checkpoint.block["modules_to_not_convert"] = [re.sub(f"^{pattern}$", to, entry) for entry in entries]

    return change


def _both_lists(checkpoint: MutableCheckpoint) -> None:
    entries = list(checkpoint.block["modules_to_not_convert"])
    _renamed_list(r"model\.(.*)", r"model.language_model.\1")(checkpoint)
    checkpoint.block["modules_to_not_convert"] += entries


def _towers() -> Iterator[Held]:
    """Towers, projectors and heads that a recipe quantized by accident, or meant to."""
    # vllm-project/llm-compressor#1306, vllm#19424: no entry matched the tower.
    rows = in_fp8("row", only=r"vision_tower\..*")
    for name in ("mistral3/ct", "llava/ct"):
        base = f"{HUB}{name}"
        none = listed("ignore", "re:.*lm_head", add=False)
        yield Held(f"tower-in-fp8/not-listed/{short(name)}", base, steps(rows, none, ordered), OWN)
        yield Held(f"tower-in-fp8/listed/{short(name)}", base, steps(rows, ordered), OWN)
        only_tower = listed("ignore", *_TOWER, add=False)
        projector = steps(in_fp8("row", only=r"multi_modal_projector\..*"), only_tower, ordered)
        yield Held(f"projector-in-fp8/{short(name)}", base, projector, OWN)
    head_alone = listed("ignore", "re:.*lm_head", add=False)
    visual = steps(in_fp8("row", only=r"model\.visual\.blocks\..*"), head_alone, ordered)
    yield Held("tower-in-fp8/not-listed/qwen3-vl-ct", f"{HUB}qwen3-vl/ct", visual, OWN)
    # vllm-project/llm-compressor#1428: "lm_head" is no name of a wrapper's head.
    entries = listed("ignore", "lm_head", *_TOWER[1:], "re:multi_modal.*", add=False)
    head = steps(_head("row", "weight_scale", "BF16"), entries)
    yield Held("head-in-fp8/wrong-entry/llava-ct", f"{HUB}llava/ct", head, OWN)
    # sgl-project/sglang#35228, vllm-project/vllm#40999.
    target = lambda c: c.group.update(targets=["Linear", "re:.*lm_head"])  # noqa: E731
    named = steps(channels(()), _head("row", "weight_scale", "BF16"), target)
    yield Held("head-in-fp8/as-target/glm4-ct", "drawn/glm4", named, OWN)
    grid = steps(blocks(()), _head("block", "weight_scale", "BF16"), target)
    yield Held("head-in-fp8/as-target/exaone4-ct-blocks", "drawn/exaone4", grid, OWN)
    inverse = _head("block", "weight_scale_inv", "F32")
    small = [f"model.layers.0.linear_attn.in_proj_{part}" for part in "ab"]
    for name, rest in (("qwen3.5/fp8", small), ("exaone4/fp8", [])):
        none = listed("modules_to_not_convert", *rest, add=False)
        yield Held(f"head-in-fp8/not-listed/{short(name)}", f"{HUB}{name}", steps(inverse, none), OWN)


_TOWER = ("re:.*lm_head", "re:vision_tower.*")


def _head(grain: str, scale: str, dtype: str) -> Damage:
    """The head in FP8, which recipes leave alone."""

    def change(checkpoint: MutableCheckpoint) -> None:
        (name,) = checkpoint.names(r"(.*\.)?lm_head\.weight")
        checkpoint.rename(re.escape(name), "one_projection.weight")
        in_fp8(grain, scale, dtype, only="one_projection")(checkpoint)
        checkpoint.rename(r"one_projection\.(.*)", rf"{name.removesuffix('weight')}\1")

    return steps(change, ordered)


def _configs() -> Iterator[Held]:
    """Types of the whole model (huggingface/transformers#44596, meta-llama/llama3#285)."""
    for name in ("mistral3/fp8", "deepseek-v3/fp8", "exaone4/ct"):
        base = f"{HUB}{name}"
        yield Held(f"dtype/missing/{short(name)}", base, steps(set_config(dtype=None), _no_dtype))
        yield Held(f"dtype/float8/{short(name)}", base, set_config(dtype="float8_e4m3fn"))
    older = steps(set_config(dtype=None, torch_dtype="bfloat16"))
    yield Held("dtype/older-key/deepseek-v3-fp8", f"{HUB}deepseek-v3/fp8", older)


def _no_dtype(checkpoint: MutableCheckpoint) -> None:
    for section in checkpoint.config.values():
        if isinstance(section, dict):
            section.pop("dtype", None)


def _files() -> Iterator[Held]:
    """Uploads by hand: shards of two runs, indexes of another one, and folders."""
    for name, base in (("ct", SHARDED), ("quark", QUARK_SHARDED)):
        # Neph0s/CoSER#3: an index of twice as many shards.
        yield Held(f"uploads/index-of-more-shards/{name}", base, _in_names(r"of-00003", "of-00006"))
        # Blaizzy/mlx-vlm#1464: another file beside the shards.
        yield Held(f"uploads/one-file-beside/{name}", base, _stray)
        # FlashML-org/FreeToken#336: the same once more in a folder.
        yield Held(f"uploads/folder-beside/{name}", base, _in_folder)
        yield Held(f"uploads/without-last/{name}", base, _without_last)
        yield Held(f"uploads/index-in-folder/{name}", base, _in_names(r"^", "weights/"))
        bins = json.dumps({"metadata": {}, "weight_map": {"lm_head.weight": "pytorch_model-00001-of-00001.bin"}})
        yield Held(f"uploads/older-index-beside/{name}", base, _beside("pytorch_model.bin.index.json", bins.encode()))


def _beside(file: str, data: bytes) -> Damage:
    return lambda checkpoint: checkpoint.files.update({file: data})


def _in_names(pattern: str, to: str) -> Damage:
    """Other names of files in the index."""

    def change(checkpoint: MutableCheckpoint) -> None:
        assert checkpoint.index is not None
        places = checkpoint.index["weight_map"]
        checkpoint.index["weight_map"] = {name: re.sub(pattern, to, file) for name, file in places.items()}

    return change


def _stray(checkpoint: MutableCheckpoint) -> None:
    """The first layer of another run in a file that no index names."""
    everything = checkpoint.everything()
    checkpoint.shards["model.safetensors"] = {
        name: tensor._replace(data=tensor.data[::-1]) for name, tensor in everything.items() if "layers.0" in name
    }


def _in_folder(checkpoint: MutableCheckpoint) -> None:
    for file, data in checkpoint.to_files().items():
        if file.endswith(".safetensors"):
            checkpoint.files[f"original/{file}"] = data


def _without_last(checkpoint: MutableCheckpoint) -> None:
    """A shard that was not uploaded, and an index that was made of what was."""
    checkpoint.shards.pop(sorted(checkpoint.shards)[-1])
    checkpoint.true_index()


TOOLS: tuple[Held, ...] = (*MERGED, *_names(), *_kv(), *_lists(), *_towers(), *_configs(), *_files())
