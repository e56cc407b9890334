"""What a sound checkpoint means, as weights in BF16: computed here with numpy, by the shapes of its scales alone."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.damage import CONFIG, INDEX, METADATA, _data_start, read_header
from tests.raw import RawTensor, shard_bytes

Files = dict[str, bytes]
Numbers = NDArray[np.float32]
#: What belongs to a weight or to attention and is no weight.
_SCALES = re.compile(
    r".*\.(weight_scale(_inv|_2)?|input_scale|activation_scale|output_scale|[kvq]_scale|kv_scale"
    r"|(weight|input|output)_quantizer\.scale)"
)


@dataclass(frozen=True)
class _Fp8:
    """The numbers of e4m3fn."""

    @cached_property
    def table(self) -> Numbers:
        """Code -> value."""
        codes = np.arange(256)
        exponent, mantissa = (codes >> 3) & 15, codes & 7
        size = np.where(exponent == 0, mantissa * 2.0**-9, (1 + mantissa / 8) * 2.0 ** (exponent - 7.0))
        size = np.where(codes & 0x7F == 0x7F, np.nan, size)
        found: Numbers = np.where(codes & 0x80, -size, size).astype(np.float32)
        return found

    def values_of(self, data: bytes) -> Numbers:
        """The values of codes."""
        found: Numbers = self.table[np.frombuffer(data, np.uint8)]
        return found

    def codes_of(self, values: Numbers) -> bytes:
        """The nearest codes; what is too large becomes the largest."""
        positive = self.table[:0x7F]
        middles = (positive[1:] + positive[:-1]) / 2
        codes = np.searchsorted(middles, np.abs(values)).astype(np.uint8)
        return bytes(np.where(values < 0, codes | 0x80, codes).astype(np.uint8))


FP8_VALUES = _Fp8()


def bf16_of(data: bytes) -> Numbers:
    """BF16 widened."""
    return (np.frombuffer(data, np.uint16).astype(np.uint32) << 16).view(np.float32)


def _e5m2_of(data: bytes) -> Numbers:
    """The values of codes that are the upper halves of F16."""
    return (np.frombuffer(data, np.uint8).astype(np.uint16) << 8).view(np.float16).astype(np.float32)


def to_bf16(values: Numbers) -> bytes:
    """Rounded to the nearest BF16."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return bytes(np.where(np.isnan(values), np.uint16(0x7FC0), rounded).astype(np.uint16).tobytes())


def numbers(tensor: RawTensor) -> Numbers | None:
    """The values of a tensor; None for a type that is no number here."""
    kinds = {
        "F32": lambda d: np.frombuffer(d, np.float32),
        "F64": lambda d: np.frombuffer(d, np.float64).astype(np.float32),
        "F16": lambda d: np.frombuffer(d, np.float16).astype(np.float32),
        "BF16": bf16_of,
        "F8_E4M3": FP8_VALUES.values_of,
        "F8_E5M2": _e5m2_of,
        "U8": lambda d: 2.0 ** (np.frombuffer(d, np.uint8).astype(np.float32) - 127),
        "F8_E8M0": lambda d: 2.0 ** (np.frombuffer(d, np.uint8).astype(np.float32) - 127),
    }
    return kinds[tensor.dtype](tensor.data).reshape(tensor.shape) if tensor.dtype in kinds else None


@np.errstate(invalid="ignore", over="ignore")  # scales that are infinite on purpose
def scaled(weight: Numbers, scale: Numbers) -> Numbers:
    """A weight times its scale, which has one value, one a row, or one for each tile of a grid."""
    if scale.size == 1:
        return weight * scale.reshape(())
    if scale.size == weight.shape[0]:
        return weight * scale.reshape(-1, *([1] * (weight.ndim - 1)))
    if scale.ndim == 2 * weight.ndim:
        scale = scale.reshape(scale.shape[::2])
    for axis in (-2, -1):
        length = weight.shape[axis]
        # Whole tiles of 128 where the grid is one of these; else tiles that share the length evenly.
        tile = 128 if -(-length // 128) == scale.shape[axis] else -(-length // scale.shape[axis])
        scale = np.take(np.repeat(scale, tile, axis), range(length), axis)
    return weight * scale


def tensors_in(files: Files) -> dict[str, dict[str, RawTensor]]:
    """Every tensor by shard and name."""
    found: dict[str, dict[str, RawTensor]] = {}
    for file, raw in sorted(files.items()):
        if file.endswith(".safetensors"):
            start, shard = _data_start(raw), found.setdefault(file, {})
            for name, entry in read_header(raw).items():
                if name != METADATA:
                    begin, end = entry["data_offsets"]
                    shard[name] = RawTensor(entry["dtype"], tuple(entry["shape"]), raw[start + begin : start + end])
    return found


def dequantized(files: Files) -> Files:
    """The same model without quantization: weights in BF16, no scales, no quantization config.

    Raises ValueError where weights are no FP8 numbers with one scale.
    """
    shards = tensors_in(files)
    everything = {name: tensor for shard in shards.values() for name, tensor in shard.items()}
    config: dict[str, Any] = json.loads(files[CONFIG])
    for section in (config, config.get("text_config")):
        if isinstance(section, dict):
            section.pop("quantization_config", None)
            section.pop("compression_config", None)
    kept = {
        n: d for n, d in files.items() if not n.endswith(".safetensors") and n not in ("hf_quant_config.json", INDEX)
    }
    merged: dict[str, RawTensor] = {}
    if any(t.dtype in ("U8", "I8", "I32") for name, t in everything.items() if name.endswith((".weight", "_packed"))):
        raise ValueError("weights of another kind")
    for name in everything:
        if _SCALES.fullmatch(name) is None:
            merged[name] = in_high_precision(name, everything)
    return {**kept, CONFIG: json.dumps(config).encode(), "model.safetensors": shard_bytes(merged, {"format": "pt"})}


def in_high_precision(name: str, everything: Mapping[str, RawTensor]) -> RawTensor:
    """A weight times its scale, as BF16; itself where it is no FP8 or has no scale."""
    tensor = everything[name]
    if not tensor.dtype.startswith("F8"):
        return tensor
    weight = numbers(tensor)
    scale = next((everything[s] for s in (f"{name}_scale", f"{name}_scale_inv") if s in everything), None)
    factors = numbers(scale) if scale is not None else None
    if weight is None or factors is None:
        return tensor
    return RawTensor("BF16", tensor.shape, to_bf16(scaled(weight, factors)))
