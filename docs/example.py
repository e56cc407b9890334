"""An example to draw: Llama-3.1-8B as Quark writes it, made up, with scales such as models have and a few faults.

Its weights are holes of a sparse file: it has its real size and takes no room.
"""

from __future__ import annotations

import json
import math
import os
import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
#: What the example is called.
NAME = "Llama-3.1-8B-Instruct-FP8-KV"

_LAYERS, _HIDDEN, _INTERMEDIATE, _KEY_VALUE, _VOCAB = 32, 4096, 14336, 1024, 128256
_SHARDS = 2
_MODULES = {
    "self_attn.q_proj": (_HIDDEN, _HIDDEN),
    "self_attn.k_proj": (_KEY_VALUE, _HIDDEN),
    "self_attn.v_proj": (_KEY_VALUE, _HIDDEN),
    "self_attn.o_proj": (_HIDDEN, _HIDDEN),
    "mlp.gate_proj": (_INTERMEDIATE, _HIDDEN),
    "mlp.up_proj": (_INTERMEDIATE, _HIDDEN),
    "mlp.down_proj": (_HIDDEN, _INTERMEDIATE),
}
#: Weight scale and input scale in the middle of the model; inputs grow towards its end.
_USUAL = {
    "self_attn.q_proj": (1.4e-3, 0.022),
    "self_attn.k_proj": (1.7e-3, 0.022),
    "self_attn.v_proj": (7.0e-4, 0.022),
    "self_attn.o_proj": (9.0e-4, 0.006),
    "mlp.gate_proj": (1.2e-3, 0.015),
    "mlp.up_proj": (9.0e-4, 0.015),
    "mlp.down_proj": (1.5e-3, 0.05),
}


class _Tensor(NamedTuple):
    name: str
    dtype: str
    shape: tuple[int, ...]
    value: float | None = None

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * (1 if self.dtype == "F8_E4M3" else 2)


def build(folder: Path) -> Path:
    """The example in a folder of its own."""
    folder.mkdir(parents=True)
    config = json.loads((ROOT / "fixtures/real/llama/quark-fp8-kv/config.json").read_text(encoding="utf-8"))
    sizes = {"hidden_size": _HIDDEN, "intermediate_size": _INTERMEDIATE, "num_hidden_layers": _LAYERS}
    heads = {"num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": _VOCAB}
    config.update(**sizes, **heads)
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    shards: list[list[_Tensor]] = [[] for _ in range(_SHARDS)]
    for layer, tensor in _tensors():
        shards[layer * _SHARDS // _LAYERS].append(tensor)
    places = {}
    for number, tensors in enumerate(shards, 1):
        name = f"model-{number:05}-of-{_SHARDS:05}.safetensors"
        places.update({tensor.name: name for tensor in tensors})
        _write(folder / name, tensors)
    total = sum(tensor.nbytes for tensors in shards for tensor in tensors)
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder


def _tensors() -> Iterator[tuple[int, _Tensor]]:
    """Every tensor with the layer that says in which shard it is."""
    chance = random.Random(11)
    yield 0, _Tensor("model.embed_tokens.weight", "BF16", (_VOCAB, _HIDDEN))
    seen: dict[tuple[int, float], float] = {}  # what a layer's modules see in common has one scale
    for layer in range(_LAYERS):
        owner = f"model.layers.{layer}"
        for norm in ("input_layernorm", "post_attention_layernorm"):
            yield layer, _Tensor(f"{owner}.{norm}.weight", "BF16", (_HIDDEN,))
        for module, shape in _MODULES.items():
            weight, inputs = _scales(module, layer, chance)
            inputs = seen.setdefault((layer, _USUAL[module][1]), inputs)
            yield layer, _Tensor(f"{owner}.{module}.weight", "F8_E4M3", shape)
            yield layer, _Tensor(f"{owner}.{module}.weight_scale", "BF16", (), weight)
            # The exporter has forgotten one.
            if (module, layer) != ("mlp.up_proj", 17):
                yield layer, _Tensor(f"{owner}.{module}.input_scale", "BF16", (), inputs)
            if module in ("self_attn.k_proj", "self_attn.v_proj"):
                middle = 0.055 if module.endswith("k_proj") else 0.004 + 0.0006 * layer
                cached = 0.0 if (module, layer) == ("self_attn.v_proj", 9) else middle * _near(chance, 0.12)
                yield layer, _Tensor(f"{owner}.{module}.output_scale", "BF16", (), cached)
    yield _LAYERS - 1, _Tensor("model.norm.weight", "BF16", (_HIDDEN,))
    yield _LAYERS - 1, _Tensor("lm_head.weight", "BF16", (_VOCAB, _HIDDEN))


def _scales(module: str, layer: int, chance: random.Random) -> tuple[float, float]:
    """The scales of a weight and of its inputs: layers are alike but for the first ones, and outliers of ``down``."""
    weight, inputs = _USUAL[module]
    depth = layer / (_LAYERS - 1)
    weight *= _near(chance, 0.16) * (1.6 if layer < 2 else 1.0)
    inputs *= (0.45 + 1.3 * depth) * _near(chance, 0.12)
    if module == "mlp.down_proj" and layer in (1, 30):
        inputs *= 28
    if module == "self_attn.q_proj" and layer == 23:
        weight *= 40  # one outlier in the weight, and everything else in it is rounded away
    return weight, inputs


def _near(chance: random.Random, spread: float) -> float:
    return math.exp(chance.gauss(0, spread))


def _write(path: Path, tensors: list[_Tensor]) -> None:
    header, offset = {}, 0
    for tensor in tensors:
        end = offset + tensor.nbytes
        header[tensor.name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [offset, end]}
        offset = end
    raw = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    raw += b" " * (-len(raw) % 8)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        os.pwrite(handle, struct.pack("<Q", len(raw)) + raw, 0)
        begin = 8 + len(raw)
        os.ftruncate(handle, begin + offset)
        for tensor in tensors:
            if tensor.value is not None:
                bits = struct.pack("<f", tensor.value)[2:]  # the upper half of a float32 is a BF16
                os.pwrite(handle, bits, begin + header[tensor.name]["data_offsets"][0])
    finally:
        os.close(handle)
