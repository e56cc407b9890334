"""Tensors without a config: what is said of FP8 weights and of scales that were left behind, and of plain weights."""

from __future__ import annotations

from typing import Any

import pytest

from ckptkit.formats.reading import Unquantized, read
from ckptkit.storage.container import Container, open_container
from tests.formats.synthetic import f32
from tests.formats.told import told
from tests.raw import MemorySource, RawTensor, checkpoint_files

UP = "model.layers.0.mlp.up_proj"
FP8, PLAIN = RawTensor("F8_E4M3", (2, 2), b"8888"), RawTensor("BF16", (2, 2), bytes(8))
INT8, NORM = RawTensor("I8", (2, 2), bytes(4)), {"model.norm.weight": RawTensor("BF16", (2,), bytes(4))}


def folder(tensors: dict[str, RawTensor], config: dict[str, Any] | None) -> Container:
    """A folder in memory, without a config.json where there is no config."""
    contents = checkpoint_files({"model.safetensors": {**NORM, **tensors}}, config or {})
    return open_container(
        MemorySource({name: data for name, data in contents.items() if name != "config.json" or config is not None})
    )


@pytest.mark.parametrize(
    ("tensors", "config", "lines"),
    [
        (
            {f"{UP}.weight": FP8},
            {"model_type": "llama"},
            [
                "config-no-quantization: model.layers.0.mlp.up_proj.weight: FP8 weights, but "
                "config.json has no quantization_config",
                "  expected a quantization_config",
                "  found 1 FP8 weight, 0 scales beside them",
                "  help restore the quantization_config that the exporter wrote",
                "help: restore the quantization_config that the exporter wrote",
            ],
        ),
        (
            {f"{UP}.weight": FP8, "a.weight": FP8, f"{UP}.weight_scale": f32()},
            {"model_type": "llama"},
            [
                "config-no-quantization: model.layers.0.mlp.up_proj.weight: FP8 weights, but "
                "config.json has no quantization_config",
                "  expected a quantization_config",
                "  found 2 FP8 weights, 1 scale beside them",
                "  help restore the quantization_config that the exporter wrote",
                "help: restore the quantization_config that the exporter wrote",
            ],
        ),
        (
            {f"{UP}.weight": FP8, f"{UP}.weight_scale_inv": f32(1, 1), f"{UP}.input_scale": f32()},
            None,
            [
                "config-no-quantization: model.layers.0.mlp.up_proj.weight: FP8 weights, but the "
                "folder has no config.json",
                "  expected a quantization_config",
                "  found 1 FP8 weight, 2 scales beside them",
                "  help restore the config.json that the exporter wrote",
                "help: restore the config.json that the exporter wrote",
            ],
        ),
        (
            {f"{UP}.weight": PLAIN, f"{UP}.weight_scale": f32()},
            {"model_type": "llama"},
            [
                "config-lost: model.layers.0.mlp.up_proj.weight_scale: scales of plain weights, but "
                "config.json has no quantization_config",
                "  expected a quantization_config",
                "  found 1 scale beside weights in BF16",
                "  help restore the quantization_config that the exporter wrote, or export again: "
                "weights that were saved uncompressed need no scales",
                "help: restore the quantization_config that the exporter wrote, or export again: "
                "weights that were saved uncompressed need no scales",
            ],
        ),
        (
            {f"{UP}.weight": PLAIN, f"{UP}.weight_scale": f32(), f"{UP}.input_scale": f32()},
            None,
            [
                "config-lost: model.layers.0.mlp.up_proj.weight_scale: scales of plain weights, but "
                "the folder has no config.json",
                "  expected a quantization_config",
                "  found 2 scales beside weights in BF16",
                "  help restore the config.json that the exporter wrote, or export again: weights "
                "that were saved uncompressed need no scales",
                "help: restore the config.json that the exporter wrote, or export again: weights "
                "that were saved uncompressed need no scales",
            ],
        ),
        (
            {f"{UP}.weight": INT8, f"{UP}.weight_scale": f32(2, 1)},
            {"model_type": "llama"},
            [
                "config-lost: model.layers.0.mlp.up_proj.weight_scale: scales of quantized weights, "
                "but config.json has no quantization_config",
                "  expected a quantization_config",
                "  found 1 scale beside weights in I8",
                "  help restore the quantization_config that the exporter wrote",
                "help: restore the quantization_config that the exporter wrote",
            ],
        ),
        (
            {"model.layers.0.self_attn.k_scale": f32()},
            {"model_type": "llama"},
            [
                "config-lost-kv: model.layers.0.self_attn.k_scale: scales of an FP8 KV cache, but "
                "config.json has no quantization_config",
                "  expected a KV-cache scheme",
                "  found 1 scale of the KV cache or of attention",
                "  help restore the quantization_config that the exporter wrote",
                "help: restore the quantization_config that the exporter wrote",
            ],
        ),
        (
            {"model.layers.0.self_attn.k_scale": f32(), "model.layers.0.self_attn.v_scale": f32()},
            None,
            [
                "config-lost-kv: model.layers.0.self_attn.k_scale: scales of an FP8 KV cache, but "
                "the folder has no config.json",
                "  expected a KV-cache scheme",
                "  found 2 scales of the KV cache or of attention",
                "  help restore the config.json that the exporter wrote",
                "help: restore the config.json that the exporter wrote",
            ],
        ),
        (
            {f"{UP}.weight": PLAIN},
            {"model_type": "llama"},
            ["help: this looks like an unquantized checkpoint: there is nothing for ckptkit to convert or check"],
        ),
    ],
)
def test_what_is_left_behind(tensors: dict[str, RawTensor], config: dict[str, Any] | None, lines: list[str]) -> None:
    found = read(folder(tensors, config))
    assert isinstance(found, Unquantized) and found.message == "not a quantized checkpoint"
    assert [*told(found.faults), f"help: {found.help}"] == lines
