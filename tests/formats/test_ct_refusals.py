"""compressed-tensors configs that are refused: which value, what was expected of it, and what to do."""

from __future__ import annotations

from typing import Any

import pytest

from ckptkit.errors import Fault, FormatError
from ckptkit.formats.compressed_tensors import config
from tests.formats.ct_blocks import INT4, block, group, weights
from tests.formats.told import refused, told

GROUP = "config_groups.group_0"
FP8_ONLY = "ckptkit handles FP8 checkpoints only"


#: Faults that have a rule of their own.
KINDS = {
    "kv_cache_scheme": "kv-value",
    "kv_cache_scheme.num_bits": "kv-elements",
    "sparsity_config.format": "sparsity-value",
}


@pytest.mark.parametrize(
    ("changes", "path", "expected", "found", "help"),
    [
        (
            {"transform_config": {"R1": {}}},
            "transform_config",
            "nothing: rotations are part of the numbers",
            "{'R1': {}}",
            "ckptkit does not handle such checkpoints",
        ),
        (
            {"moe_sparsity_config": {"layers": 1}},
            "moe_sparsity_config",
            "nothing: it says which experts exist",
            "{'layers': 1}",
            "ckptkit does not handle such checkpoints",
        ),
        (
            {"sparsity_config": {"format": "sparse-24-bitmask"}},
            "sparsity_config.format",
            "dense",
            "'sparse-24-bitmask'",
            "sparse storage is not FP8 storage",
        ),
        ({"config_groups": None}, "config_groups", "an object", "nothing", None),
        ({"format": 3}, "format", "a string", "3", None),
        ({"ignore": 3}, "ignore", "a list of strings", "3", None),
        (group(format="float32"), f"{GROUP}.format", "float-quantized", "'float32'", FP8_ONLY),
        (group(format=[]), f"{GROUP}.format", "a string", "[]", None),
        (group(targets="Linear"), f"{GROUP}.targets", "a list of strings", "'Linear'", None),
        (
            group(weights=None),
            f"{GROUP}.weights",
            "an object",
            "nothing",
            "a group without weight quantization is not FP8 storage",
        ),
        (weights(type="INT"), f"{GROUP}.weights.type", "float", "'int'", FP8_ONLY),
        (weights(num_bits=4), f"{GROUP}.weights.num_bits", "8", "4", FP8_ONLY),
        (weights(num_bits=None), f"{GROUP}.weights.num_bits", "8", "nothing", FP8_ONLY),
        (weights(symmetric=False), f"{GROUP}.weights.symmetric", "true", "False", "FP8 storage has no zero points"),
        (weights(symmetric=1), f"{GROUP}.weights.symmetric", "true or false", "1", None),
        (weights(dynamic="local"), f"{GROUP}.weights.dynamic", "true or false", "'local'", None),
        (weights(dynamic=None), f"{GROUP}.weights.dynamic", "true or false", "nothing", None),
        (
            weights(strategy="row"),
            f"{GROUP}.weights.strategy",
            "tensor, channel, token, group, block or attn_head",
            "'row'",
            None,
        ),
        (
            weights(strategy="group", group_size=0),
            f"{GROUP}.weights.strategy",
            "tensor, channel, token, group, block or attn_head",
            "'group'",
            None,
        ),
        (
            weights(strategy="group", group_size=True),
            f"{GROUP}.weights.group_size",
            "a whole number",
            "True",
            None,
        ),
        (weights(group_size=1.5), f"{GROUP}.weights.group_size", "a whole number", "1.5", None),
        (
            group(format="pack-quantized"),
            f"{GROUP}.format",
            "float-quantized",
            "'pack-quantized'",
            "the group's weights are floats of eight bits, which no such storage holds",
        ),
        (
            group(input_activations={}),
            f"{GROUP}.input_activations",
            "null or an object with a type",
            "{}",
            "the library reads integers out of nothing said, and engines no scheme at all",
        ),
        (weights(strategy="block"), f"{GROUP}.weights.block_structure", "[rows, columns]", "nothing", None),
        (
            weights(strategy="block", block_structure=[128, 0]),
            f"{GROUP}.weights.block_structure",
            "[rows, columns]",
            "[128, 0]",
            None,
        ),
        (
            weights(strategy="block", block_structure="128x"),
            f"{GROUP}.weights.block_structure",
            "[rows, columns]",
            "'128x'",
            None,
        ),
        (
            weights(strategy="block", block_structure=[1, 2, 3]),
            f"{GROUP}.weights.block_structure",
            "[rows, columns]",
            "[1, 2, 3]",
            None,
        ),
        (
            weights(strategy="block", block_structure=[True, 2]),
            f"{GROUP}.weights.block_structure",
            "[rows, columns]",
            "[True, 2]",
            None,
        ),
        (group(input_activations=3), f"{GROUP}.input_activations", "an object", "3", None),
        (
            group(output_activations={"type": "float", "strategy": "x"}),
            f"{GROUP}.output_activations.strategy",
            "tensor, channel, token, group, block or attn_head",
            "'x'",
            None,
        ),
        (
            {"config_groups": {"W4A16": ["Linear"]}},
            "config_groups.W4A16",
            "one of FP8, FP8_DYNAMIC, FP8_BLOCK",
            "'W4A16'",
            None,
        ),
        ({"config_groups": {"FP8": [3]}}, "config_groups.FP8", "a list of strings", "[3]", None),
        ({"kv_cache_scheme": 3}, "kv_cache_scheme", "an object", "3", None),
        (
            {"kv_cache_scheme": {"type": "float", "num_bits": 4, "strategy": "tensor"}},
            "kv_cache_scheme.num_bits",
            "8",
            "4",
            FP8_ONLY,
        ),
    ],
)
def test_a_value_that_is_refused(
    changes: dict[str, Any], path: str, expected: str, found: str, help: str | None
) -> None:
    with pytest.raises(FormatError) as error:
        config.parse(block(changes), "LABEL")
    assert error.value.message == "LABEL: the quantization config cannot be understood"
    fault = Fault(KINDS.get(path, "config-value"), f"{path} is not valid", None, None, expected, found, help)
    assert told(error.value.faults) == told([fault])


_INT8 = group(format="int-quantized", weights={"num_bits": 8}, input_activations={"num_bits": 8})["config_groups"][
    "group_0"
]


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"format": "marlin-24", "config_groups": {}}, " format 'marlin-24'"),
        ({"format": "sparse-bitmask"}, " format 'sparse-bitmask'"),
        (
            group(format="int-quantized", weights={"num_bits": 8}, input_activations={"num_bits": 8}),
            " (W8A8 INT8) format 'int-quantized'",
        ),
        (
            {"config_groups": {"a": INT4, "b": INT4, "c": _INT8}},
            " (W4A16, W8A8 INT8) format 'pack-quantized'",
        ),
    ],
)
def test_sound_configs_of_other_storages(changes: dict[str, Any], what: str) -> None:
    assert refused(lambda: config.parse(block(changes), "LABEL")) == [
        f"UnsupportedFormat: LABEL: the compressed-tensors{what} is not supported",
        "help: ckptkit reads float-quantized, naive-quantized, mxfp4-pack-quantized, mxfp8-quantized, "
        "nvfp4-pack-quantized",
    ]
