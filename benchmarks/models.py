"""The checkpoints to measure with: real names, shapes and configs, cheap contents, built once and kept.

The two models have the tensors of Llama-3.1-8B with 14 layers and a vocabulary of 56,064, which keeps the full
model's ratio of FP8 to BF16 bytes in 4 GB. The replica has as many tensors as the largest mixtures of experts, each
of them tiny: for work that reads headers only. Configs come from the real exports in ``fixtures/real``.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "real"
INDEX_FILE = "model.safetensors.index.json"

#: As DeepSeek writes it, with no list of what is left alone.
_BLOCK_CONFIG = {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [128, 128]}

#: Part of every cache folder's name: raise it when a builder changes.
_VERSION = 3
_KEY_VALUE_HEADS = 8
#: Dtype -> bytes of an element.
WIDTHS = {"F32": 4, "BF16": 2, "F8_E4M3": 1, "U8": 1}
_BLOCK = 1 << 24


class Tensor(NamedTuple):
    """One tensor to be made up."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        count = WIDTHS[self.dtype]
        for extent in self.shape:
            count *= extent
        return count

    @property
    def is_scale(self) -> bool:
        return self.name.endswith(("_scale", "_scale_inv"))


@dataclass(frozen=True)
class Sizes:
    """The dimensions of a Llama; ``scaled`` shrinks the linear layers and keeps their number."""

    hidden: int = 4096
    intermediate: int = 14336
    key_value: int = 1024
    vocab: int = 56064
    layers: int = 14

    def scaled(self, scale: float, unit: int = 16) -> Sizes:
        """Dimensions of a model with about ``scale`` times the bytes, all of them multiples of ``unit``."""

        def shrink(extent: int) -> int:
            return max(unit, unit * round(extent * float(scale**0.5) / unit))

        key_value = shrink(self.key_value)
        hidden = key_value * (self.hidden // self.key_value)
        return Sizes(hidden, shrink(self.intermediate), key_value, shrink(self.vocab), self.layers)

    def linear_layers(self, layer: int) -> Iterator[tuple[str, tuple[int, int]]]:
        """Name and weight shape of each linear module of a decoder layer."""
        prefix = f"model.layers.{layer}"
        yield f"{prefix}.self_attn.q_proj", (self.hidden, self.hidden)
        yield f"{prefix}.self_attn.k_proj", (self.key_value, self.hidden)
        yield f"{prefix}.self_attn.v_proj", (self.key_value, self.hidden)
        yield f"{prefix}.self_attn.o_proj", (self.hidden, self.hidden)
        yield f"{prefix}.mlp.gate_proj", (self.intermediate, self.hidden)
        yield f"{prefix}.mlp.up_proj", (self.intermediate, self.hidden)
        yield f"{prefix}.mlp.down_proj", (self.hidden, self.intermediate)


@dataclass(frozen=True)
class Model:
    """A checkpoint that can be built: where its config comes from, its shards, and whether its weights are holes."""

    name: str
    fixture: str
    shards: tuple[tuple[Tensor, ...], ...]
    config: Mapping[str, Any]
    sparse: bool = False

    @property
    def data_bytes(self) -> int:
        return sum(tensor.nbytes for shard in self.shards for tensor in shard)

    @property
    def tensors(self) -> int:
        return sum(len(shard) for shard in self.shards)


def channel_model(scale: float) -> Model:
    """compressed-tensors, float-quantized: static per-channel weights, dynamic per-token inputs."""

    def scales(module: str, shape: tuple[int, int]) -> Iterator[Tensor]:
        yield Tensor(f"{module}.weight_scale", "BF16", (shape[0], 1))

    return _llama("llama-ct-channel", "llama/llmcompressor-dynamic", Sizes().scaled(scale), scales)


def base_model(scale: float) -> Model:
    """The weights of ``llama-ct-channel`` in BF16, as what it was made of would have them."""
    quantized = channel_model(scale)
    shards = tuple(
        tuple(tensor._replace(dtype="BF16") for tensor in shard if not tensor.is_scale) for shard in quantized.shards
    )
    config = {key: value for key, value in quantized.config.items() if key != "quantization_config"}
    return Model("llama-bf16", "llama/bf16", shards, config)


def tensor_model(scale: float) -> Model:
    """Quark's native layout: static per-tensor weights and inputs, FP8 KV cache."""

    def scales(module: str, shape: tuple[int, int]) -> Iterator[Tensor]:
        yield Tensor(f"{module}.weight_scale", "BF16", ())
        yield Tensor(f"{module}.input_scale", "BF16", ())
        if module.endswith(("k_proj", "v_proj")):
            yield Tensor(f"{module}.output_scale", "BF16", ())

    return _llama("llama-quark-tensor-kv", "llama/quark-fp8-kv", Sizes().scaled(scale), scales)


def block_model(scale: float) -> Model:
    """DeepSeek's blocks: static per-block weights, dynamic per-group inputs."""

    def scales(module: str, shape: tuple[int, int]) -> Iterator[Tensor]:
        yield Tensor(f"{module}.weight_scale_inv", "F32", (-(-shape[0] // 128), -(-shape[1] // 128)))

    model = _llama("llama-fp8-block", "llama/llmcompressor-dynamic", Sizes().scaled(scale, 128), scales)
    return replace(model, config={**model.config, "quantization_config": _BLOCK_CONFIG})


def groups_model(scale: float) -> Model:
    """compressed-tensors, mxfp4-pack-quantized: two elements a byte, a power of two for 32 of them."""
    blocks = block_model(scale)

    def stored(tensor: Tensor) -> Iterator[Tensor]:
        if tensor.dtype == "F8_E4M3":
            rows, columns = tensor.shape
            yield Tensor(f"{tensor.name}_packed", "U8", (rows, columns // 2))
            yield Tensor(f"{tensor.name}_scale", "U8", (rows, columns // 32))
        elif not tensor.is_scale:
            yield tensor

    shards = tuple(tuple(part for tensor in shard for part in stored(tensor)) for shard in blocks.shards)
    weights = {"num_bits": 4, "type": "float", "strategy": "group", "group_size": 32, "symmetric": True}
    quantization = {
        "quant_method": "compressed-tensors",
        "format": "mxfp4-pack-quantized",
        "quantization_status": "compressed",
        "ignore": ["lm_head"],
        "config_groups": {
            "group_0": {
                "targets": ["Linear"],
                "format": "mxfp4-pack-quantized",
                "weights": {**weights, "dynamic": False},
                "input_activations": None,
            }
        },
    }
    config = {**blocks.config, "quantization_config": quantization}
    return replace(blocks, name="llama-ct-mxfp4", shards=shards, config=config)


def trillion_replica(scale: float) -> Model:
    """A mixture of 384 experts in 60 layers, in blocks: the names of a model of 10**12 parameters, few bytes each."""
    layers, experts, hidden = max(2, round(61 * scale)), 384, 128
    attention = ("q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj")
    shared = ("shared_experts.gate_proj", "shared_experts.up_proj", "shared_experts.down_proj")
    tensors = [Tensor("model.embed_tokens.weight", "BF16", (64, hidden))]
    for layer in range(layers):
        prefix = f"model.layers.{layer}"
        modules = [f"{prefix}.self_attn.{part}" for part in attention]
        if layer == 0:
            modules += [f"{prefix}.mlp.{part}_proj" for part in ("gate", "up", "down")]
        else:
            routed = [f"experts.{expert}.{part}_proj" for expert in range(experts) for part in ("gate", "up", "down")]
            modules += [f"{prefix}.mlp.{part}" for part in (*shared, *routed)]
            tensors.append(Tensor(f"{prefix}.mlp.gate.weight", "BF16", (experts, hidden)))
            tensors.append(Tensor(f"{prefix}.mlp.gate.e_score_correction_bias", "F32", (experts,)))
        for module in modules:
            blocks = 2 if module.endswith(("q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj")) else 1
            tensors.append(Tensor(f"{module}.weight", "F8_E4M3", (blocks * hidden, hidden)))
            tensors.append(Tensor(f"{module}.weight_scale_inv", "F32", (blocks, 1)))
        norms = ("input_layernorm", "post_attention_layernorm", "self_attn.q_a_layernorm", "self_attn.kv_a_layernorm")
        tensors += [Tensor(f"{prefix}.{norm}.weight", "BF16", (hidden,)) for norm in norms]
    tensors += [Tensor("model.norm.weight", "BF16", (hidden,)), Tensor("lm_head.weight", "BF16", (64, hidden))]
    count = max(2, round(160 * scale))
    bounds = [len(tensors) * part // count for part in range(count + 1)]
    bounds = [bound + (bound < len(tensors) and tensors[bound].is_scale) for bound in bounds]
    shards = tuple(tuple(tensors[first:last]) for first, last in itertools.pairwise(bounds))
    config = {
        "architectures": ["DeepseekV3ForCausalLM"],
        "model_type": "deepseek_v3",
        "torch_dtype": "bfloat16",
        "hidden_size": hidden,
        "intermediate_size": hidden,
        "moe_intermediate_size": hidden,
        "num_hidden_layers": layers,
        "first_k_dense_replace": 1,
        "n_routed_experts": experts,
        "n_shared_experts": 1,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "q_lora_rank": hidden,
        "kv_lora_rank": hidden,
        "qk_rope_head_dim": hidden,
        "qk_nope_head_dim": hidden,
        "v_head_dim": hidden,
        "vocab_size": 64,
        "quantization_config": _BLOCK_CONFIG,
    }
    return Model("trillion-replica", "qwen3_moe/llmcompressor-dynamic", shards, config, sparse=True)


def replica(scale: float) -> Model:
    """A mixture of experts with 100,000 tensors in 200 shards, a few hundred bytes each."""
    layers, experts = max(1, round(129 * scale)), 128
    hidden = intermediate = 16
    tensors: list[Tensor] = [Tensor("model.embed_tokens.weight", "BF16", (64, hidden))]
    for layer in range(layers):
        prefix = f"model.layers.{layer}"
        modules = [(f"{prefix}.self_attn.{part}_proj", (hidden, hidden)) for part in "qkvo"]
        modules += [
            (f"{prefix}.mlp.experts.{expert}.{part}_proj", (intermediate, hidden))
            for expert in range(experts)
            for part in ("gate", "up", "down")
        ]
        for module, shape in modules:
            tensors.append(Tensor(f"{module}.weight", "F8_E4M3", shape))
            tensors.append(Tensor(f"{module}.weight_scale", "BF16", (shape[0], 1)))
        tensors.append(Tensor(f"{prefix}.mlp.gate.weight", "BF16", (experts, hidden)))
        norms = ("input_layernorm", "post_attention_layernorm", "self_attn.q_norm", "self_attn.k_norm")
        tensors += [Tensor(f"{prefix}.{norm}.weight", "BF16", (hidden,)) for norm in norms]
    tensors += [Tensor("model.norm.weight", "BF16", (hidden,)), Tensor("lm_head.weight", "BF16", (64, hidden))]
    count = max(2, round(200 * scale))
    bounds = [len(tensors) * part // count for part in range(count + 1)]
    shards = tuple(tuple(tensors[first:last]) for first, last in itertools.pairwise(bounds))
    fixture = "qwen3_moe/llmcompressor-dynamic"
    changes = {"num_hidden_layers": layers, "num_local_experts": experts, "num_experts": experts}
    heads = {"num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": hidden}
    changes |= {**heads, "hidden_size": hidden, "moe_intermediate_size": intermediate, "vocab_size": 64}
    config = _config(fixture, changes)
    quantization = {
        **config["quantization_config"],
        "ignore": ["lm_head", *(f"model.layers.{layer}.mlp.gate" for layer in range(layers))],
    }
    return Model("moe-replica", fixture, shards, {**config, "quantization_config": quantization})


class Built(NamedTuple):
    """A checkpoint on disk, and what there is to know about it."""

    name: str
    folder: Path
    data_bytes: int
    tensors: int
    shards: int


MODELS: Mapping[str, Callable[[float], Model]] = {
    "llama-quark-tensor-kv": tensor_model,
    "llama-ct-channel": channel_model,
    "moe-replica": replica,
    "llama-fp8-block": block_model,
    "llama-bf16": base_model,
    "trillion-replica": trillion_replica,
    "llama-ct-mxfp4": groups_model,
}


def build(name: str, cache: Path, scale: float) -> Built:
    """Build a model, unless the cache holds it already.

    Done by another process: a hundred thousand tensors would stay in this one's memory, and show as peak memory of
    the commands that it measures.
    """
    command = [sys.executable, "-m", __name__, name, str(cache), str(scale)]
    said = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=FIXTURES.parents[1]).stdout)
    return Built(name, Path(said["folder"]), said["data_bytes"], said["tensors"], said["shards"])


def _build(model: Model, cache: Path, scale: float) -> Path:
    folder = cache / f"{model.name}-{scale:g}-v{_VERSION}"
    if folder.is_dir():
        return folder
    staging = cache / f".building-{folder.name}-{os.getpid()}"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        _write(model, staging)
        staging.rename(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder


def _llama(name: str, fixture: str, sizes: Sizes, scales: Callable[[str, tuple[int, int]], Iterator[Tensor]]) -> Model:
    """Two shards, cut between layers as exporters cut them."""
    first = [Tensor("model.embed_tokens.weight", "BF16", (sizes.vocab, sizes.hidden))]
    second = [
        Tensor("model.norm.weight", "BF16", (sizes.hidden,)),
        Tensor("lm_head.weight", "BF16", (sizes.vocab, sizes.hidden)),
    ]
    for layer in range(sizes.layers):
        shard = first if layer < sizes.layers // 2 else second
        for norm in ("input_layernorm", "post_attention_layernorm"):
            shard.append(Tensor(f"model.layers.{layer}.{norm}.weight", "BF16", (sizes.hidden,)))
        for module, shape in sizes.linear_layers(layer):
            shard.append(Tensor(f"{module}.weight", "F8_E4M3", shape))
            shard += scales(module, shape)
    changes = {
        "hidden_size": sizes.hidden,
        "intermediate_size": sizes.intermediate,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": _KEY_VALUE_HEADS * (sizes.hidden // sizes.key_value),
        "num_key_value_heads": _KEY_VALUE_HEADS,
        "head_dim": sizes.key_value // _KEY_VALUE_HEADS,
        "vocab_size": sizes.vocab,
    }
    return Model(name, fixture, (tuple(first), tuple(second)), _config(fixture, changes))


def _config(fixture: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((FIXTURES / fixture / "config.json").read_text(encoding="utf-8"))
    return {**config, **changes}


def _write(model: Model, folder: Path) -> None:
    for path in (FIXTURES / model.fixture).iterdir():
        if path.suffix != ".safetensors" and path.name not in ("config.json", INDEX_FILE):
            shutil.copyfile(path, folder / path.name)
    (folder / "config.json").write_text(json.dumps(model.config, indent=2), encoding="utf-8")
    weight_map: dict[str, str] = {}
    noise = _Noise()
    for number, shard in enumerate(model.shards, 1):
        file = f"model-{number:05d}-of-{len(model.shards):05d}.safetensors"
        weight_map.update((tensor.name, file) for tensor in shard)
        _write_shard(shard, folder / file, noise, sparse=model.sparse)
    index = {"metadata": {"total_size": model.data_bytes}, "weight_map": weight_map}
    (folder / INDEX_FILE).write_text(json.dumps(index, indent=2), encoding="utf-8")


def _write_shard(tensors: tuple[Tensor, ...], path: Path, noise: _Noise, *, sparse: bool) -> None:
    """Wide elements first and then by name: the order in which the official writer puts tensors."""
    ordered = sorted(tensors, key=lambda tensor: (-WIDTHS[tensor.dtype], tensor.name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for tensor in ordered:
        offsets = [offset, offset + tensor.nbytes]
        header[tensor.name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": offsets}
        offset += tensor.nbytes
    raw = json.dumps(header, separators=(",", ":")).encode("utf-8")
    raw += b" " * (-len(raw) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        for tensor in ordered:
            if sparse and not tensor.is_scale:
                file.seek(tensor.nbytes, os.SEEK_CUR)
                continue
            for chunk in noise.chunks(tensor):
                file.write(chunk)
        file.truncate()


class _Noise:
    """Random contents that are valid: no NaN in weights, and every scale a small positive number."""

    def __init__(self) -> None:
        drawn = random.Random(0).randbytes(_BLOCK)
        self._weights = memoryview(
            drawn.translate(bytes((code & 0x80) | min(code & 0x7F, 0x7E) for code in range(256)))
        )
        wide = bytearray(drawn)
        wide[1::2] = drawn[1::2].translate(bytes(0x3C | (code & 0x81) for code in range(256)))
        self._plain = memoryview(wide)
        wide = bytearray(drawn[: 1 << 16])
        wide[1::2] = bytes([0x3A]) * (1 << 15)
        self._scales = memoryview(wide)
        self._bytes = memoryview(drawn)
        self._exponents = memoryview(drawn[: 1 << 16].translate(bytes(118 + code % 8 for code in range(256))))

    def chunks(self, tensor: Tensor) -> Iterator[memoryview]:
        """The bytes of a tensor, a block at a time."""
        if tensor.dtype == "U8":
            block = self._exponents if tensor.is_scale else self._bytes
        else:
            block = self._weights if tensor.dtype == "F8_E4M3" else self._scales if tensor.is_scale else self._plain
        for begin in range(0, tensor.nbytes, len(block)):
            yield block[: min(len(block), tensor.nbytes - begin)]


def main() -> None:
    """Build one model and say where: ``python -m benchmarks.models NAME CACHE SCALE``."""
    name, cache, scale = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
    model = MODELS[name](scale)
    folder = _build(model, cache, scale)
    shards = len(model.shards)
    print(
        json.dumps({"folder": str(folder), "data_bytes": model.data_bytes, "tensors": model.tensors, "shards": shards})
    )


if __name__ == "__main__":
    main()
