"""Llama-3.1-8B in FP8 as the Hub would hold it: real names, shapes, order and size; zeros where the weights are.

The layout is that of the official exporters: two shards of at most 5 GB, the tensors of a shard sorted as the
safetensors library sorts them (wide types first, then by name), so that scales lie between norms.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

from benchmarks.models import WIDTHS, Tensor
from tests.hub.conftest import REAL
from tests.hub.store import Blob, SparseBlob

LAYERS, HIDDEN, MIDDLE, KV, VOCABULARY = 32, 4096, 14336, 1024, 128256
SHARD_LIMIT = 5_000_000_000
#: BF16 0.0123.
SCALE = b"\x4a\x3c"
#: F32 0.0005.
F32_SCALE = struct.pack("<f", 0.0005)

LINEAR = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (KV, HIDDEN),
    "self_attn.v_proj": (KV, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (MIDDLE, HIDDEN),
    "mlp.up_proj": (MIDDLE, HIDDEN),
    "mlp.down_proj": (HIDDEN, MIDDLE),
}


def llama_8b(fixture: str) -> dict[str, Blob]:
    """The repository whose config and scale shapes are those of a real tiny export of the same scheme."""
    folder = REAL / "llama" / fixture
    sizes = {
        "num_hidden_layers": LAYERS,
        "hidden_size": HIDDEN,
        "intermediate_size": MIDDLE,
        "vocab_size": VOCABULARY,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
    }
    config = json.loads((folder / "config.json").read_text()) | sizes
    return _sharded(config, _tensors(folder))


def deepseek_v3() -> dict[str, Blob]:
    """DeepSeek-V3 as it was released: 688 GB in blocks, 61 layers of 256 experts, and one that predicts tokens."""
    layers, experts, hidden, head = 61, 256, 7168, (129280, 7168)
    attention = {
        "q_a_proj": (1536, hidden),
        "q_b_proj": (24576, 1536),
        "kv_a_proj_with_mqa": (576, hidden),
        "kv_b_proj": (32768, 512),
        "o_proj": (hidden, 16384),
    }
    plain = [Tensor("model.embed_tokens.weight", "BF16", head), Tensor("model.norm.weight", "BF16", (hidden,))]
    groups = [[*plain, Tensor("lm_head.weight", "BF16", head)]]
    for layer in range(layers + 1):
        name = f"model.layers.{layer}"
        norms = {"input_layernorm": hidden, "post_attention_layernorm": hidden}
        norms |= {"self_attn.q_a_layernorm": 1536, "self_attn.kv_a_layernorm": 512}
        found = [Tensor(f"{name}.{norm}.weight", "BF16", (size,)) for norm, size in norms.items()]
        linear = {f"{name}.self_attn.{part}": shape for part, shape in attention.items()}
        if layer < 3:
            linear |= _mlp(f"{name}.mlp", 18432, hidden)
        else:
            found.append(Tensor(f"{name}.mlp.gate.weight", "BF16", (experts, hidden)))
            found.append(Tensor(f"{name}.mlp.gate.e_score_correction_bias", "F32", (experts,)))
            linear |= _mlp(f"{name}.mlp.shared_experts", 2048, hidden)
            for expert in range(experts):
                linear |= _mlp(f"{name}.mlp.experts.{expert}", 2048, hidden)
        if layer == layers:
            found += [Tensor(f"{name}.{part}.weight", "BF16", (hidden,)) for part in ("enorm", "hnorm")]
            found.append(Tensor(f"{name}.eh_proj.weight", "BF16", (hidden, 2 * hidden)))
            found.append(Tensor(f"{name}.shared_head.norm.weight", "BF16", (hidden,)))
            found += [Tensor(f"{name}.{part}.weight", "BF16", head) for part in ("shared_head.head", "embed_tokens")]
        for module, (rows, columns) in linear.items():
            found.append(Tensor(f"{module}.weight", "F8_E4M3", (rows, columns)))
            found.append(Tensor(f"{module}.weight_scale_inv", "F32", (-(-rows // 128), -(-columns // 128))))
        groups.append(found)
    config = {
        "architectures": ["DeepseekV3ForCausalLM"],
        "model_type": "deepseek_v3",
        "torch_dtype": "bfloat16",
        "hidden_size": hidden,
        "intermediate_size": 18432,
        "moe_intermediate_size": 2048,
        "num_hidden_layers": layers,
        "num_nextn_predict_layers": 1,
        "first_k_dense_replace": 3,
        "n_routed_experts": experts,
        "n_shared_experts": 1,
        "num_experts_per_tok": 8,
        "num_attention_heads": 128,
        "num_key_value_heads": 128,
        "q_lora_rank": 1536,
        "kv_lora_rank": 512,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "v_head_dim": 128,
        "vocab_size": 129280,
        "quantization_config": {
            "activation_scheme": "dynamic",
            "fmt": "e4m3",
            "quant_method": "fp8",
            "weight_block_size": [128, 128],
        },
    }
    return _sharded(config, [tensor for group in groups for tensor in group])


def _mlp(name: str, middle: int, hidden: int) -> dict[str, tuple[int, int]]:
    up = {f"{name}.{part}_proj": (middle, hidden) for part in ("gate", "up")}
    return {**up, f"{name}.down_proj": (hidden, middle)}


def _sharded(config: dict[str, object], tensors: list[Tensor]) -> dict[str, Blob]:
    """The files of a repository, in shards of at most 5 GB."""
    files: dict[str, Blob] = {"config.json": Blob(json.dumps(config, indent=2).encode())}
    files["tokenizer.json"] = Blob(b"{}" + b" " * 9_000_000, lfs=True)
    shards: list[list[Tensor]] = [[]]
    size = 0
    for tensor in tensors:
        if size + tensor.nbytes > SHARD_LIMIT:
            shards.append([])
            size = 0
        size += tensor.nbytes
        shards[-1].append(tensor)
    weight_map = {}
    for number, members in enumerate(shards, 1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        files[name] = _shard(members)
        weight_map.update({tensor.name: name for tensor in members})
    total = sum(tensor.nbytes for members in shards for tensor in members)
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    files["model.safetensors.index.json"] = Blob(json.dumps(index, indent=2).encode())
    return files


def _tensors(folder: Path) -> list[Tensor]:
    """The tensors of layer 0 of the fixture, in all layers and at full size."""
    with open(folder / "model.safetensors", "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    ends = {
        "model.embed_tokens.weight": (VOCABULARY, HIDDEN),
        "lm_head.weight": (VOCABULARY, HIDDEN),
        "model.norm.weight": (HIDDEN,),
    }
    found = [Tensor(name, "BF16", shape) for name, shape in ends.items()]
    for layer in range(LAYERS):
        for name, info in header.items():
            if not name.startswith("model.layers.0."):
                continue
            module, _, kind = name.removeprefix("model.layers.0.").rpartition(".")
            shape = LINEAR.get(module, (HIDDEN,))
            if kind != "weight" and info["shape"]:
                # [], [1], [N] or [N, 1], as the exporter writes them
                shape = (shape[0] if info["shape"][0] > 1 else 1, *info["shape"][1:])
            elif kind != "weight":
                shape = ()
            found.append(Tensor(f"model.layers.{layer}.{module}.{kind}", info["dtype"], shape))
    return found


def _shard(tensors: list[Tensor]) -> SparseBlob:
    ordered = sorted(tensors, key=lambda tensor: (-WIDTHS[tensor.dtype], tensor.name))
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    pieces = {}
    for tensor in ordered:
        stop = offset + tensor.nbytes
        header[tensor.name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [offset, stop]}
        if "scale" in tensor.name:
            pieces[offset] = F32_SCALE * (tensor.nbytes // 4) if tensor.dtype == "F32" else SCALE * (tensor.nbytes // 2)
        offset = stop
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    start = 8 + len(text)
    placed = {start + position: piece for position, piece in pieces.items()}
    return SparseBlob({0: struct.pack("<Q", len(text)) + text, **placed}, start + offset)
