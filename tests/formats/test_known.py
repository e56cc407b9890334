"""Methods without a reader: the width of an element that each config gives, and what tells a folder's kind."""

from __future__ import annotations

from typing import Any

import pytest

from ckptkit.formats.dialect import SkipList
from ckptkit.formats.known import FOLDERS, METHODS, undeclared
from ckptkit.model.select import PatternKind


def group(value: Any) -> dict[str, Any]:
    return {"weights": {"num_bits": value}}


@pytest.mark.parametrize(
    ("method", "block", "words"),
    [
        ("gptq", {"bits": 4}, "GPTQ, 4-bit"),
        ("gptq", {"bits": 1}, "GPTQ, 1-bit"),
        ("gptq", {"bits": 16}, "GPTQ, 16-bit"),
        *(("gptq", {"bits": value}, "GPTQ") for value in (0, 17, True, "4", None)),
        ("awq", {"w_bit": 4}, "AWQ, 4-bit"),
        ("awq", {"bits": 8, "w_bit": 4}, "AWQ, 8-bit"),
        ("awq", {"bits": 0, "w_bit": 4}, "AWQ, 4-bit"),
        ("bitsandbytes", {"load_in_4bit": True, "load_in_8bit": True}, "bitsandbytes, 4-bit"),
        ("bitsandbytes", {"load_in_8bit": True}, "bitsandbytes, 8-bit"),
        ("bitsandbytes", {"load_in_4bit": 1, "load_in_8bit": 1}, "bitsandbytes"),
        ("hqq", {"quant_config": {"weight_quant_params": {"nbits": 3}}}, "HQQ, 3-bit"),
        ("hqq", {"quant_config": {"weight_quant_params": 3}}, "HQQ"),
        ("hqq", {}, "HQQ"),
        ("bitnet", {}, "BitNet, 2-bit"),
        ("mxfp4", {}, "MXFP4"),
        ("nvfp4", {}, "NVFP4"),
        ("compressed-tensors", {"config_groups": {"a": group(4), "b": group(4)}}, "compressed-tensors, 4-bit"),
        ("compressed-tensors", {"config_groups": {"a": group(4), "b": group(8)}}, "compressed-tensors"),
        ("compressed-tensors", {"config_groups": {"a": group(4), "b": {}}}, "compressed-tensors"),
        ("compressed-tensors", {"config_groups": {"a": group(4), "b": ["Linear"]}}, "compressed-tensors, 4-bit"),
        ("compressed-tensors", {"config_groups": []}, "compressed-tensors"),
        *(("modelopt", {"quant_algo": name}, "NVIDIA ModelOpt, 4-bit") for name in ("NVFP4", "w4a16_awq", "INT4_AWQ")),
        *(("modelopt", {"quant_algo": name}, "NVIDIA ModelOpt") for name in ("INT8_SQ", "W8A16", "AW4", None)),
        *(
            ("quark", {"global_quant_config": {"weight": {"dtype": dtype}}}, f"AMD Quark, {bits}-bit")
            for dtype, bits in (("fp4", 4), ("int4", 4), ("uint4", 4), ("int8", 8), ("uint8", 8))
        ),
        ("quark", {"global_quant_config": {"weight": {"dtype": "int3"}}}, "AMD Quark"),
        ("quark", {"global_quant_config": {"weight": "int4"}}, "AMD Quark"),
        ("quark", {"global_quant_config": "int4"}, "AMD Quark"),
        (
            "quark",
            {"global_quant_config": {"weight": {"dtype": "int4"}}, "layer_quant_config": {"a": {}}},
            "AMD Quark",
        ),
        ("w8a8-fp8", {}, "FP8 in SGLang's own layout, 8-bit"),
        ("torchao", {"bits": 4}, "TorchAO"),
    ],
)
def test_widths(method: str, block: dict[str, Any], words: str) -> None:
    assert METHODS[method].in_words(block) == words


@pytest.mark.parametrize(
    ("lasts", "name"),
    [
        ({"qweight", "g_idx"}, "GPTQ"),
        ({"qweight", "qzeros"}, "AWQ"),
        ({"absmax", "quant_map"}, "bitsandbytes"),
        ({"W_q"}, "HQQ"),
        ({"codes", "codebooks"}, "AQLM"),
        ({"weight_packed", "weight_global_scale"}, "NVFP4"),
        ({"weight_packed", "weight_scale"}, "packed integers"),
        ({"scales", "biases"}, "MLX"),
        ({"gate_up_proj_blocks", "gate_up_proj_scales"}, "MXFP4"),
        ({"weight_data", "weight_scale"}, "Quanto"),
        ({"weight_blocks"}, None),
        ({"qweight"}, None),
        ({"weight"}, None),
    ],
)
def test_what_names_tell(lasts: set[str], name: str | None) -> None:
    found = undeclared(frozenset(lasts | {"weight", "bias"}))
    assert (found and found.name) == name


@pytest.mark.parametrize(
    ("file", "document", "words"),
    [
        ("adapter_config.json", {}, "LoRA adapter"),
        (
            "adapter_config.json",
            {"peft_type": "LORA", "r": 8, "base_model_name_or_path": "org/base"},
            "LoRA adapter of rank 8 for org/base",
        ),
        ("adapter_config.json", {"peft_type": "LOHA", "r": "8", "base_model_name_or_path": ""}, "LOHA adapter"),
        ("adapter_config.json", {"r": True, "base_model_name_or_path": 3}, "LoRA adapter"),
        ("params.json", {}, "model in Mistral's own format"),
        ("model_index.json", {"_class_name": "FluxPipeline"}, "diffusers pipeline, FluxPipeline"),
        ("model_index.json", {"_class_name": 3}, "diffusers pipeline"),
        ("config.json", {"_class_name": "UNet"}, "part of a diffusers pipeline, UNet"),
        ("config.json", {}, "part of a diffusers pipeline"),
        ("config_sentence_transformers.json", {}, "sentence-transformers model"),
    ],
)
def test_kinds_of_folders(file: str, document: dict[str, Any], words: str) -> None:
    (kind,) = (kind for kind in FOLDERS if kind.file == file)
    assert kind.words(document) == words


@pytest.mark.parametrize(
    ("block", "entries", "present"),
    [
        ({}, (), ("a",)),
        ({"a": ["x"], "b": ["y"]}, ("x",), ("a", "b")),
        ({"a": [], "b": ["y", 3]}, ("y",), ("a", "b")),
        ({"a": None, "b": ["y"]}, ("y",), ("b",)),
        ({"a": "x"}, (), ("a",)),
        ({"c": ["z"]}, ("z",), ("a",)),
    ],
)
def test_skip_lists(block: dict[str, Any], entries: tuple[str, ...], present: tuple[str, ...]) -> None:
    """The first list that has any entries is read; all lists that a writer fills and that are there are edited."""
    listed = SkipList(("a", "b", "c"), ("a", "b"), PatternKind.EXACT)
    assert listed.entries(block) == entries
    assert listed.present(block) == present
    assert listed.key == "a"
