"""Checkpoints as the Hub has them: models and quantization configs of public exports, small."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from ckptkit.dtypes import BITS
from tests.accuracy.again.drawn import add, declared, in_fp8
from tests.accuracy.held.common import OWN, SIDE, Held
from tests.damage import Damage, MutableCheckpoint, set_config, steps

Block = dict[str, Any]
_ARGS: Block = {"num_bits": 8, "type": "float", "symmetric": True, "group_size": None, "block_structure": None}
_NEW_ARGS: Block = {"scale_dtype": None, "zp_dtype": None}
HEAD = ("lm_head",)


def ordered(checkpoint: MutableCheckpoint) -> None:
    """Tensors in the order in which the official library writes them: wide types first, then by name."""
    for file, shard in checkpoint.shards.items():
        names = sorted(shard, key=lambda name: (-BITS[shard[name].dtype], name))
        checkpoint.shards[file] = {name: shard[name] for name in names}


def compressed(weights: str, inputs: str | None, ignore: Sequence[str], version: str = "0.12.2", **more: Any) -> Block:
    """A config of llm-compressor, as releases of compressed-tensors spelled it."""
    number = tuple(map(int, version.split(".")))
    old = number < (0, 9)
    rest: Block = {"actorder": None, "observer": "minmax" if old else None, "observer_kwargs": {}}
    rest |= _NEW_ARGS if number > (0, 12, 2) else {}

    def args(strategy: str, dynamic: bool) -> Block:
        found = {**_ARGS, **rest, "strategy": strategy, "dynamic": dynamic}
        if strategy == "block":
            found["block_structure"] = [128, 128]
        if strategy == "group":
            found["group_size"] = 128
        return found

    group: Block = {
        "targets": ["Linear"],
        "weights": args(weights, False),
        "input_activations": None if inputs is None else args(inputs, inputs != "tensor"),
        "output_activations": None,
    }
    block: Block = {
        "config_groups": {"group_0": group if old else {**group, "format": "float-quantized"}},
        "format": "float-quantized",
        "global_compression_ratio": 1.4631 if old else None,
        "ignore": list(ignore),
        "kv_cache_scheme": None,
        "quant_method": "compressed-tensors",
        "quantization_status": "frozen" if number < (0, 5) else "compressed",
    }
    if number >= (0, 6):
        block |= {"sparsity_config": {}, "version": version}
    if number >= (0, 10):
        block["transform_config"] = {}
    return block | more


def channels(ignore: Sequence[str], version: str = "0.12.2", *, but: str = "", dtype: str = "BF16") -> Damage:
    """FP8_DYNAMIC."""
    return steps(in_fp8("row", dtype=dtype, but=but), declared(compressed("channel", "token", ignore, version)))


def static(ignore: Sequence[str], version: str = "0.12.2", *, but: str = "") -> Damage:
    """FP8: one scale for weights and one for inputs."""
    change = in_fp8("one", inputs="input_scale", but=but)
    return steps(change, declared(compressed("tensor", "tensor", ignore, version)))


def blocks(ignore: Sequence[str], version: str = "0.12.2", *, but: str = "") -> Damage:
    """FP8_BLOCK."""
    return steps(in_fp8("block", but=but), declared(compressed("block", "group", ignore, version)))


def deepseek(skipped: Sequence[str] | None = None, *, but: str = "", dtype: str = "F32", **more: Any) -> Damage:
    """Plain fp8 by blocks; ``skipped`` are modules_to_not_convert."""
    block: Block = {"activation_scheme": "dynamic", "quant_method": "fp8", "weight_block_size": [128, 128], **more}
    if skipped is not None:
        block["modules_to_not_convert"] = list(skipped)
    return steps(in_fp8("block", "weight_scale_inv", dtype, but=but), declared(block))


def autofp8(ignored: Sequence[str], scheme: str = "static", *, but: str = "", **more: Any) -> Damage:
    """Plain fp8 by tensor, as AutoFP8 wrote it."""
    inputs = "input_scale" if scheme == "static" else ""
    block = {"activation_scheme": scheme, "ignored_layers": list(ignored), "quant_method": "fp8", **more}
    return steps(in_fp8("tensor", dtype="F32", inputs=inputs, but=but), declared(block))


def mistral(skipped: Sequence[str]) -> Damage:
    """Plain fp8 by tensor under transformers' names, as Mistral publishes it."""
    block = {
        "activation_scheme": "static",
        "modules_to_not_convert": list(skipped),
        "quant_method": "fp8",
        "weight_block_size": None,
    }
    return steps(in_fp8("tensor", "weight_scale_inv", inputs="activation_scale"), declared(block))


