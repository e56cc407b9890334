"""Llama-3.1-8B in FP8 as the Hub would hold it: real names, shapes, order and size; zeros where the weights are.

The layout is that of the official exporters: two shards of at most 5 GB, the tensors of a shard sorted as the
safetensors library sorts them (wide types first, then by name), so that scales lie between norms.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

from benchmarks.models import Tensor
from tests.hub.conftest import REAL
from tests.hub.store import Blob, SparseBlob

LAYERS, HIDDEN, MIDDLE, KV, VOCABULARY = 32, 4096, 14336, 1024, 128256
SHARD_LIMIT = 5_000_000_000
#: BF16 0.0123.
SCALE = b"\x4a\x3c"

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
    files: dict[str, Blob] = {"config.json": Blob(json.dumps(config, indent=2).encode())}
    files["tokenizer.json"] = Blob(b"{}" + b" " * 9_000_000, lfs=True)
    shards: list[list[Tensor]] = [[]]
    for tensor in _tensors(folder):
        if sum(item.nbytes for item in shards[-1]) + tensor.nbytes > SHARD_LIMIT:
            shards.append([])
        shards[-1].append(tensor)
    weight_map = {}
    for number, tensors in enumerate(shards, 1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        files[name] = _shard(tensors)
        weight_map.update({tensor.name: name for tensor in tensors})
    total = sum(tensor.nbytes for tensors in shards for tensor in tensors)
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
    ordered = sorted(tensors, key=lambda tensor: (tensor.dtype == "F8_E4M3", tensor.name))
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    pieces = {}
    for tensor in ordered:
        stop = offset + tensor.nbytes
        header[tensor.name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [offset, stop]}
        if "scale" in tensor.name:
            pieces[offset] = SCALE * (tensor.nbytes // 2)
        offset = stop
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    start = 8 + len(text)
    placed = {start + position: piece for position, piece in pieces.items()}
    return SparseBlob({0: struct.pack("<Q", len(text)) + text, **placed}, start + offset)
