"""A small DeepSeek-V4: every kind of tensor of deepseek-ai/DeepSeek-V4-Pro, by name, dtype and ratio of shapes.

Taken from public lists of that repository's headers and of its config.json. There, 145,116 tensors in 64 shards: routed
experts I8 [N, K / 2] with F8_E8M0 scales [N, K / 32], all other FP8 weights in blocks of 128x128 with F8_E8M0 scales,
and no ``expert_dtype`` in the config. deepseek-ai/DeepSeek-V4-Flash says "fp4"; the Base releases have experts in FP8
and F32 scales.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.raw import RawTensor, checkpoint_files

HIDDEN, INTER, Q_LORA, HEAD, O_LORA, VOCAB = 256, 128, 128, 128, 128, 64
WIDTH = {"BF16": 2, "F32": 4, "I64": 8, "I8": 1, "U8": 1, "F8_E4M3": 1, "F8_E8M0": 1}
FILL = {"F8_E4M3": 0x38, "F8_E8M0": 120, "I8": 0x21, "U8": 0x21, "BF16": 0x3C, "F32": 0x3C, "I64": 0}


def stored(dtype: str, *shape: int) -> RawTensor:
    size = WIDTH[dtype]
    for extent in shape:
        size *= extent
    return RawTensor(dtype, shape, bytes([FILL[dtype]]) * size)


def blocks(name: str, rows: int, columns: int, scale: str = "F8_E8M0") -> Iterator[tuple[str, RawTensor]]:
    yield f"{name}.weight", stored("F8_E4M3", rows, columns)
    yield f"{name}.scale", stored(scale, -(-rows // 128), -(-columns // 128))


def expert(name: str, rows: int, columns: int, kind: str) -> Iterator[tuple[str, RawTensor]]:
    if kind == "fp8":
        yield from blocks(name, rows, columns, "F32")
    elif kind == "nvfp4":
        yield f"{name}.weight", stored("U8", rows, columns // 2)
        yield f"{name}.weight_scale", stored("F8_E4M3", rows, columns // 16)
        yield f"{name}.weight_scale_2", stored("F32")
        yield f"{name}.input_scale", stored("F32")
    else:
        yield f"{name}.weight", stored("I8", rows, columns // 2)
        yield f"{name}.scale", stored("F8_E8M0", rows, columns // 32)


def layer(prefix: str, number: int, kind: str) -> Iterator[tuple[str, RawTensor]]:
    scale = "F32" if kind == "fp8" else "F8_E8M0"
    attention = f"{prefix}.attn"
    yield f"{attention}.attn_sink", stored("F32", 8)
    for name, rows, columns in (
        ("wkv", HEAD, HIDDEN),
        ("wo_a", 2 * O_LORA, HIDDEN),
        ("wo_b", HIDDEN, 2 * O_LORA),
        ("wq_a", Q_LORA, HIDDEN),
        ("wq_b", 2 * HEAD, Q_LORA),
    ):
        yield from blocks(f"{attention}.{name}", rows, columns, scale)
    yield f"{attention}.kv_norm.weight", stored("BF16", HEAD)
    yield f"{attention}.q_norm.weight", stored("BF16", Q_LORA)
    if prefix.startswith("layers."):
        yield f"{attention}.compressor.ape", stored("F32", 4, HEAD)
        yield f"{attention}.compressor.norm.weight", stored("BF16", HEAD)
        yield f"{attention}.compressor.wgate.weight", stored("BF16", HEAD, HIDDEN)
        yield f"{attention}.compressor.wkv.weight", stored("BF16", HEAD, HIDDEN)
    if number == 1:
        yield f"{attention}.indexer.compressor.ape", stored("F32", 4, HEAD)
        yield f"{attention}.indexer.compressor.norm.weight", stored("BF16", HEAD)
        yield f"{attention}.indexer.compressor.wgate.weight", stored("BF16", HEAD, HIDDEN)
        yield f"{attention}.indexer.compressor.wkv.weight", stored("BF16", HEAD, HIDDEN)
        yield f"{attention}.indexer.weights_proj.weight", stored("BF16", 8, HIDDEN)
        yield from blocks(f"{attention}.indexer.wq_b", 2 * HEAD, Q_LORA, scale)
    for norm in ("attn_norm", "ffn_norm"):
        yield f"{prefix}.{norm}.weight", stored("BF16", HIDDEN)
    for part in ("attn", "ffn"):
        yield f"{prefix}.hc_{part}_base", stored("F32", 8)
        yield f"{prefix}.hc_{part}_fn", stored("F32", 8, 2 * HIDDEN)
        yield f"{prefix}.hc_{part}_scale", stored("F32", 3)
    yield f"{prefix}.ffn.gate.weight", stored("BF16", 4, HIDDEN)
    if number == 0 and prefix.startswith("layers."):
        yield f"{prefix}.ffn.gate.tid2eid", stored("I64", VOCAB, 2)
    else:
        yield f"{prefix}.ffn.gate.bias", stored("F32", 4)
    for part, rows, columns in (("w1", INTER, HIDDEN), ("w2", HIDDEN, INTER), ("w3", INTER, HIDDEN)):
        yield from blocks(f"{prefix}.ffn.shared_experts.{part}", rows, columns, scale)
        for one in range(4):
            yield from expert(f"{prefix}.ffn.experts.{one}.{part}", rows, columns, kind)


def tensors(kind: str) -> Iterator[tuple[str, RawTensor]]:
    yield "embed.weight", stored("BF16", VOCAB, HIDDEN)
    for number in range(2):
        yield from layer(f"layers.{number}", number, kind)
    yield from layer("mtp.0", 0, kind)
    for name in ("e_proj", "h_proj"):
        yield from blocks(f"mtp.0.{name}", HIDDEN, HIDDEN, "F32" if kind == "fp8" else "F8_E8M0")
    for name in ("enorm", "hnorm", "norm"):
        yield f"mtp.0.{name}.weight", stored("BF16", HIDDEN)
    for prefix in ("", "mtp.0."):
        yield f"{prefix}hc_head_base", stored("F32", 4)
        yield f"{prefix}hc_head_fn", stored("F32", 4, 2 * HIDDEN)
        yield f"{prefix}hc_head_scale", stored("F32", 1)
    yield "norm.weight", stored("BF16", HIDDEN)
    yield "head.weight", stored("BF16", VOCAB, HIDDEN)


def config(kind: str, *, says: bool) -> dict[str, Any]:
    block: dict[str, Any] = {
        "activation_scheme": "dynamic",
        "fmt": "e4m3",
        "quant_method": "fp8",
        "scale_fmt": "ue8m0",
        "weight_block_size": [128, 128],
    }
    if kind == "fp8":
        del block["scale_fmt"]
    if kind == "nvfp4":
        block["moe_quant_algo"] = "NVFP4"
    return {
        "architectures": ["DeepseekV4ForCausalLM"],
        "model_type": "deepseek_v4",
        "head_dim": HEAD,
        "hidden_size": HIDDEN,
        "hc_mult": 2,
        "index_head_dim": HEAD,
        "index_n_heads": 8,
        "moe_intermediate_size": INTER,
        "n_routed_experts": 4,
        "n_shared_experts": 1,
        "num_attention_heads": 8,
        "num_experts_per_tok": 2,
        "num_hidden_layers": 2,
        "num_hash_layers": 1,
        "num_key_value_heads": 1,
        "num_nextn_predict_layers": 1,
        "o_groups": 2,
        "o_lora_rank": O_LORA,
        "q_lora_rank": Q_LORA,
        "quantization_config": block,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "vocab_size": VOCAB,
        **({"expert_dtype": "fp8" if kind == "fp8" else "fp4"} if says else {}),
    }


def files(kind: str = "fp4", *, says: bool = True) -> dict[str, bytes]:
    """The folder of a release: ``kind`` of its experts ("fp4", "fp8", "nvfp4"), and whether its config says so."""
    shards: dict[str, dict[str, RawTensor]] = {f"model-0000{n}-of-00002.safetensors": {} for n in (1, 2)}
    first, second = shards.values()
    for name, tensor in sorted(tensors(kind), key=lambda item: -WIDTH[item[1].dtype]):  # as the official writer does
        (first if name.startswith(("embed", "layers.0")) else second)[name] = tensor
    return checkpoint_files(shards, config(kind, says=says))
