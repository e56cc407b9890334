"""Quark configs in canonical words: specs, the KV cache, the fp8 mode, and what fixes ask of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ckptkit.formats.quark import config, faults
from ckptkit.model.granularity import Granularity, PerBlock, PerChannel, PerGroup, PerTensor, PerToken
from ckptkit.model.scheme import KVCacheScheme, Quantization, Scheme
from tests.formats.quark_blocks import CUSTOM, STATIC, block, cache, inputs, weight
from tests.formats.synthetic import files, read
from tests.formats.told import told


@pytest.mark.parametrize(
    ("spec", "granularity"),
    [
        ({}, PerTensor()),
        ({"qscheme": "per_channel"}, PerChannel()),
        ({"qscheme": "per_channel", "ch_axis": 0}, PerChannel()),
        ({"qscheme": "per_channel", "axis": 0}, PerChannel()),
        ({"qscheme": "per_group", "group_size": 1}, PerGroup(1)),
        ({"qscheme": "per_block", "block_size": [1, 128]}, PerBlock(1, 128)),
        ({"symmetric": None}, PerTensor()),
    ],
)
def test_weights(spec: dict[str, Any], granularity: Granularity) -> None:
    assert config.parse_native(block(weight(**spec)), "LABEL").default == Scheme(Quantization(granularity), None)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, Quantization(PerTensor())),
        ({"is_dynamic": True}, Quantization(PerTensor(), dynamic=True)),
        ({"qscheme": "per_channel", "ch_axis": 1, "is_dynamic": True}, Quantization(PerToken(), dynamic=True)),
        ({"qscheme": "per_group", "group_size": 128, "is_dynamic": True}, Quantization(PerGroup(128), dynamic=True)),
    ],
)
def test_inputs(spec: dict[str, Any], expected: Quantization) -> None:
    assert config.parse_native(block(inputs(**spec)), "LABEL").default == Scheme(Quantization(PerTensor()), expected)


@pytest.mark.parametrize("value", [None, [], [STATIC]])
def test_a_list_is_its_one_spec(value: Any) -> None:
    default = config.parse_native(
        block({"global_quant_config": {"weight": STATIC, "input_tensors": value}}), "L"
    ).default
    assert default == Scheme(Quantization(PerTensor()), Quantization(PerTensor()) if value else None)


@pytest.mark.parametrize(
    ("pattern", "is_cache", "is_output"),
    [
        ("*k_proj", True, False),
        ("model.layers.0.self_attn.v_proj", True, False),
        ("*qkv_proj", True, False),
        ("*q_proj", False, False),
        ("*up_proj", False, True),
    ],
)
def test_outputs_are_the_cache_or_a_layers(pattern: str, is_cache: bool, is_output: bool) -> None:
    changes = {"layer_quant_config": {pattern: {"weight": STATIC, "output_tensors": STATIC}}}
    parsed = config.parse_native(block(changes), "LABEL")
    assert parsed.kv_cache == (KVCacheScheme(Quantization(PerTensor()), "pre-rope") if is_cache else None)
    ((_, scheme),) = parsed.layers
    assert isinstance(scheme, Scheme) and (scheme.output is not None) == is_output


@pytest.mark.parametrize(("after", "basis"), [(True, "post-rope"), (False, "pre-rope"), (None, "pre-rope")])
def test_where_the_cache_is_measured(after: bool | None, basis: str) -> None:
    parsed = config.parse_native(block({**cache(), "kv_cache_post_rope": after}), "LABEL")
    assert parsed.kv_cache == KVCacheScheme(Quantization(PerTensor()), basis)  # type: ignore[arg-type]


def test_what_is_understood() -> None:
    scheme = "W8A8 FP8, static per-tensor weights, static per-tensor activations"
    parsed = config.parse_native(block({**cache(), "exclude": ["lm_head"]}), "LABEL")
    assert parsed.understood == {
        "exclude": ["lm_head"],
        "default": scheme,
        "layers": {"*k_proj": "W8A16 FP8, static per-tensor weights, activations not quantized"},
        "kv_cache": "FP8 KV cache, static per-tensor",
        "kv_cache_group": ["*k_proj"],
        "version": "0.13",
    }
    assert (parsed.dialect, parsed.exclude) == ("native", ("lm_head",))
    assert config.parse_native(block({}), "LABEL").understood["kv_cache"] is None


@pytest.mark.parametrize(
    ("entries", "provenance"),
    [
        (None, ()),
        ([], ()),
        ({"name": "smooth"}, ("algo_config: smooth",)),
        ([{"name": "awq"}, "gptq"], ("algo_config: awq", "algo_config: 'gptq'")),
        ([{"name": "rotation", "r1": True, "online_r1_rotation": None}], ("algo_config: rotation",)),
    ],
)
def test_algorithms_that_were_folded_in(entries: Any, provenance: tuple[str, ...]) -> None:
    assert config.parse_native(block({"algo_config": entries}), "LABEL").provenance == provenance


@pytest.mark.parametrize(
    ("changes", "default", "cache", "excluded"),
    [
        ({}, Quantization(PerTensor()), None, ("lm_head",)),
        ({"activation_scheme": "dynamic"}, Quantization(PerTensor(), dynamic=True), None, ("lm_head",)),
        ({"activation_scheme": None}, None, None, ("lm_head",)),
        ({"kv_cache_scheme": "static"}, Quantization(PerTensor()), Quantization(PerTensor()), ("lm_head",)),
        (
            {"kv_cache_scheme": "dynamic"},
            Quantization(PerTensor()),
            Quantization(PerTensor(), dynamic=True),
            ("lm_head",),
        ),
        ({"ignored_layers": [], "modules_to_not_convert": ["a"]}, Quantization(PerTensor()), None, ("a",)),
    ],
)
def test_the_fp8_mode(
    changes: dict[str, Any], default: Quantization | None, cache: Quantization | None, excluded: tuple[str, ...]
) -> None:
    parsed = config.parse_custom({**CUSTOM, **changes}, "LABEL")
    assert (parsed.dialect, parsed.layers, parsed.exclude) == ("fp8", (), excluded)
    assert parsed.default == Scheme(Quantization(PerTensor()), default)
    assert parsed.kv_cache == (None if cache is None else KVCacheScheme(cache, "pre-rope"))
    assert parsed.understood == {
        "ignored_layers": list(excluded),
        "default": str(parsed.default),
        "kv_cache": None if cache is None else str(parsed.kv_cache),
    }


@pytest.mark.parametrize(
    ("changes", "edits"),
    [
        ({}, []),
        (weight(dynamic=False), []),
        (
            {"global_quant_config": {"weight": {"dynamic": False, "axis": 0}, "bias": None}},
            [
                ("global_quant_config.weight", "dynamic", "is_dynamic"),
                ("global_quant_config.weight", "axis", "ch_axis"),
            ],
        ),
        (
            {"layer_quant_config": {"a": {"input_tensors": {"axis": 1}}, "b": 3}, "kv_cache_quant_config": None},
            [("layer_quant_config.a.input_tensors", "axis", "ch_axis")],
        ),
        (
            {"kv_cache_quant_config": {"k": {"output_tensors": {"dynamic": 1}}}},
            [("kv_cache_quant_config.k.output_tensors", "dynamic", "is_dynamic")],
        ),
    ],
)
def test_new_spellings(changes: dict[str, Any], edits: list[tuple[str, str, str]]) -> None:
    found = [str(edit) for edit in faults.new_spellings(block(changes), ("q",))]
    assert found == [f"config.json: q.{spec}.{old} becomes q.{spec}.{new}" for spec, old, new in edits]


@pytest.mark.parametrize(
    ("group", "layers", "without"),
    [
        (["*k_proj"], {"*k_proj": {}}, False),
        (["*k_proj"], {"model.k_proj": {}}, False),
        (["*k_proj"], {"*v_proj": {}}, True),
        (["*k_proj", "*v_proj"], {"*k_proj": {}}, True),
        (["*k_proj"], None, True),
        (None, {}, False),
    ],
)
def test_a_group_needs_entries(group: Any, layers: Any, without: bool) -> None:
    changes = {"export": {"kv_cache_group": group}, "layer_quant_config": layers}
    assert faults.group_without_entries(block(changes)) == without
    assert not faults.group_without_entries(block({"export": None}))


@pytest.mark.parametrize(
    ("changes", "declared"),
    [
        ({}, [True, True]),
        ({"layer_quant_config": {"a": {"weight": None}}}, [False, True]),
        ({"layer_quant_config": {"*": {}, "a": {"weight": STATIC}}}, [True, False]),
        ({"global_quant_config": {"weight": None}, "layer_quant_config": {"b*": {"weight": STATIC}}}, [False, True]),
        ({"global_quant_config": None, "layer_quant_config": []}, [False, False]),
    ],
)
def test_what_a_config_quantizes(changes: dict[str, Any], declared: list[bool]) -> None:
    quantizes = config.declares(block(changes))
    assert [quantizes(name) for name in ("a", "b")] == declared


UP = "model.layers.0.mlp.up_proj"
OUTPUTS = Scheme(Quantization(PerTensor()), Quantization(PerTensor()), Quantization(PerTensor()))


@pytest.mark.parametrize(
    ("group", "changes", "lines"),
    [
        ([], {}, []),
        (["*k_proj"], {"layer_quant_config": {"*k_proj": {}}}, []),
        (
            ["*k_proj", "*v_proj"],
            {"layer_quant_config": {"*k_proj": {}}},
            [
                "quark-kv-group: kv_cache_group names layers for which layer_quant_config has no entry",
                "  expected layer_quant_config['*v_proj'] with output_tensors",
                "  found keys ['*k_proj']",
                "  at layer_quant_config",
            ],
        ),
        (
            ["*k_proj"],
            {"layer_quant_config": {"*k_proj": {}}, "global_quant_config": {"weight": STATIC, "bias": None}},
            [
                "quark-default-outputs: the keys of the default and of the KV entries differ, and readers compare them",
                "  expected global_quant_config.output_tensors = null",
                "  found no such key",
                "  at global_quant_config.output_tensors",
                "  fix config.json: q.global_quant_config.output_tensors = null",
            ],
        ),
        ([], {"global_quant_config": {"weight": STATIC}}, []),
        (
            [],
            {"global_quant_config": {"weight": STATIC, "bias": []}},
            [
                "quark-empty-list: a list of specs holds none: "
                "the library that wrote the format builds a quantizer of it all the same",
                "  expected global_quant_config.bias = null",
                "  found []",
                "  at global_quant_config.bias",
                "  fix config.json: q.global_quant_config.bias = null",
            ],
        ),
    ],
)
def test_faults_of_a_checkpoint(group: list[str], changes: dict[str, Any], lines: list[str]) -> None:
    checkpoint = replace(read(files({UP: "tensor"})), understood={"kv_cache_group": group})
    assert told(faults.read_faults(checkpoint, block(changes), ("q",))) == lines


def test_quantized_outputs_stop_vllm() -> None:
    checkpoint = read(files({UP: "tensor", f"{UP}.b": "tensor"}))
    modules = {name: module._replace(scheme=OUTPUTS) for name, module in checkpoint.modules.items()}
    assert told(faults.read_faults(replace(checkpoint, modules=modules), block({}), ("q",))) == [
        f"quark-outputs: {UP}: quantized outputs of linear layers: readers find no scheme for them",
        "  expected output_tensors = null",
        "  found static per-tensor",
    ]
