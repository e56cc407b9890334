"""Small models of architectures that no fixture has: shapes as transformers stores them, numbers drawn here.

``models.json``, here and in the room of the third set, holds, for each ``model_type``, the config and the names and
shapes that ``save_pretrained`` of transformers 5.16.1 gave a model of two small layers. Numbers come from a counter and
the names alone, so that they are the same everywhere; codes of FP8 are exact where a scale is a power of two.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tests.accuracy.held.common import STORES
from tests.accuracy.plain import FP8_VALUES, Numbers, bf16_of, to_bf16
from tests.damage import CONFIG, SHARD, Damage, MutableCheckpoint, opened
from tests.raw import RawTensor, shard_bytes

_MODELS: dict[str, dict[str, Any]] = {
    name: found
    for path in sorted(Path(__file__).parents[1].glob("*/models.json"))
    for name, found in json.loads(path.read_text(encoding="utf-8")).items()
}
#: What exporters leave in high precision whatever the recipe: no matrices of plain linear layers, or small ones.
_SMALL = re.compile(
    r".*(embed_tokens|embeddings|embed_in|embed_out|lm_head|norm|\.gate|router|shared_expert_gate|conv1d|conv\.conv"
    r"|in_proj_ba|in_proj_[ab]|\.wg|pos_embed|patch_|eh_proj|shared_head\.head)\.weight"
)
_TOWER = re.compile(r".*(visual|vision_tower|multi_modal_projector)\..*")
#: Rows and columns that have a scale of their own.
TILE = 128


@cache
def _files(model: str) -> dict[str, bytes]:
    found = _MODELS[model]
    tensors = {}
    for name, shape in found["tensors"].items():
        values = drawn(name, tuple(shape))
        dtype = found["other"].get(name, "BF16")
        tensors[name] = RawTensor(dtype, tuple(shape), STORES[dtype](values))
    return {CONFIG: json.dumps(found["config"]).encode(), SHARD: shard_bytes(tensors, {"format": "pt"})}


def model_of(model: str) -> MutableCheckpoint:
    """A model in BF16 by its ``model_type``, ready to be changed."""
    return opened(_files(model))


def drawn(name: str, shape: tuple[int, ...]) -> Numbers:
    """Numbers of a tensor: near one for what has one dimension, else small, with a size of their own in each row and in
    each tile."""
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    whole = generator.integers(-120, 121, size=shape).astype(np.float32)
    if len(shape) == 1:
        return whole / 1024 + (0.0 if name.endswith("bias") else 1.0)
    values = whole / 2048
    if len(shape) == 2:
        rows, columns = np.arange(shape[0])[:, None], np.arange(shape[1])[None, :]
        values = values * 2.0 ** -(rows % 3 + rows // TILE + 2 * (columns // TILE)).astype(np.float32)
    found: Numbers = values.astype(np.float32)
    return found


def linears(checkpoint: MutableCheckpoint, but: str = "", towers: bool = False) -> list[str]:
    """Weights that exporters quantize; ``but`` matches modules that a recipe leaves alone."""
    return [
        name
        for name, tensor in checkpoint.everything().items()
        if name.endswith(".weight")
        and len(tensor.shape) == 2
        and not _SMALL.fullmatch(name)
        and (towers or not _TOWER.fullmatch(name))
        and not (but and re.fullmatch(but, name.removesuffix(".weight")))
    ]


def _power(largest: Numbers) -> Numbers:
    """A power of two by which the largest number of each group becomes a code."""
    size = np.maximum(largest.astype(np.float64), 2.0**-40)
    found: Numbers = (2.0 ** np.ceil(np.log2(size / 240))).astype(np.float32)
    return found


def _by_tensor(values: Numbers) -> tuple[Numbers, Numbers]:
    scale = _power(np.abs(values).max(keepdims=True))
    return scale.reshape(()), scale


def _by_row(values: Numbers) -> tuple[Numbers, Numbers]:
    scale = _power(np.abs(values).max(axis=1, keepdims=True))
    return scale, scale


def _by_block(values: Numbers) -> tuple[Numbers, Numbers]:
    rows, columns = (math.ceil(extent / TILE) for extent in values.shape)
    grid = np.ones((rows, columns), np.float32)
    for row in range(rows):
        for column in range(columns):
            tile = values[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE]
            grid[row, column] = _power(np.abs(tile).max())
    wide = np.repeat(np.repeat(grid, TILE, 0), TILE, 1)[: values.shape[0], : values.shape[1]]
    return grid, wide


#: Granularity -> the scale as stored, and spread over the weight.
GRAINS: dict[str, Callable[[Numbers], tuple[Numbers, Numbers]]] = {
    "tensor": _by_tensor,
    "one": lambda values: (lambda pair: (pair[0].reshape(1), pair[1]))(_by_tensor(values)),
    "row": _by_row,
    "flat": lambda values: (lambda pair: (pair[0].reshape(-1), pair[1]))(_by_row(values)),
    "block": _by_block,
    "pairs": lambda values: (lambda pair: (pair[0].reshape(pair[0].shape[0], 1, pair[0].shape[1], 1), pair[1]))(
        _by_block(values)
    ),
}


def in_fp8(
    grain: str, scale: str = "weight_scale", dtype: str = "BF16", *, inputs: str = "", but: str = "", only: str = ""
) -> Damage:
    """Linear layers in FP8, with scales of a granularity under a name and in a type; ``inputs`` names the static scales
    of inputs, ``only`` matches the modules that this is done to where these are not all."""

    def change(checkpoint: MutableCheckpoint) -> None:
        for name in linears(checkpoint, but, towers=bool(only)):
            module = name.removesuffix(".weight")
            tensor = checkpoint.get(name)
            if (only and not re.fullmatch(only, module)) or tensor.dtype != "BF16":
                continue
            values = bf16_of(tensor.data).reshape(tensor.shape)
            stored, wide = GRAINS[grain](values)
            shard = next(shard for shard in checkpoint.shards.values() if name in shard)
            shard[name] = RawTensor("F8_E4M3", tensor.shape, FP8_VALUES.codes_of(values / wide))
            shard[f"{module}.{scale}"] = RawTensor(dtype, stored.shape, STORES[dtype](stored.reshape(-1)))
            if inputs:
                extents = () if grain == "tensor" else (1,)
                data = STORES[dtype](np.full(1, 0.03125, np.float32))
                shard[f"{module}.{inputs}"] = RawTensor(dtype, extents, data)

    return change


def add(tensors: dict[str, tuple[int, ...]]) -> Damage:
    """More tensors in BF16."""

    def change(checkpoint: MutableCheckpoint) -> None:
        for name, shape in tensors.items():
            checkpoint.put(name, "BF16", shape, to_bf16(drawn(name, shape)))

    return change


def declared(block: dict[str, Any], *, under: str = "") -> Damage:
    """A quantization config, at the top or in a section."""

    def change(checkpoint: MutableCheckpoint) -> None:
        place = checkpoint.config[under] if under else checkpoint.config
        place["quantization_config"] = json.loads(json.dumps(block))

    return change
