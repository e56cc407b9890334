"""Arrangements that are refused, in words: what of the parts does not fit, and what would."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import ckptkit
from ckptkit.errors import ConversionRefused
from tests.formats.synthetic import GROUPS
from tests.formats.told import told
from tests.raw import RawTensor, checkpoint_files, write_files

ATTENTION = "model.layers.0.self_attn"
MLP = "model.layers.0.mlp"
LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4}
HEADS = {**LLAMA, "num_attention_heads": 2, "num_key_value_heads": 1}


def plain(*shape: int, dtype: str = "BF16") -> RawTensor:
    size = 4 if dtype == "F32" else 2
    for extent in shape:
        size *= extent
    return RawTensor(dtype, shape, bytes(size))


def source(folder: Path, tensors: Mapping[str, RawTensor], config: Mapping[str, Any]) -> Path:
    """A folder with one module in FP8, and these tensors beside it in high precision."""
    fp8 = {
        "model.layers.1.mlp.down_proj.weight": RawTensor("F8_E4M3", (2, 2), b"8888"),
        "model.layers.1.mlp.down_proj.weight_scale": RawTensor("F32", (2, 1), bytes.fromhex("0000803f") * 2),
    }
    block = {
        "quant_method": "compressed-tensors",
        "format": "float-quantized",
        "quantization_status": "compressed",
        "config_groups": {"group_0": {**GROUPS["channel"], "targets": ["re:.*down_proj"]}},
    }
    files = checkpoint_files({"model.safetensors": {**fp8, **tensors}}, {**config, "quantization_config": block})
    write_files(folder, files)
    return folder


@pytest.mark.parametrize(
    ("tensors", "config", "options", "lines"),
    [
        (
            {f"{MLP}.gate_up_proj.weight": plain(5, 4)},
            LLAMA,
            {"fused": "split"},
            ["has no two halves", "  expected an even number of rows", "  found 5"],
        ),
        (
            {f"{ATTENTION}.qkv_proj.weight": plain(8, 4)},
            LLAMA,
            {"fused": "split"},
            [
                "does not have the rows that config.json promises",
                "  expected rows for 32 heads and 32 of keys and values",
                "  found 8",
            ],
        ),
        (
            {f"{ATTENTION}.qkv_proj.weight": plain(9, 4)},
            HEADS,
            {"fused": "split"},
            [
                "does not have the rows that config.json promises",
                "  expected rows for 2 heads and 1 of keys and values",
                "  found 9",
            ],
        ),
        (
            {f"{ATTENTION}.qkv_proj.weight": plain(8, 4)},
            {**HEADS, "head_dim": 4},
            {"fused": "split"},
            [
                "does not have the rows that config.json promises",
                "  expected rows for 2 heads and 1 of keys and values",
                "  found 8",
            ],
        ),
        (
            {f"{MLP}.gate_proj.weight": plain(2, 4), f"{MLP}.up_proj.weight": plain(2, 4, dtype="F32")},
            LLAMA,
            {"fused": "fuse"},
            ["its parts differ in columns or types", "  expected the same", "  found several"],
        ),
        (
            {
                f"{MLP}.gate_proj.weight": plain(2, 4),
                f"{MLP}.gate_proj.bias": plain(2),
                f"{MLP}.up_proj.weight": plain(2, 4),
            },
            LLAMA,
            {"fused": "fuse"},
            ["its parts differ", "  expected all quantized or none, all with a bias or none", "  found some"],
        ),
    ],
)
def test_refusals(
    tensors: dict[str, RawTensor], config: dict[str, Any], options: dict[str, Any], lines: list[str], tmp_path: Path
) -> None:
    with pytest.raises(ConversionRefused) as error:
        ckptkit.plan(source(tmp_path / "source", tensors, config), to="ct", **options)
    (fault,) = error.value.faults
    owner = next(iter(tensors)).rpartition(".")[0].replace("gate_proj", "gate_up_proj")
    first, *others = lines
    assert fault.tensor is not None and fault.tensor.removesuffix(".weight") == owner
    assert told([fault]) == [f"arrangement: {fault.tensor}: {first}", *others]


@pytest.mark.parametrize("head_dim", [None, 2])
def test_rows_of_heads(head_dim: int | None, tmp_path: Path) -> None:
    """Two heads of queries, one of keys, one of values: eight rows are four parts."""
    config = HEADS if head_dim is None else {**HEADS, "head_dim": head_dim}
    tensors = {f"{ATTENTION}.qkv_proj.weight": plain(8, 4), f"{ATTENTION}.qkv_proj.bias": plain(8)}
    plan = ckptkit.plan(source(tmp_path / "source", tensors, config), to="ct", fused="split")
    made = {tensor.name: tensor for shard in plan.output.shards for tensor in shard.tensors}
    rows = [("q", 0, 4), ("k", 4, 2), ("v", 6, 2)]
    for part, first, size in rows:
        weight, bias = (made[f"{ATTENTION}.{part}_proj.{last}"] for last in ("weight", "bias"))
        assert (weight.shape, weight.parameters["first"]) == ((size, 4), first * 4)
        assert (bias.shape, bias.parameters["first"]) == ((size,), first)
        assert weight.reason == bias.reason == "rows of qkv_proj"