def modelopt(
    excluded: Sequence[str], version: str = "0.33.0", *, but: str = "", kv: bool = False, where: str = "both"
) -> Damage:
    """ModelOpt FP8, with its config in config.json, in the side file, or in both."""
    args = {"dynamic": False, "num_bits": 8, "type": "float"}
    flat = {
        "config_groups": {"group_0": {"input_activations": args, "weights": args, "targets": ["Linear"]}},
        "ignore": list(excluded),
        "quant_algo": "FP8",
        "producer": {"name": "modelopt", "version": version},
        "quant_method": "modelopt",
    }
    section: Block = {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8" if kv else None}
    section["exclude_modules"] = list(excluded)
    if kv:
        flat["kv_cache_scheme"] = args

    def side(checkpoint: MutableCheckpoint) -> None:
        document = {"producer": {"name": "modelopt", "version": version}, "quantization": section}
        checkpoint.files[SIDE] = json.dumps(document, indent=4).encode()

    scales = in_fp8("tensor", dtype="F32", inputs="input_scale", but=but)
    return steps(
        scales,
        *([kv_scales] if kv else []),
        *([declared(flat)] if where != "side" else []),
        *([side] if where != "config" else []),
    )


def kv_scales(checkpoint: MutableCheckpoint) -> None:
    """Scales of the KV cache where ModelOpt puts them: ones."""
    for name in checkpoint.names(r".*\.k_proj\.weight"):
        if "vision" not in name and "visual" not in name:
            for part in "kv":
                stem = name.replace("k_proj.weight", f"{part}_proj.{part}_scale")
                checkpoint.put(stem, "F32", (), b"\0\0\x80\x3f")


def quark(exclude: Sequence[str], grain: str = "flat", *, but: str = "", version: str = "0.9") -> Damage:
    """Quark: one scale a row and one a token, or one a tensor."""
    rows = grain == "flat"
    spec: Block = {
        "dtype": "fp8_e4m3",
        "is_dynamic": False,
        "qscheme": "per_channel" if rows else "per_tensor",
        "ch_axis": 0 if rows else None,
        "group_size": None,
        "symmetric": None if version in ("0.6", "0.7") else True,
        "round_method": "half_even",
        "scale_type": "float",
        "scale_format": None,
        "scale_calculation_mode": None,
        "mx_element_dtype": None,
        "observer_cls": "PerChannelMinMaxObserver" if rows else "PerTensorMinMaxObserver",
        "is_scale_quant": False,
    }
    layer = {
        "weight": spec,
        "input_tensors": {**spec, "is_dynamic": True, "ch_axis": 1} if rows else spec,
        "output_tensors": None,
        "bias": None,
        "target_device": None,
    }
    block = {
        "algo_config": None,
        "exclude": list(exclude),
        "export": {
            "kv_cache_group": [],
            "min_kv_scale": 0.0,
            "pack_method": "reorder",
            "weight_format": "real_quantized",
            "weight_merge_groups": None,
        },
        "global_quant_config": layer,
        "layer_quant_config": {},
        "layer_type_quant_config": {},
        "quant_method": "quark",
        "quant_mode": "eager_mode",
        "softmax_quant_spec": None,
        "version": version,
    }
    return steps(in_fp8(grain, inputs="" if rows else "input_scale", but=but), declared(block))


def fbgemm(skipped: Sequence[str]) -> Damage:
    """fbgemm_fp8, as transformers wrote it."""
    block = {"activation_scale_ub": 1200.0, "modules_to_not_convert": list(skipped), "quant_method": "fbgemm_fp8"}
    return steps(in_fp8("row", dtype="F32"), declared(block))


def each(*endings: str, layers: Sequence[int] = (0, 1), prefix: str = "model.layers") -> tuple[str, ...]:
    """Modules of layers."""
    return tuple(f"{prefix}.{layer}.{ending}" for layer in layers for ending in endings)


NORMS = ("input_layernorm", "post_attention_layernorm")
_MTP = {
    "enorm.weight": (128,),
    "hnorm.weight": (128,),
    "eh_proj.weight": (128, 256),
    "shared_head.norm.weight": (128,),
    "embed_tokens.weight": (32, 128),
    "shared_head.head.weight": (32, 128),
}


def with_prediction(checkpoint: MutableCheckpoint) -> None:
    """One more layer, of the kind of the last one, that predicts; before it is quantized."""
    tensors = checkpoint.everything()
    like = {n.replace("layers.1.", "layers.2."): t.shape for n, t in tensors.items() if ".layers.1." in n}
    add({**like, **{f"model.layers.2.{name}": shape for name, shape in _MTP.items()}})(checkpoint)
    checkpoint.config["num_nextn_predict_layers"] = 1


_SHARED = each("mlp.gate", "mlp.shared_expert_gate")
_LINEAR = each("linear_attn.conv1d", "linear_attn.in_proj_ba", layers=(0,))
_LINEAR_5 = each(*(f"linear_attn.{part}" for part in ("conv1d", "in_proj_a", "in_proj_b")), layers=(0,))
_VISUAL = tuple(
    f"model.visual.{name}"
    for name in (
        *("blocks.0.attn.qkv", "blocks.0.attn.proj", "blocks.0.mlp.linear_fc1", "blocks.0.mlp.linear_fc2"),
        *("merger.linear_fc1", "merger.linear_fc2", "patch_embed.proj"),
        *("deepstack_merger_list.0.linear_fc1", "deepstack_merger_list.0.linear_fc2"),
    )
)
_MAMBA = each("mamba.conv1d", "mamba.in_proj", "mamba.out_proj")
_HYBRID = r".*(mamba|mixer)\.(in|out)_proj"
_MLP_GATE = ("re:.*mlp.gate$",)

#: Name, model_type, how it was made.
PUBLISHED: tuple[tuple[str, str, Damage], ...] = (
    ("deepseek-v3/fp8", "deepseek_v3", deepseek(fmt="e4m3")),
    ("deepseek-v3/fp8-mtp", "deepseek_v3", steps(with_prediction, deepseek(fmt="e4m3"))),
    ("deepseek-v3/fp8-ue8m0", "deepseek_v3", deepseek(fmt="e4m3", scale_fmt="ue8m0")),
    ("deepseek-v3/fp8-e8m0", "deepseek_v3", deepseek(fmt="e4m3", scale_fmt="ue8m0", dtype="F8_E8M0")),
    ("deepseek-v3/kimi", "deepseek_v3", steps(deepseek(fmt="e4m3"), set_config(model_type="kimi_k2"))),
    ("deepseek-v3/ct", "deepseek_v3", channels((*HEAD, *_MLP_GATE))),
    ("deepseek-v3/ct-blocks", "deepseek_v3", blocks((*HEAD, *_MLP_GATE))),
    ("deepseek-v3/ct-plain-attention", "deepseek_v3", channels(("re:.*self_attn.*", *HEAD), but=r".*self_attn\..*")),
    ("deepseek-v3/quark", "deepseek_v3", quark((*HEAD, *each("mlp.gate", layers=(1,))))),
    ("deepseek-v3/modelopt", "deepseek_v3", modelopt((*HEAD, *each("mlp.gate", layers=(1,))))),
    ("deepseek-v2/autofp8", "deepseek_v2", autofp8((*HEAD, *each("mlp.gate", layers=(1,))))),
    ("deepseek-v2/ct-old", "deepseek_v2", static((*HEAD, *each("mlp.gate", layers=(1,))), "0.4.0")),
    ("deepseek-v2/ct", "deepseek_v2", channels((*HEAD, *_MLP_GATE))),
    ("glm4-moe/ct", "glm4_moe", channels((*HEAD, *each("mlp.gate", layers=(1,))))),
    (
        "glm4-moe/ct-mtp",
        "glm4_moe",
        steps(
            with_prediction,
            channels((*HEAD, *each("mlp.gate", layers=(1, 2)), *each("eh_proj", "shared_head.head", layers=(2,)))),
        ),
    ),
    ("glm4-moe/fp8", "glm4_moe", deepseek((*HEAD, *each("mlp.gate", layers=(1,))))),
    ("glm4-moe/modelopt", "glm4_moe", modelopt((*HEAD, "*mlp.gate"), kv=True)),
    ("glm4/ct", "glm4", channels(HEAD)),
    ("glm4/autofp8", "glm4", autofp8(HEAD)),
    ("glm4/fp8", "glm4", deepseek(HEAD)),
    ("qwen2-moe/autofp8", "qwen2_moe", autofp8((*HEAD, *_SHARED))),
    ("qwen2-moe/autofp8-dynamic", "qwen2_moe", autofp8((*HEAD, *_SHARED), "dynamic")),
    ("qwen2-moe/ct", "qwen2_moe", channels((*HEAD, *_MLP_GATE, "re:.*shared_expert_gate$"))),
    ("qwen2-moe/quark", "qwen2_moe", quark((*HEAD, *_SHARED))),
    ("qwen3-next/fp8", "qwen3_next", deepseek((*HEAD, *_LINEAR, *_SHARED, *each(*NORMS)), fmt="e4m3")),
    (
        "qwen3-next/ct",
        "qwen3_next",
        channels((*HEAD, *_MLP_GATE, "re:.*mlp.shared_expert_gate$", "re:.*linear_attn.*"), but=r".*linear_attn\..*"),
    ),
    ("qwen3-next/ct-linear-too", "qwen3_next", channels((*HEAD, *_SHARED, *_LINEAR), "0.13.0")),
    ("qwen3.5-moe/fp8", "qwen3_5_moe_text", deepseek((*HEAD, *_LINEAR_5, *_SHARED, *each(*NORMS)))),
    ("qwen3.5/fp8", "qwen3_5_text", deepseek((*HEAD, *_LINEAR_5))),
    (
        "qwen3.5/ct",
        "qwen3_5_text",
        channels((*HEAD, "re:.*linear_attn.*"), "0.14.0", but=r".*linear_attn\..*"),
    ),
    ("qwen3-vl/fp8", "qwen3_vl", deepseek((*HEAD, *_VISUAL))),
    ("qwen3-vl/ct", "qwen3_vl", channels(("re:.*lm_head", "re:visual.*", "re:model.visual.*"))),
    ("qwen3-vl/modelopt", "qwen3_vl", modelopt((*HEAD, "model.visual*"))),
    ("qwen3-vl/quark", "qwen3_vl", quark((*HEAD, "*visual*"))),
    ("minimax-m2/fp8", "minimax_m2", deepseek(("gate", "e_score_correction_bias", "lm_head"), fmt="float8_e4m3fn")),
    ("minimax-m2/ct", "minimax_m2", channels((*HEAD, "re:.*block_sparse_moe.gate$"))),
    ("ernie4.5-moe/ct", "ernie4_5_moe", channels((*HEAD, *_MLP_GATE))),
    ("ernie4.5-moe/fp8", "ernie4_5_moe", deepseek((*HEAD, *each("mlp.gate", layers=(1,))))),
    ("dots1/fp8", "dots1", deepseek((*HEAD, "model.layers.1.mlp.gate"))),
    ("olmo2/ct", "olmo2", channels(HEAD, "0.6.0")),
    ("olmo2/quark", "olmo2", quark(HEAD, "tensor", version="0.7")),
    ("olmoe/ct", "olmoe", channels((*HEAD, *_MLP_GATE))),
    ("olmoe/autofp8", "olmoe", autofp8((*HEAD, *each("mlp.gate")))),
    ("gemma2/autofp8", "gemma2", autofp8(HEAD)),
    ("gemma2/ct-frozen", "gemma2", channels(HEAD, "0.4.0")),
    ("gemma3/ct", "gemma3_text", channels(HEAD)),
    ("gemma3/modelopt", "gemma3_text", modelopt(HEAD)),
    ("cohere/ct", "cohere", channels(HEAD)),
    ("cohere2/fp8", "cohere2", autofp8(HEAD, "dynamic")),
    ("nemotron/ct", "nemotron", channels(HEAD, "0.4.0")),
    ("nemotron/modelopt", "nemotron", modelopt(HEAD, "0.17.0", where="side")),
    ("phi/ct", "phi", channels(HEAD)),
    ("starcoder2/ct", "starcoder2", channels(HEAD)),
    ("starcoder2/autofp8", "starcoder2", autofp8(HEAD)),
    ("stablelm/ct", "stablelm", channels(HEAD)),
    ("gpt-neox/ct", "gpt_neox", channels(("embed_out",))),
    ("exaone4/ct", "exaone4", channels(HEAD)),
    ("exaone4/fp8", "exaone4", deepseek(HEAD)),
    ("hunyuan/ct", "hunyuan_v1_dense", channels(HEAD)),
    ("bamba/ct", "bamba", channels((*HEAD, *_MAMBA), but=_HYBRID)),
    ("bamba/ct-all", "bamba", channels((*HEAD, "re:.*conv1d.*"))),
    ("falcon-h1/modelopt", "falcon_h1", modelopt((*HEAD, "*conv1d*"))),
    ("falcon-h1/ct", "falcon_h1", channels((*HEAD, "re:.*mamba.*"), but=_HYBRID)),
    (
        "nemotron-h/modelopt",
        "nemotron_h",
        modelopt((*HEAD, "backbone.layers.0.mixer.conv1d", "backbone.embeddings"), "0.37.0", kv=True),
    ),
    ("nemotron-h/ct", "nemotron_h", channels((*HEAD, "re:.*conv1d.*"))),
    ("nemotron-h/modelopt-plain-mamba", "nemotron_h", modelopt((*HEAD, "*layers.0.mixer*"), but=_HYBRID)),
    ("lfm2/ct", "lfm2", channels((*HEAD, "re:.*conv.*"), but=r".*\.conv\.\w+")),
    (
        "mistral3/ct",
        "mistral3",
        channels(("re:.*lm_head", "re:vision_tower.*", "re:multi_modal_projector.*"), "0.9.4"),
    ),
    (
        "mistral3/ct-newer-names",
        "mistral3",
        channels(("re:.*lm_head", "re:.*vision_tower.*", "re:.*multi_modal_projector.*"), "0.13.0"),
    ),
    ("mistral3/fp8", "mistral3", mistral(("model.vision_tower", "model.multi_modal_projector", "lm_head"))),
    ("llava/ct", "llava", channels(("re:.*lm_head", "re:vision_tower.*", "re:multi_modal_projector.*"))),
    ("llava/autofp8", "llava", autofp8(("language_model.lm_head",))),
    ("qwen3.5-vl/fp8", "qwen3_5_moe", deepseek((*HEAD, "model.visual", "mtp"))),
    (
        "qwen3.5-vl/ct",
        "qwen3_5_moe",
        channels(
            (
                "re:.*lm_head",
                "re:visual.*",
                "re:model.visual.*",
                "re:.*mlp.gate$",
                "re:.*shared_expert_gate$",
                "re:.*linear_attn.*",
            ),
            "0.14.0",
            but=r".*linear_attn\..*",
        ),
    ),
)


def _hub() -> Iterator[Held]:
    for name, model, change in PUBLISHED:
        yield Held(f"hub/{name}", f"drawn/{model}", steps(change, ordered), OWN)


HUB = tuple(_hub())
