"""compressed-tensors configs that are understood: what each fault states, where it points, and what its fix does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ckptkit.formats import config_block
from ckptkit.formats.compressed_tensors import config, faults
from tests.formats.ct_blocks import CHANNEL, INT4, block, group, weights
from tests.formats.synthetic import args, files, read
from tests.formats.told import told


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({}, []),
        (
            {"color": "red", "groups": None},
            [
                "config-unknown-key: a key that compressed-tensors does not know",
                "  found color",
                "  at color",
                "config-unknown-key: a key that compressed-tensors does not know",
                "  found groups",
                "  at groups",
            ],
        ),
        (
            group(color=None, shape=1),
            [
                "config-unknown-key: a key that compressed-tensors does not know",
                "  found config_groups.group_0.color",
                "  at config_groups.group_0.color",
                "  fix config.json: remove text_config.q.config_groups.group_0.color",
                "config-unknown-key: a key that compressed-tensors does not know",
                "  found config_groups.group_0.shape",
                "  at config_groups.group_0.shape",
            ],
        ),
        (
            weights(color=None, shape=2),
            [
                "config-unknown-key: a key that compressed-tensors does not know",
                "  found config_groups.group_0.weights.color",
                "  at config_groups.group_0.weights.color",
                "  fix config.json: remove text_config.q.config_groups.group_0.weights.color",
                "config-unknown-key: a key that compressed-tensors does not know",
                "  found config_groups.group_0.weights.shape",
                "  at config_groups.group_0.weights.shape",
            ],
        ),
        (
            group(weights={"strategy": "tensor"}),
            [
                "ct-type-missing: the quantization type is missing and defaults to int, which is an INT8 scheme",
                '  expected config_groups.group_0.weights.type = "float"',
                "  found nothing",
                "  at config_groups.group_0.weights.type",
                '  fix config.json: text_config.q.config_groups.group_0.weights.type = "float"',
            ],
        ),
        (
            {"quantization_status": None},
            [
                "ct-status: the config does not say that the weights are stored compressed",
                '  expected quantization_status "compressed"',
                "  found nothing",
                "  at quantization_status",
                '  fix config.json: text_config.q.quantization_status = "compressed"',
            ],
        ),
        (
            {"quantization_status": "frozen"},
            [
                "ct-status: the config does not say that the weights are stored compressed",
                '  expected quantization_status "compressed"',
                "  found 'frozen'",
                "  at quantization_status",
                '  fix config.json: text_config.q.quantization_status = "compressed"',
            ],
        ),
        (
            {"format": None, **group()},
            [
                "ct-format: no FP8 scheme is found without the format",
                '  expected format "float-quantized"',
                "  found None",
                "  at format",
                '  fix config.json: text_config.q.format = "float-quantized"',
            ],
        ),
        ({"format": "mixed-precision"}, []),
        (
            {"format": "mixed-precision", **group()},
            [
                "ct-format: no FP8 scheme is found without the format",
                '  expected format "float-quantized"',
                "  found 'mixed-precision'",
                "  at format",
                '  fix config.json: text_config.q.format = "float-quantized"',
            ],
        ),
        (
            {"format": None, "config_groups": {"FP8_DYNAMIC": ["Linear"], "b": CHANNEL}},
            [
                "ct-preset-group: the group is given as a preset name, which not every reader takes",
                "  expected a full group with targets, weights and input_activations",
                "  found config_groups.FP8_DYNAMIC: ['Linear']",
                "  at config_groups.FP8_DYNAMIC",
                '  fix config.json: text_config.q.config_groups = {"group_0": {"format": "float-quantized", "targets"',
                "ct-format: no FP8 scheme is found without the format",
                '  expected format "float-quantized"',
                "  found None",
                "  at format",
                "group-name: some consumers look for the group by name",
                "  expected config_groups.group_0",
                "  found config_groups.b",
                "  at config_groups.b",
            ],
        ),
        (
            {"config_groups": {"FP8_BLOCK": ["Linear"], "fp8": ["a"]}},
            [
                "ct-preset-group: the group is given as a preset name, which not every reader takes",
                "  expected a full group with targets, weights and input_activations",
                "  found config_groups.FP8_BLOCK: ['Linear']",
                "  at config_groups.FP8_BLOCK",
                '  fix config.json: text_config.q.config_groups = {"group_0": {"format": "float-quantized", "targets"',
                "ct-preset-group: the group is given as a preset name, which not every reader takes",
                "  expected a full group with targets, weights and input_activations",
                "  found config_groups.fp8: ['a']",
                "  at config_groups.fp8",
            ],
        ),
        (
            {"config_groups": {"FP8": ["Linear"], "b": INT4}},
            [
                "ct-preset-group: the group is given as a preset name, which not every reader takes",
                "  expected a full group with targets, weights and input_activations",
                "  found config_groups.FP8: ['Linear']",
                "  at config_groups.FP8",
                "group-name: some consumers look for the group by name",
                "  expected config_groups.group_0",
                "  found config_groups.b",
                "  at config_groups.b",
            ],
        ),
        (
            {"config_groups": {"x": CHANNEL}},
            [
                "group-name: some consumers look for the group by name",
                "  expected config_groups.group_0",
                "  found config_groups.x",
                "  at config_groups.x",
                "  fix config.json: text_config.q.config_groups.x becomes text_config.q.config_groups.group_0",
            ],
        ),
        (
            {"config_groups": {"x": CHANNEL, "y" * 100: CHANNEL}},
            [
                "groups-several: consumers that know one scheme apply the first group to every module",
                "  found x, yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy",
                "  at config_groups",
            ],
        ),
        ({"kv_cache_scheme": args("tensor")}, []),
        ({"kv_cache_scheme": args("attn_head")}, []),
        (
            {"kv_cache_scheme": {"type": "FLOAT", "num_bits": 8, "dynamic": True}},
            [
                "kv-strategy: the KV cache has two strategies and no default",
                "  expected kv_cache_scheme.strategy tensor or attn_head",
                "  found nothing",
                "  at kv_cache_scheme.strategy",
                "kv-type: the library takes any case, other readers this one only",
                '  expected kv_cache_scheme.type = "float"',
                "  found 'FLOAT'",
                "  at kv_cache_scheme.type",
                "kv-symmetric: without the library's defaults its absence is taken for asymmetric",
                "  expected kv_cache_scheme.symmetric = true",
                "  found nothing",
                "  at kv_cache_scheme.symmetric",
                "kv-dynamic: no engine computes KV scales while running",
                "  expected kv_cache_scheme.dynamic = false",
                "  found True",
                "  at kv_cache_scheme.dynamic",
            ],
        ),
        (
            {"kv_cache_scheme": {**args("channel"), "symmetric": None}},
            [
                "kv-strategy: the KV cache has two strategies and no default",
                "  expected kv_cache_scheme.strategy tensor or attn_head",
                "  found 'channel'",
                "  at kv_cache_scheme.strategy",
                "kv-symmetric: without the library's defaults its absence is taken for asymmetric",
                "  expected kv_cache_scheme.symmetric = true",
                "  found null",
                "  at kv_cache_scheme.symmetric",
            ],
        ),
        (
            weights(scale_dtype=None),
            [
                "ct-key-recent: older releases of compressed-tensors refuse these keys, even when they are null",
                "  expected no such keys",
                "  found config_groups.group_0.weights.scale_dtype",
                "  fix config.json: remove text_config.q.config_groups.group_0.weights.scale_dtype",
            ],
        ),
        (
            {"kv_cache_scheme": {**args("tensor"), "zp_dtype": "torch.int8", "scale_dtype": None}},
            [
                "ct-key-recent: older releases of compressed-tensors refuse these keys, even when they are null",
                "  expected no such keys",
                "  found scale_dtype, zp_dtype",
                "  fix config.json: remove text_config.q.kv_cache_scheme.scale_dtype",
            ],
        ),
        (
            group(
                input_activations={**args("token"), "zp_dtype": None},
                weights={**args("channel"), "zp_dtype": "torch.int8"},
            ),
            [
                "ct-key-recent: older releases of compressed-tensors refuse these keys, even when they are null",
                "  expected no such keys",
                "  found config_groups.group_0.input_activations.zp_dtype",
                "  fix config.json: remove text_config.q.config_groups.group_0.input_activations.zp_dtype",
            ],
        ),
        (
            {"sparsity_config": {"targets": ["a"]}},
            [
                "ct-sparsity: a sparsity_config with targets, although the storage is dense",
                "  expected sparsity_config = {}",
                "  found targets",
                "  at sparsity_config",
                "  fix config.json: remove text_config.q.sparsity_config",
            ],
        ),
        (
            {"sparsity_config": {"targets": ["a"], "format": "dense"}},
            [
                "ct-sparsity: a sparsity_config with targets, although the storage is dense",
                "  expected sparsity_config = {}",
                "  found targets",
                "  at sparsity_config",
                "  fix config.json: remove text_config.q.sparsity_config",
            ],
        ),
        ({"sparsity_config": {"targets": []}}, []),
        (
            {"ignore": ["Linear", "LinearBase", "a"]},
            [
                "ct-ignore-class: a class name in ignore: some readers skip all such modules, others none",
                "  expected module names",
                "  found Linear, LinearBase",
                "  at ignore",
            ],
        ),
    ],
)
def test_what_a_config_is_told(changes: dict[str, Any], lines: list[str]) -> None:
    """The config sits in a sub-config: places are below it, edits are spelled out from the top."""
    located = config_block.Located(block(changes), "text_config.q")
    parsed = config.parse(located.block, "LABEL", located.way)
    assert told([*parsed.faults, *faults.config_faults(located, None)]) == lines


@pytest.mark.parametrize(
    ("beside", "fixes"),
    [
        (None, ["compression_config becomes quantization_config"]),
        (faults.Beside(None), ["remove quantization_config", "compression_config becomes quantization_config"]),
        (faults.Beside({}), []),
    ],
)
def test_the_older_key(beside: faults.Beside | None, fixes: list[str]) -> None:
    found = faults.config_faults(config_block.Located(block({}), config_block.LEGACY_KEY), beside)
    message = "config-legacy-key: the block sits under a key that newer readers do not look at"
    assert told(found) == [message, *(f"  fix config.json: {fix}" for fix in fixes)]


@pytest.mark.parametrize("name", ["FP8", "fp8", "FP8_DYNAMIC", "FP8_BLOCK"])
def test_a_preset_is_written_out_as_the_group_it_stands_for(name: str) -> None:
    parsed = config.parse(block({"config_groups": {name: ["Linear", "re:.*x"]}}), "LABEL")
    (fault,) = parsed.faults
    assert isinstance(fault, config.ConfigFault)
    (edit,) = fault.edits
    assert isinstance(edit, config.SetKey) and edit.path == ("config_groups",)
    assert list(edit.value) == ["group_0"]
    again = config.parse(block({"config_groups": edit.value}), "LABEL")
    assert [(group.scheme, group.targets) for group in again.groups] == [
        (group.scheme, ("Linear", "re:.*x")) for group in parsed.groups
    ]


@pytest.mark.parametrize(
    ("changes", "understood"),
    [
        ({"format": None}, {"format": "float-quantized"}),
        ({"format": "naive-quantized"}, {"format": "naive-quantized"}),
        ({"quantization_status": "frozen"}, {"quantization_status": "frozen"}),
        ({"ignore": ["lm_head"]}, {"ignore": ["lm_head"]}),
        ({"kv_cache_scheme": args("tensor")}, {"kv_cache": "FP8 KV cache, static per-tensor"}),
        (
            weights(strategy="tensor"),
            {
                "groups": {
                    "group_0": {
                        "targets": ["Linear"],
                        "scheme": "W8A8 FP8, static per-tensor weights, dynamic per-token activations",
                    }
                }
            },
        ),
    ],
)
def test_what_is_understood(changes: dict[str, Any], understood: dict[str, Any]) -> None:
    found = config.parse(block(changes), "LABEL").understood
    assert list(found) == ["format", "quantization_status", "groups", "ignore", "kv_cache"]
    assert {key: found[key] for key in understood} == understood


def test_what_is_left_out_of_the_model_is_told() -> None:
    attention = {**CHANNEL, "targets": ["LlamaAttention", "re:.*Attention"]}
    changes = {"config_groups": {"group_0": {**CHANNEL, "color": 1}, "heads": attention}, "shape": 2}
    assert config.parse(block(changes), "LABEL").provenance == (
        "config_groups.heads (attention)",
        "config_groups.group_0.color",
        "shape",
    )


@pytest.mark.parametrize(
    ("usual", "fixes"),
    [
        ({}, ["compression_config becomes quantization_config"]),
        (
            {"quantization_config": None},
            ["remove quantization_config", "compression_config becomes quantization_config"],
        ),
        ({"quantization_config": 3}, []),
    ],
)
def test_a_config_under_the_older_key(usual: dict[str, Any], fixes: list[str]) -> None:
    """What lies under the usual key is moved out of the way only where it says nothing."""
    contents = files({"a.up_proj": "tensor"})
    document = json.loads(contents["config.json"])
    moved = {**usual, "compression_config": document.pop("quantization_config")}
    checkpoint = read({**contents, "config.json": json.dumps({**document, **moved}).encode()})
    (fault,) = (fault for fault in checkpoint.faults if fault.kind == "config-legacy-key")
    assert told([fault])[1:] == [f"  fix config.json: {fix}" for fix in fixes]
