"""What the held-out checkpoints are made with."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tests.accuracy.plain import Numbers, in_high_precision, numbers, to_bf16
from tests.damage import Damage, MutableCheckpoint, count, exactly
from tests.raw import RawTensor

PHI3, PHI3_QUARK, PHI3_QUARK_KV = "phi3/llmcompressor-dynamic", "phi3/quark-ptpc", "phi3/quark-fp8-kv"
VL, VL_KV, GEMMA = "qwen2_5_vl/llmcompressor-dynamic", "qwen2_5_vl/llmcompressor-fp8-kv", "gemma3/quark-fp8-kv"
QWEN2, QWEN2_QUARK = "qwen2/llmcompressor-dynamic", "qwen2/quark-ptpc"
QWEN3, QWEN3_QUARK = "qwen3/llmcompressor-dynamic", "qwen3/quark-ptpc"
MIXTRAL, MIXTRAL_QUARK = "mixtral/llmcompressor-dynamic", "mixtral/quark-ptpc-experts"
MODELOPT, MODELOPT_KV, MODELOPT_CHANNEL = "llama/modelopt-fp8", "llama/modelopt-fp8-kv", "llama/modelopt-channel"
MODELOPT_BLOCK, MODELOPT_MOE = "llama-block-aligned/modelopt-block", "qwen3_moe/modelopt-fp8"
PLAIN_BLOCK, PLAIN_MOE = "llama-block-aligned/transformers-block", "qwen3_moe/transformers-block"
POWERS = "llama-block-aligned/transformers-block-ue8m0"
RAGGED, RAGGED_QUARK = "llama-block-ragged/llmcompressor-block", "llama-block-ragged/quark-block"
KV_HEADS, WEIGHT_ONLY = "llama/llmcompressor-dynamic-kv-heads", "llama/llmcompressor-weight-only"
CUSTOM_KV = "llama/quark-fp8-kv-custom"
TIED_MODELOPT, TIED_QUARK = "llama-tied/modelopt-fp8", "llama-tied/quark-ptpc"
SIDE = "hf_quant_config.json"
#: Its own files say what is meant.
OWN = ""


class Held(NamedTuple):
    """A checkpoint that nothing was mended on: a fixture, or a conversion by its id, after a change.

    ``meant`` is the fixture or conversion that it stands for where that is not the one that was changed, or OWN.
    """

    name: str
    base: str
    change: Damage
    meant: str | None = None


def alone(module: str) -> Damage:
    """Modules in high precision without scales, whatever these are called; no list says so."""

    def change(checkpoint: MutableCheckpoint) -> None:
        for name in checkpoint.names(rf"{module}\.weight"):
            plain = in_high_precision(name, checkpoint.everything())
            checkpoint.change(exactly(name), lambda t, plain=plain: plain)  # type: ignore[misc]
            stem = name.removesuffix(".weight")
            for ending in ("weight_scale", "weight_scale_inv", "input_scale", "output_scale", "k_scale", "v_scale"):
                for shard in checkpoint.shards.values():
                    shard.pop(f"{stem}.{ending}", None)

    return change


def listed(key: str, *entries: str, add: bool = True) -> Damage:
    """Entries of a list in the quantization config, beside those that it has or in their place."""

    def change(checkpoint: MutableCheckpoint) -> None:
        before = list(checkpoint.block.get(key) or []) if add else []
        checkpoint.block[key] = [*before, *entries]

    return change


def no_side_file(checkpoint: MutableCheckpoint) -> None:
    """ModelOpt's second config goes."""
    checkpoint.files.pop(SIDE, None)


def without(*keys: str) -> Damage:
    """Keys of the quantization config go."""

    def change(checkpoint: MutableCheckpoint) -> None:
        for key in keys:
            checkpoint.block.pop(key, None)

    return change


def weights(**keys: Any) -> Damage:
    """Keys of what the first group of a compressed-tensors config says of weights."""
    return lambda checkpoint: checkpoint.group["weights"].update(keys)


def inputs(**keys: Any) -> Damage:
    """Keys of what the first group says of inputs."""
    return lambda checkpoint: checkpoint.group["input_activations"].update(keys)


def _bf16(values: Numbers) -> bytes:
    return to_bf16(values)


def _powers(values: Numbers) -> bytes:
    return bytes((np.round(np.log2(np.maximum(values, 2.0**-60))) + 127).astype(np.uint8).tobytes())


#: Type -> numbers as bytes of it.
STORES: dict[str, Callable[[Numbers], bytes]] = {
    "BF16": _bf16,
    "F16": lambda values: values.astype(np.float16).tobytes(),
    "F32": lambda values: values.astype(np.float32).tobytes(),
    "F64": lambda values: values.astype(np.float64).tobytes(),
    "F8_E8M0": _powers,
    "U8": _powers,
}


def stored_as(pattern: str, dtype: str) -> Damage:
    """Scales in another type, rounded where it is narrower."""

    def convert(tensor: RawTensor) -> RawTensor:
        values = numbers(tensor)
        assert values is not None
        return RawTensor(dtype, tensor.shape, STORES[dtype](values.reshape(-1)))

    return lambda checkpoint: checkpoint.change(pattern, convert)


def mapped(pattern: str, function: Callable[[Numbers], Numbers]) -> Damage:
    """Scales with other values, in the type that they have."""

    def convert(tensor: RawTensor) -> RawTensor:
        values = numbers(tensor)
        assert values is not None
        return tensor._replace(data=STORES[tensor.dtype](function(values.reshape(-1).copy())))

    return lambda checkpoint: checkpoint.change(pattern, convert)


def first_value(value: float) -> Callable[[Numbers], Numbers]:
    """The first number becomes another."""

    def change(values: Numbers) -> Numbers:
        values[0] = value
        return values

    return change


def transposed(pattern: str) -> Damage:
    """Matrices the other way round, their data too."""

    def turn(tensor: RawTensor) -> RawTensor:
        width = len(tensor.data) // max(1, count(tensor))
        values = np.frombuffer(tensor.data, np.dtype(f"V{width}")).reshape(tensor.shape)
        return RawTensor(tensor.dtype, tensor.shape[::-1], np.ascontiguousarray(values.T).tobytes())

    return lambda checkpoint: checkpoint.change(pattern, turn)


def cut(pattern: str, rows: int) -> Damage:
    """So many rows fewer, or more, which repeat the last one."""

    def change(tensor: RawTensor) -> RawTensor:
        size = len(tensor.data) // tensor.shape[0]
        length = tensor.shape[0] + rows
        data = (tensor.data + tensor.data[-size:] * max(0, rows))[: length * size]
        return RawTensor(tensor.dtype, (length, *tensor.shape[1:]), data)

    return lambda checkpoint: checkpoint.change(pattern, change)


def repeated(pattern: str, *shape: int) -> Damage:
    """One value as often as a shape holds."""

    def change(tensor: RawTensor) -> RawTensor:
        width = len(tensor.data) // count(tensor)
        return RawTensor(tensor.dtype, shape, tensor.data[:width] * math.prod(shape))

    return lambda checkpoint: checkpoint.change(pattern, change)


def copied(pattern: str, to: Callable[[str], str], shape: tuple[int, ...] | None = None) -> Damage:
    """Tensors once more under other names."""

    def change(checkpoint: MutableCheckpoint) -> None:
        for shard, name in checkpoint.places(pattern):
            tensor = shard[name]
            shard[to(name)] = tensor if shape is None else tensor._replace(shape=shape)

    return change
