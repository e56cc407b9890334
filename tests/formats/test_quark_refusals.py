"""Quark configs: what each refusal and each fault states, where it points, and what its fix does."""

from __future__ import annotations

from typing import Any

import pytest

from ckptkit.errors import Fault, FormatError
from ckptkit.formats.quark import config
from tests.formats.quark_blocks import CUSTOM, INT4, STATIC, block, cache, inputs, weight
from tests.formats.told import refused, told

FP8_ONLY = "ckptkit handles FP8 E4M3 checkpoints only"
REAL_ONLY = "the weights are not stored in FP8 and load as garbage; export with weight_format='real_quantized'"


@pytest.mark.parametrize(
    ("changes", "path", "expected", "found", "help"),
    [
        ({"export": None}, "export", "an object", "nothing", None),
        (
            {"export": {"weight_format": "fake_quantized"}},
            "export.weight_format",
            "real_quantized",
            "'fake_quantized'",
            REAL_ONLY,
        ),
        ({"export": {"kv_cache_group": "*k_proj"}}, "export.kv_cache_group", "a list of strings", "'*k_proj'", None),
        (
            {"export": {"kv_cache_group": ["*k_proj"]}},
            "export.kv_cache_group",
            "layer_quant_config entries with output_tensors",
            "['*k_proj']",
            None,
        ),
        ({"global_quant_config": None}, "global_quant_config", "an object", "nothing", None),
        ({"layer_quant_config": []}, "layer_quant_config", "an object", "[]", None),
        ({"layer_type_quant_config": []}, "layer_type_quant_config", "an object", "[]", None),
        ({"kv_cache_quant_config": []}, "kv_cache_quant_config", "an object", "[]", None),
        ({"exclude": "lm_head"}, "exclude", "a list of strings", "'lm_head'", None),
        ({"layer_quant_config": {"a*": None}}, "layer_quant_config.a*", "an object", "nothing", None),
        (
            {"layer_quant_config": {"a*": {"weight": {"dtype": "fp9"}}}},
            "layer_quant_config.a*.weight.dtype",
            "fp8_e4m3",
            "'fp9'",
            FP8_ONLY,
        ),
        ({"layer_type_quant_config": {"Linear": 3}}, "layer_type_quant_config.Linear", "an object", "3", None),
        (
            {"global_quant_config": {"weight": STATIC, "bias": STATIC}},
            "global_quant_config.bias",
            "null",
            "{'dtype': 'fp8_e4m3', 'qscheme': 'per_tensor', 'is_dynamic': False}",
            "no engine reads quantized biases",
        ),
        (
            {"global_quant_config": {"weight": STATIC, "output_tensors": {"dtype": "int8"}}},
            "global_quant_config.output_tensors.dtype",
            "fp8_e4m3",
            "'int8'",
            FP8_ONLY,
        ),
        (
            {"global_quant_config": {"weight": [STATIC, STATIC]}},
            "global_quant_config.weight",
            "one spec",
            "[{'dtype': 'fp8_e4m3', 'qscheme': 'per_tensor', 'is_dynamic': False}, {'dtype': ",
            "two-level scales are not FP8 storage that ckptkit handles",
        ),
        (
            {"global_quant_config": {"weight": STATIC, "input_tensors": {"dtype": None}}},
            "global_quant_config.input_tensors.dtype",
            "fp8_e4m3",
            "nothing",
            FP8_ONLY,
        ),
        (
            weight(symmetric=False),
            "global_quant_config.weight.symmetric",
            "true",
            "False",
            "FP8 storage has no zero points",
        ),
        (weight(symmetric="no"), "global_quant_config.weight.symmetric", "true or false", "'no'", None),
        (weight(is_dynamic=None), "global_quant_config.weight.is_dynamic", "true or false", "nothing", None),
        (weight(is_dynamic="x"), "global_quant_config.weight.is_dynamic", "true or false", "'x'", None),
        (
            {"global_quant_config": {"weight": {"dtype": "fp8_e4m3", "qscheme": "per_tensor", "dynamic": 0}}},
            "global_quant_config.weight.dynamic",
            "true or false",
            "0",
            None,
        ),
        (
            weight(qscheme="per_row"),
            "global_quant_config.weight.qscheme",
            "per_tensor, per_channel, per_group or per_block",
            "'per_row'",
            None,
        ),
        (weight(qscheme="per_channel", ch_axis=1), "global_quant_config.weight.ch_axis", "0", "1", None),
        (weight(qscheme="per_channel", axis=1), "global_quant_config.weight.ch_axis", "0", "1", None),
        (inputs(qscheme="per_channel", ch_axis=0), "global_quant_config.input_tensors.ch_axis", "1", "0", None),
        (
            weight(qscheme="per_group", group_size=0),
            "global_quant_config.weight.qscheme",
            "per_tensor, per_channel, per_group or per_block",
            "'per_group'",
            None,
        ),
        (
            weight(qscheme="per_group", group_size=True),
            "global_quant_config.weight.qscheme",
            "per_tensor, per_channel, per_group or per_block",
            "'per_group'",
            None,
        ),
        (weight(qscheme="per_block"), "global_quant_config.weight.block_size", "[rows, columns]", "nothing", None),
        (
            weight(qscheme="per_block", block_size=[128]),
            "global_quant_config.weight.block_size",
            "[rows, columns]",
            "[128]",
            None,
        ),
        (
            weight(qscheme="per_block", block_size=[0, 128]),
            "global_quant_config.weight.block_size",
            "[rows, columns]",
            "[0, 128]",
            None,
        ),
        (
            weight(qscheme="per_block", block_size=[128, 2.0]),
            "global_quant_config.weight.block_size",
            "[rows, columns]",
            "[128, 2.0]",
            None,
        ),
        (
            cache(qscheme="per_channel"),
            "kv_cache_quant_config",
            "per_tensor",
            "'static per-channel'",
            "Quark KV scales are scalars",
        ),
        (
            {**cache(), "kv_cache_quant_config": {"*v_proj": {"output_tensors": {**STATIC, "is_dynamic": True}}}},
            "kv_cache_quant_config",
            "one output spec for keys and values",
            "['kv_cache_quant_config.*v_proj', 'layer_quant_config.*k_proj']",
            None,
        ),
        ({**cache(), "kv_cache_quant_config": {"*v_proj": 3}}, "kv_cache_quant_config.*v_proj", "an object", "3", None),
        ({"kv_cache_post_rope": 1}, "kv_cache_post_rope", "true or false", "1", None),
        (
            {"algo_config": {"name": "QuaRot"}},
            "algo_config",
            "no rotation at run time",
            "'QuaRot'",
            "ckptkit does not handle rotated checkpoints",
        ),
        (
            {"algo_config": [{"name": "rotation", "r3": True}]},
            "algo_config",
            "no rotation at run time",
            "'rotation'",
            "ckptkit does not handle rotated checkpoints",
        ),
        ({"algo_config": [{"name": "rotation", "r4": 1}]}, "algo_config.r4", "true or false", "1", None),
    ],
)
def test_a_value_that_is_refused(
    changes: dict[str, Any], path: str, expected: str, found: str, help: str | None
) -> None:
    """What is not understood comes first; faults of what is understood are told with it."""
    with pytest.raises(FormatError) as error:
        config.parse_native(block(changes), "LABEL")
    assert error.value.message == "LABEL: the quantization config cannot be understood"
    first, *others = error.value.faults
    words = Fault(first.kind, first.message, first.file, first.tensor, first.expected, first.found, first.help)
    assert words == Fault("config-value", f"{path} is not valid", "config.json", None, expected, found, help)
    assert "config-value" not in {fault.kind for fault in others}


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({}, []),
        (
            {"exclude": None},
            [
                "quark-null-key: exclude is null or missing, and readers take it for there",
                "  expected exclude = []",
                "  found nothing",
                "  at exclude",
                "  fix config.json: quantization_config.exclude = []",
            ],
        ),
        (
            {"layer_type_quant_config": None},
            [
                "quark-null-key: layer_type_quant_config is null or missing, and readers take it for there",
                "  expected layer_type_quant_config = {}",
                "  found nothing",
                "  at layer_type_quant_config",
                "  fix config.json: quantization_config.layer_type_quant_config = {}",
            ],
        ),
        (
            {"layer_quant_config": None, "export": {}},
            [
                "quark-null-key: export.kv_cache_group is null or missing, and readers take it for there",
                "  expected export.kv_cache_group = []",
                "  found nothing",
                "  at export.kv_cache_group",
                "  fix config.json: quantization_config.export.kv_cache_group = []",
                "  fix config.json: quantization_config.layer_quant_config = {}",
            ],
        ),
        (
            {"layer_type_quant_config": {"Linear": {"weight": STATIC}, "Conv2d": {}}},
            [
                "quark-layer-type: layer_type_quant_config is set, which the library applies and other readers do not",
                "  expected layer_type_quant_config = {}, and the same specs by name",
                "  found Linear, Conv2d",
            ],
        ),
        (
            {"global_quant_config": {"weight": {"dtype": "fp8_e4m3", "qscheme": "per_tensor", "dynamic": True}}},
            [
                "quark-old-key: an old spelling that newer readers pass over: the tensor is then static",
                "  expected global_quant_config.weight.is_dynamic",
                "  found global_quant_config.weight.dynamic = True",
            ],
        ),
        (
            {**cache(), "export": {"kv_cache_group": []}},
            [
                "quark-kv-group: outputs of key and value projections are quantized, but kv_cache_group is empty",
                "  expected export.kv_cache_group names those entries",
                "  found []",
            ],
        ),
        ({"layer_quant_config": {"*q_proj": {"weight": STATIC, "output_tensors": STATIC}}}, []),
    ],
)
def test_what_a_config_is_told(changes: dict[str, Any], lines: list[str]) -> None:
    parsed = config.parse_native(block(changes), "LABEL", ("quantization_config",))
    assert told(parsed.faults) == lines


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"global_quant_config": INT4}, "(W4A16 INT4, global_quant_config.weight.dtype 'int4')"),
        ({"global_quant_config": {}, "layer_quant_config": {"a*": INT4}}, "(W4A16 INT4)"),
        (
            {
                "global_quant_config": INT4,
                "layer_quant_config": {"a*": {"weight": {"dtype": "int8", "qscheme": "per_tensor"}}},
            },
            "(W4A16 INT4, W8A16 INT8, global_quant_config.weight.dtype 'int4')",
        ),
        (
            {"layer_type_quant_config": {"Linear": INT4}},
            "(W4A16 INT4, layer_type_quant_config.Linear.weight.dtype 'int4')",
        ),
    ],
)
def test_sound_configs_of_other_storages(changes: dict[str, Any], what: str) -> None:
    assert refused(lambda: config.parse_native(block(changes), "LABEL")) == [
        f"UnsupportedFormat: LABEL: a Quark checkpoint of another storage than FP8 {what} is not supported",
        "help: ckptkit handles FP8 E4M3 checkpoints",
    ]


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        (
            {"activation_scheme": "x"},
            [
                "config-value: activation_scheme is not valid",
                "  expected static, dynamic or null",
                "  found 'x'",
                "fp8-fields: activation_scheme is neither static nor dynamic",
                "  expected static or dynamic",
                "  found 'x'",
                "  at activation_scheme",
            ],
        ),
        (
            {"activation_scheme": []},
            [
                "config-value: activation_scheme is not valid",
                "  expected static, dynamic or null",
                "  found []",
                "fp8-fields: activation_scheme is neither static nor dynamic",
                "  expected static or dynamic",
                "  found []",
                "  at activation_scheme",
            ],
        ),
        (
            {"kv_cache_scheme": "fp8"},
            ["kv-value: kv_cache_scheme is not valid", "  expected static, dynamic or null", "  found 'fp8'"],
        ),
        ({"export": 3}, ["config-value: export is not valid", "  expected an object", "  found 3"]),
        (
            {"export": {"weight_format": "x"}},
            [
                "config-value: export.weight_format is not valid",
                "  expected real_quantized",
                "  found 'x'",
                f"  help {REAL_ONLY}",
            ],
        ),
        (
            {"export": {"kv_cache_group": 3}},
            ["config-value: export.kv_cache_group is not valid", "  expected a list of strings", "  found 3"],
        ),
        (
            {"ignored_layers": 3},
            ["config-value: ignored_layers is not valid", "  expected a list of strings", "  found 3"],
        ),
        (
            {"kv_cache_post_rope": "x"},
            ["config-value: kv_cache_post_rope is not valid", "  expected true or false", "  found 'x'"],
        ),
        (
            {"algo_config": [{"name": "quarot"}]},
            [
                "config-value: algo_config is not valid",
                "  expected no rotation at run time",
                "  found 'quarot'",
                "  help ckptkit does not handle rotated checkpoints",
            ],
        ),
    ],
)
def test_what_the_fp8_mode_refuses(changes: dict[str, Any], lines: list[str]) -> None:
    found = refused(lambda: config.parse_custom({**CUSTOM, **changes}, "LABEL"))
    assert found == ["FormatError: LABEL: the quantization config cannot be understood", *lines]
