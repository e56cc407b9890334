"""Folders of what has no reader, made up of a few tensors each, as the tools of each name and describe them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.raw import RawTensor, checkpoint_files, shard_bytes

_BYTES = {"BF16": 2, "F16": 2, "F32": 4, "I32": 4, "U32": 4, "I64": 8, "U8": 1, "I8": 1, "F8_E4M3": 1}
LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "float16"}
LAYER = "model.layers.0.mlp.up_proj"


def zeros(dtype: str, *shape: int) -> RawTensor:
    size = _BYTES[dtype]
    for extent in shape:
        size *= extent
    return RawTensor(dtype, shape, bytes(size))


#: What every language model here has besides: 64 x 32 embeddings, a norm of 32, a bias of 64.
COMMON = {
    "model.embed_tokens.weight": zeros("F16", 64, 32),
    "model.layers.0.input_layernorm.weight": zeros("F16", 32),
    f"{LAYER}.bias": zeros("F16", 64),
}
PLAIN = {**COMMON, f"{LAYER}.weight": zeros("BF16", 64, 32)}
#: The parameters of every language model here.
PARAMETERS = 64 * 32 + 32 + 64 + 64 * 32


def model(block: Any, tensors: Mapping[str, RawTensor], key: str = "quantization_config") -> dict[str, bytes]:
    config = {**LLAMA, **({key: block} if block else {})}
    return checkpoint_files({"model.safetensors": {**COMMON, **tensors}}, config)


def without_config(files: Mapping[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if name != "config.json"}


_GPTQ = {
    f"{LAYER}.qweight": zeros("I32", 4, 64),
    f"{LAYER}.qzeros": zeros("I32", 1, 8),
    f"{LAYER}.scales": zeros("F16", 1, 64),
}
_ORDER = {f"{LAYER}.g_idx": zeros("I32", 32)}
_NF4 = {
    f"{LAYER}.weight": zeros("U8", 1024, 1),
    f"{LAYER}.weight.absmax": zeros("U8", 32),
    f"{LAYER}.weight.quant_map": zeros("F32", 16),
    f"{LAYER}.weight.nested_absmax": zeros("F32", 1),
    f"{LAYER}.weight.nested_quant_map": zeros("F32", 256),
    f"{LAYER}.weight.quant_state.bitsandbytes__nf4": zeros("U8", 80),
}
_INT8 = {f"{LAYER}.weight": zeros("I8", 64, 32), f"{LAYER}.SCB": zeros("F32", 64)}
_HQQ = {
    f"{LAYER}.W_q": zeros("U8", 32, 32),
    f"{LAYER}.scale": zeros("F16", 64, 1),
    f"{LAYER}.zero": zeros("F16", 64, 1),
    f"{LAYER}.nbits": zeros("I32"),
}
_AQLM = {f"{LAYER}.codes": zeros("I8", 64, 4, 1), f"{LAYER}.codebooks": zeros("F16", 1, 256, 1, 8)}
_MLX = {
    f"{LAYER}.weight": zeros("U32", 64, 4),
    f"{LAYER}.scales": zeros("F16", 64, 1),
    f"{LAYER}.biases": zeros("F16", 64, 1),
}
_STACK = "model.layers.0.mlp.experts.gate_up_proj"
_MXFP4 = {f"{_STACK}_blocks": zeros("U8", 2, 32, 1, 16), f"{_STACK}_scales": zeros("U8", 2, 32, 1)}
_NVFP4 = {
    f"{LAYER}.weight_packed": zeros("U8", 64, 16),
    f"{LAYER}.weight_scale": zeros("F8_E4M3", 64, 2),
    f"{LAYER}.weight_global_scale": RawTensor("F32", (1,), bytes.fromhex("0000803f")),
}
_FP4 = {"num_bits": 4, "type": "float", "symmetric": True, "strategy": "tensor_group", "group_size": 16}
_CT = {
    "quant_method": "compressed-tensors",
    "format": "nvfp4-pack-quantized",
    "quantization_status": "compressed",
    "config_groups": {"group_0": {"targets": ["Linear"], "weights": _FP4, "input_activations": None}},
    "ignore": ["lm_head"],
}
_INT4 = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 32}
_CT_INTEGERS = {
    **_CT,
    "format": "pack-quantized",
    "config_groups": {"group_0": {"targets": ["Linear"], "weights": _INT4, "input_activations": None}},
}
_W4A16 = {f"{LAYER}.weight_packed": zeros("I32", 64, 4), f"{LAYER}.weight_scale": zeros("BF16", 64, 1)}
_NBITS = {"quant_config": {"weight_quant_params": {"nbits": 4, "group_size": 64}}}

#: Name -> (files, what is said of the quantization, parameters); all of them language models.
METHODS: dict[str, tuple[dict[str, bytes], str, int | None]] = {
    "gptq": (model({"quant_method": "gptq", "bits": 4}, {**_GPTQ, **_ORDER}), "GPTQ, 4-bit", PARAMETERS),
    "gptq without a width": (model({"quant_method": "gptq"}, {**_GPTQ, **_ORDER}), "GPTQ", None),
    "awq": (model({"quant_method": "awq", "bits": 4}, _GPTQ), "AWQ, 4-bit", PARAMETERS),
    "bitsandbytes": (
        model({"quant_method": "bitsandbytes", "load_in_4bit": True}, _NF4),
        "bitsandbytes, 4-bit",
        PARAMETERS,
    ),
    "bitsandbytes 8": (
        model({"quant_method": "bitsandbytes", "load_in_8bit": True}, _INT8),
        "bitsandbytes, 8-bit",
        PARAMETERS,
    ),
    "hqq": (model({"quant_method": "hqq", **_NBITS}, _HQQ), "HQQ, 4-bit", PARAMETERS),
    "aqlm": (model({"quant_method": "aqlm"}, _AQLM), "AQLM", PARAMETERS - 64 * 32 + 256),
    "mlx": (model({"bits": 4, "group_size": 32}, _MLX, "quantization"), "MLX, 4-bit", PARAMETERS),
    "mlx twice": (model({"bits": 4, "group_size": 32}, _MLX), "MLX, 4-bit", PARAMETERS),
    "packed integers": (model(_CT_INTEGERS, _W4A16), "W4A16", PARAMETERS),
    "gptq undeclared": (model(None, {**_GPTQ, **_ORDER}), "GPTQ, by its tensors' names", None),
    "mxfp4 undeclared": (model(None, _MXFP4), "MXFP4, by its tensors' names", PARAMETERS),
    "nvfp4 undeclared": (model(None, _NVFP4), "NVFP4, by its tensors' names", PARAMETERS),
    "not quantized": (model(None, {f"{LAYER}.weight": zeros("F16", 64, 32)}), "not quantized (F16)", PARAMETERS),
    "no config": (without_config(model(None, {f"{LAYER}.weight": zeros("F16", 64, 32)})), "not quantized", PARAMETERS),
    "unheard of": (
        model({"quant_method": "something"}, {f"{LAYER}.weight": zeros("F16", 64, 32)}),
        "'something'",
        PARAMETERS,
    ),
}
#: The same of what is not FP8 and has a reader all the same.
READ: dict[str, tuple[dict[str, bytes], str, int | None]] = {
    "mxfp4": (model({"quant_method": "mxfp4"}, _MXFP4), "MXFP4", PARAMETERS),
    "nvfp4": (model(_CT, _NVFP4), "NVFP4", PARAMETERS),
}


def document(**values: Any) -> bytes:
    return json.dumps(values).encode()


LORA = {
    "adapter_config.json": document(peft_type="LORA", r=8, base_model_name_or_path="org/base"),
    "adapter_model.safetensors": shard_bytes(
        {
            "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight": zeros("BF16", 8, 32),
            "base_model.model.model.layers.0.mlp.up_proj.lora_B.weight": zeros("BF16", 64, 8),
        }
    ),
}
_MISTRAL = {"tok_embeddings.weight": zeros("BF16", 64, 32), "layers.0.attention_norm.weight": zeros("BF16", 32)}
MISTRAL = {
    "params.json": document(dim=32, n_layers=1),
    "consolidated.safetensors": shard_bytes({**_MISTRAL, "layers.0.attention.wq.weight": zeros("BF16", 32, 32)}),
}
MISTRAL_FP8 = {
    "params.json": document(dim=32, quantization={"qformat_weight": "fp8_e4m3", "qscheme_act": "TENSOR"}),
    "consolidated.safetensors": shard_bytes(
        {
            **_MISTRAL,
            "layers.0.attention.wq.weight": zeros("F8_E4M3", 32, 32),
            "layers.0.attention.wq.qscale_weight": zeros("F32"),
            "layers.0.attention.wq.qscale_act": zeros("F32"),
        }
    ),
}
_UNET = {"down.0.conv.weight": zeros("F16", 4, 4, 3, 3), "down.0.proj.weight": zeros("F16", 8, 4)}
DIFFUSERS = {
    "model_index.json": document(_class_name="StableDiffusionPipeline", unet=["diffusers", "UNet2DConditionModel"]),
    "unet/config.json": document(_class_name="UNet2DConditionModel"),
    "unet/diffusion_pytorch_model.safetensors": shard_bytes(_UNET),
    "text_encoder/config.json": document(architectures=["CLIPTextModel"]),
    "text_encoder/model.safetensors": shard_bytes({"text_model.a.weight": zeros("F32", 8, 8)}),
}
SENTENCES = {
    **checkpoint_files({"model.safetensors": PLAIN}, {"architectures": ["BertModel"]}),
    "config_sentence_transformers.json": document(similarity_fn_name="cosine"),
    "modules.json": b"[]",
    "2_Dense/config.json": document(in_features=32),
    "2_Dense/model.safetensors": shard_bytes({"linear.weight": zeros("F32", 16, 32)}),
}
GGUF = {"model-Q4_K_M.gguf": bytes(1000), "README.md": b""}
