"""ModelOpt and plain fp8 configs in words: what is refused, what is told, and how a KV cache is declared."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ckptkit.formats.fp8 import PlainFp8
from ckptkit.formats.modelopt import ModelOpt
from ckptkit.formats.modelopt import config as modelopt
from ckptkit.formats.modelopt.facts import OTHERS, SCHEMES
from ckptkit.model.checkpoint import KVCache
from ckptkit.model.granularity import PerTensor
from ckptkit.model.scheme import KVCacheScheme, Quantization
from tests.formats.one_weight import NOT_UNDERSTOOD, TENSORS, UP, folder
from tests.formats.synthetic import f32, files, read
from tests.formats.told import refused, told
from tests.raw import RawTensor

KNOWN = f"ckptkit knows {', '.join((*SCHEMES, *OTHERS))}"


@pytest.mark.parametrize(
    ("section", "lines"),
    [
        ({}, ["config-value: FILE: quant_algo is not valid", "  expected an algorithm", "  found nothing"]),
        (
            {"quant_algo": "MIXED_PRECISION"},
            ["config-value: FILE: quantized_layers is not valid", "  expected an object", "  found nothing"],
        ),
        (
            {"quant_algo": "MIXED_PRECISION", "quantized_layers": {"a": "FP8", "b": {}}},
            [
                "config-value: FILE: quantized_layers.a is not valid",
                "  expected an object",
                "  found 'FP8'",
                "config-value: FILE: quantized_layers.b.quant_algo is not valid",
                "  expected an algorithm",
                "  found nothing",
            ],
        ),
        (
            {"quant_algo": "FP8", "ignore": "lm_head"},
            ["config-value: FILE: ignore is not valid", "  expected a list of strings", "  found 'lm_head'"],
        ),
        (
            {"quant_algo": "FP8", "exclude_modules": 3},
            ["config-value: FILE: exclude_modules is not valid", "  expected a list of strings", "  found 3"],
        ),
        (
            {"quant_algo": "FP8", "kv_cache_quant_algo": 8},
            ["kv-value: FILE: kv_cache_quant_algo is not valid", "  expected a string", "  found 8"],
        ),
        (
            {"quant_algo": "FP8", "kv_cache_quant_algo": "INT8"},
            ["kv-value: FILE: kv_cache_quant_algo is not valid", "  expected FP8", "  found 'INT8'"],
        ),
        (
            {"quant_algo": "FP8", "kv_cache_scheme": {"type": "int", "num_bits": 8}},
            ["kv-elements: FILE: kv_cache_scheme.type is not valid", "  expected float", "  found 'int'"],
        ),
        (
            {"quant_algo": "FP8", "kv_cache_scheme": "FP8"},
            ["kv-value: FILE: kv_cache_scheme is not valid", "  expected an object", "  found 'FP8'"],
        ),
    ],
)
def test_modelopt_refuses(section: dict[str, Any], lines: list[str]) -> None:
    assert refused(lambda: modelopt.parse(section, "FILE", "LABEL")) == [NOT_UNDERSTOOD, *lines]


@pytest.mark.parametrize(
    ("section", "message", "help"),
    [
        ({"quant_algo": "FP9"}, "NVIDIA ModelOpt, algorithm 'FP9' is not supported", KNOWN),
        (
            {"quant_algo": "MIXED_PRECISION", "quantized_layers": {"a": {"quant_algo": "fp9"}}},
            "NVIDIA ModelOpt, algorithm 'FP9' is not supported",
            KNOWN,
        ),
        (
            {"quant_algo": "FP8", "kv_cache_quant_algo": "NVFP4"},
            "a KV cache in NVFP4 is not supported",
            "ckptkit knows FP8 KV caches",
        ),
        (
            {"quant_algo": "FP8", "kv_cache_scheme": {"type": "float", "num_bits": 4}},
            "a KV cache in NVFP4 is not supported",
            "ckptkit knows FP8 KV caches",
        ),
    ],
)
def test_modelopt_knows_no_other(section: dict[str, Any], message: str, help: str) -> None:
    found = refused(lambda: modelopt.parse(section, "FILE", "LABEL"))
    assert found == [f"UnsupportedFormat: LABEL: {message}", f"help: {help}"]


@pytest.mark.parametrize(
    ("section", "cached"),
    [
        ({}, False),
        ({"kv_cache_quant_algo": "fp8"}, True),
        ({"kv_cache_quant_algo": ""}, False),
        ({"kv_cache_scheme": {"type": "float", "num_bits": 8}}, True),
        ({"kv_cache_scheme": {}}, False),
    ],
)
def test_the_cache_in_a_word_or_spelt_out(section: dict[str, Any], cached: bool) -> None:
    found = modelopt.parse({"quant_algo": "fp8", "ignore": ["lm_head"], **section}, "FILE", "LABEL")
    assert found.kv_cache == (KVCacheScheme(Quantization(PerTensor())) if cached else None)
    assert found.understood == {
        "quant_algo": "FP8",
        "scheme": "W8A8 FP8, static per-tensor weights, static per-tensor activations",
        "excluded": ["lm_head"],
        "kv_cache": "FP8 KV cache, static per-tensor" if cached else None,
    }


FP8 = {"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head"]}
FLAT = {**TENSORS, f"{UP}.weight_scale": f32(1, 1)}


@pytest.mark.parametrize(
    ("block", "side", "tensors", "lines"),
    [
        (FP8, None, TENSORS, []),
        (FP8, {"quant_algo": "FP8", "exclude_modules": ["lm_head"]}, TENSORS, []),
        (FP8, {"quant_algo": "fp8"}, TENSORS, []),
        (
            FP8,
            {"quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head", "b", "a"]},
            TENSORS,
            [
                "configs-disagree: hf_quant_config.json: quantization.quant_algo says otherwise than config.json",
                "  expected FP8",
                "  found NVFP4",
                "configs-disagree: hf_quant_config.json: quantization.kv_cache_quant_algo says "
                "otherwise than config.json",
                "  expected config.json declares none",
                "  found FP8",
                "configs-disagree: hf_quant_config.json: quantization.exclude_modules says otherwise than config.json",
                "  expected the same entries as config.json",
                "  found differ in 'a'",
            ],
        ),
        (
            {**FP8, "kv_cache_scheme": {"num_bits": 8}},
            {"quant_algo": "FP8", "kv_cache_quant_algo": None},
            TENSORS,
            [
                "configs-disagree: hf_quant_config.json: quantization.kv_cache_quant_algo says "
                "otherwise than config.json",
                "  expected config.json declares an FP8 KV cache",
                "  found None",
            ],
        ),
        (
            {"quant_method": "modelopt"},
            None,
            TENSORS,
            ["modelopt-nothing: no quant_algo", "  expected an algorithm", "  found None"],
        ),
        (
            {"quant_method": "modelopt", "quant_algo": 8},
            {},
            TENSORS,
            ["modelopt-nothing: hf_quant_config.json: no quant_algo", "  expected an algorithm", "  found None"],
        ),
        (
            {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"},
            None,
            TENSORS,
            ["modelopt-nothing: mixed precision without layers", "  expected quantized_layers", "  found none"],
        ),
        (
            {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "quantized_layers": {"a": 1}},
            None,
            TENSORS,
            [],
        ),
        (
            {**FP8, "quant_algo": "FP8_PB_WO"},
            None,
            FLAT,
            [
                "block-grid-flat: model.safetensors: model.layers.0.mlp.up_proj.weight_scale: an "
                "FP8_PB_WO scale has four dimensions, the second and fourth of one, and this one has two",
                "  expected [1, 1, 1, 1]",
                "  found [1, 1]",
            ],
        ),
        ({**FP8, "quant_algo": "FP8_PB_WO"}, None, TENSORS, []),
        (FP8, None, FLAT, []),
    ],
)
def test_what_modelopt_configs_are_told(block: Any, side: Any, tensors: dict[str, RawTensor], lines: list[str]) -> None:
    container = folder(block, side, tensors)
    dialect = ModelOpt().dialect_of(container)
    assert told(ModelOpt().config_faults(container, dialect, None)) == lines


@pytest.mark.parametrize(
    ("block", "side", "words"),
    [
        (FP8, None, "quant_method 'modelopt' (NVIDIA ModelOpt, FP8)"),
        ({"quant_method": "modelopt"}, None, "quant_method 'modelopt' (NVIDIA ModelOpt)"),
        ({"quantization": {"quant_algo": "fp8"}}, None, "a config without a method (NVIDIA ModelOpt, FP8)"),
        (None, {"quant_algo": "NVFP4"}, "hf_quant_config.json (NVIDIA ModelOpt, NVFP4)"),
    ],
)
def test_what_modelopt_calls_a_folder(block: Any, side: Any, words: str) -> None:
    assert ModelOpt().describe(folder(block, side)) == words


CHECKPOINT = read(files({UP: "tensor"}))
CACHE = KVCache(KVCacheScheme(Quantization(PerTensor())), ())


def declared(form: ModelOpt | PlainFp8, config: dict[str, Any], cache: KVCache | None) -> list[str]:
    container = replace(CHECKPOINT.container, config=config)
    return [str(edit) for edit in form.declare_kv_cache(replace(CHECKPOINT, container=container), cache)]


@pytest.mark.parametrize(
    ("form", "config", "path", "word", "nothing"),
    [
        (
            ModelOpt(),
            {"quantization_config": FP8},
            "quantization_config.kv_cache_scheme",
            '{"dynamic": false, "num_bits": 8, "type": "float"}',
            "null",
        ),
        (
            ModelOpt(),
            {"text_config": {"quantization_config": {"quantization": {"quant_algo": "FP8"}}}},
            "text_config.quantization_config.quantization.kv_cache_quant_algo",
            '"FP8"',
            "null",
        ),
        (
            PlainFp8(),
            {"text_config": {"quantization_config": {}}},
            "text_config.quantization_config.kv_cache_scheme",
            '"static"',
            "null",
        ),
    ],
)
def test_declaring_a_cache(
    form: ModelOpt | PlainFp8, config: dict[str, Any], path: str, word: str, nothing: str
) -> None:
    assert declared(form, config, CACHE) == [f"config.json: {path} = {word}"]
    assert declared(form, config, None) == [f"config.json: {path} = {nothing}"]
    assert declared(form, {}, CACHE) == []
