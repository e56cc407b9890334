"""Plain fp8 configs in words: what is refused, what is understood, and what is told of tensors that disagree."""

from __future__ import annotations

from typing import Any

import pytest

from ckptkit.formats.dialect import Dialect
from ckptkit.formats.fp8 import PlainFp8
from ckptkit.formats.fp8 import config as fp8
from ckptkit.formats.fp8.facts import BLOCK, MXFP4, NVFP4, PER_TENSOR, TRANSFORMERS
from ckptkit.model.granularity import Granularity, PerBlock, PerGroup, PerTensor, PerToken
from ckptkit.model.scheme import KVCacheScheme, OtherScheme, Quantization, Scheme
from tests.formats.one_weight import NOT_UNDERSTOOD, TENSORS, UP, folder
from tests.formats.synthetic import f32
from tests.formats.told import refused, told
from tests.raw import RawTensor

STATIC = {"quant_method": "fp8", "activation_scheme": "static", "ignored_layers": ["lm_head"]}
DYNAMIC = {**STATIC, "activation_scheme": "dynamic"}
#: A scheme that is not said is a dynamic one to most readers, and a finding (CK624).
UNSAID = {key: value for key, value in STATIC.items() if key != "activation_scheme"}


@pytest.mark.parametrize(
    ("block", "dialect", "lines"),
    [
        (
            {"activation_scheme": None},
            PER_TENSOR,
            [
                "config-value: activation_scheme is not valid",
                "  expected static or dynamic",
                "  found nothing",
                "fp8-fields: activation_scheme is neither static nor dynamic",
                "  expected static or dynamic",
                "  found nothing",
                "  at activation_scheme",
            ],
        ),
        (
            {**STATIC, "ignored_layers": 3},
            PER_TENSOR,
            ["config-value: ignored_layers is not valid", "  expected a list of strings", "  found 3"],
        ),
        (
            {**STATIC, "kv_cache_scheme": "fp8"},
            PER_TENSOR,
            ["kv-value: kv_cache_scheme is not valid", "  expected static, dynamic or null", "  found 'fp8'"],
        ),
        (
            {**STATIC, "scale_fmt": 8},
            PER_TENSOR,
            ["config-value: scale_fmt is not valid", "  expected a string", "  found 8"],
        ),
        (
            {**DYNAMIC, "weight_block_size": [128, 0]},
            BLOCK,
            [
                "config-value: weight_block_size is not valid",
                "  expected two numbers, or null",
                "  found [128, 0]",
                "fp8-fields: weight_block_size is not two numbers",
                "  expected [128, 128]",
                "  found [128, 0]",
                "  at weight_block_size",
            ],
        ),
        (
            {**DYNAMIC, "weight_block_size": 128},
            PER_TENSOR,
            [
                "config-value: weight_block_size is not valid",
                "  expected two numbers, or null",
                "  found 128",
                "fp8-fields: weight_block_size is not two numbers",
                "  expected [128, 128]",
                "  found 128",
                "  at weight_block_size",
            ],
        ),
        (
            STATIC,
            BLOCK,
            ["config-value: activation_scheme is not valid", "  expected dynamic, beside blocks", "  found 'static'"],
        ),
        (
            {**STATIC, "weight_block_size": [128, 128]},
            BLOCK,
            [
                "config-value: activation_scheme is not valid",
                "  expected dynamic, beside blocks",
                "  found 'static'",
                "fp8-fields: block scales go with dynamic activations only",
                "  expected activation_scheme dynamic",
                "  found 'static'",
                "  at activation_scheme",
            ],
        ),
    ],
)
def test_fp8_refuses(block: dict[str, Any], dialect: Dialect, lines: list[str]) -> None:
    assert refused(lambda: fp8.parse({}, block, dialect, "LABEL")) == [NOT_UNDERSTOOD, *lines]


@pytest.mark.parametrize(
    ("block", "dialect", "weight", "inputs"),
    [
        (STATIC, PER_TENSOR, PerTensor(), Quantization(PerTensor())),
        (DYNAMIC, PER_TENSOR, PerTensor(), Quantization(PerToken(), dynamic=True)),
        (DYNAMIC, TRANSFORMERS, PerTensor(), Quantization(PerToken(), dynamic=True)),
        (UNSAID, PER_TENSOR, PerTensor(), Quantization(PerToken(), dynamic=True)),
        (UNSAID, BLOCK, PerBlock(128, 128), Quantization(PerGroup(128), dynamic=True)),
        (DYNAMIC, BLOCK, PerBlock(128, 128), Quantization(PerGroup(128), dynamic=True)),
        ({**DYNAMIC, "weight_block_size": [1, 64]}, BLOCK, PerBlock(1, 64), Quantization(PerGroup(64), dynamic=True)),
    ],
)
def test_the_one_scheme(block: dict[str, Any], dialect: Dialect, weight: Granularity, inputs: Quantization) -> None:
    parsed = fp8.parse({}, block, dialect, "LABEL")
    assert parsed.scheme == Scheme(Quantization(weight), inputs)
    assert parsed.understood == {"scheme": str(parsed.scheme), "ignored_layers": ["lm_head"], "kv_cache": None}
    assert [parsed.is_excluded(name) for name in ("lm_head", UP)] == [True, False]
    assert [parsed.scheme_of(name) for name in ("lm_head", UP)] == [None, parsed.scheme]


@pytest.mark.parametrize(
    ("value", "dynamic"),
    [(None, None), ("static", False), ("dynamic", True), ({"num_bits": 8}, False), ({}, None)],
)
def test_the_cache(value: Any, dynamic: bool | None) -> None:
    parsed = fp8.parse({}, {**STATIC, "kv_cache_scheme": value}, PER_TENSOR, "LABEL")
    meant = None if dynamic is None else KVCacheScheme(Quantization(PerTensor(), dynamic=dynamic))
    assert parsed.kv_cache == meant
    assert parsed.understood["kv_cache"] == (None if meant is None else str(meant))


@pytest.mark.parametrize(("value", "provenance"), [(None, ()), ("float", ()), ("ue8m0", ("scale_fmt: ue8m0",))])
def test_how_scales_were_rounded_is_a_record(value: Any, provenance: tuple[str, ...]) -> None:
    assert fp8.parse({}, {**STATIC, "scale_fmt": value}, PER_TENSOR, "LABEL").provenance == provenance


@pytest.mark.parametrize(
    ("config", "block", "packed", "experts"),
    [
        ({}, {}, None, None),
        ({}, {}, NVFP4, NVFP4),
        ({"expert_dtype": "fp4"}, {}, None, MXFP4),
        ({"expert_dtype": "fp4"}, {}, NVFP4, NVFP4),
        ({}, {"expert_dtype": "fp4"}, None, MXFP4),
        ({}, {"store_dtype": "mxfp4"}, None, MXFP4),
        ({"expert_dtype": "fp8"}, {"expert_dtype": "fp4"}, NVFP4, None),
    ],
)
def test_experts_of_four_bits(config: Any, block: Any, packed: OtherScheme | None, experts: OtherScheme | None) -> None:
    parsed = fp8.parse(config, {**DYNAMIC, **block}, BLOCK, "LABEL", packed)
    assert parsed.experts == experts
    names = ("lm_head", "model.layers.0.mlp.experts.0.up_proj", UP)
    assert [parsed.scheme_of(name) for name in names] == [None, experts or parsed.scheme, parsed.scheme]


EXPERT = "model.layers.0.mlp.experts.0.up_proj"
FP8_EXPERT = {f"{EXPERT}.weight": RawTensor("F8_E4M3", (2, 2), b"8888"), f"{EXPERT}.weight_scale": f32()}
FP4_EXPERT = {
    f"{EXPERT}.weight": RawTensor("I8", (2, 16), bytes(32)),
    f"{EXPERT}.weight_scale": RawTensor("F8_E8M0", (2, 1), bytes(2)),
}
GRID = {f"{UP}.weight": RawTensor("F8_E4M3", (2, 2), b"8888"), f"{UP}.weight_scale_inv": f32(2, 1)}
SAYS = {**DYNAMIC, "weight_block_size": None}
GRANTED = ["DeepseekV4ForCausalLM"]


@pytest.mark.parametrize(
    ("block", "tensors", "config", "lines"),
    [
        (SAYS, TENSORS, {}, []),
        (
            DYNAMIC,
            TENSORS,
            {},
            [
                "fp8-block-size: no block size is given, and the scales are of whole tensors: "
                "some readers take blocks of 128x128",
                "  expected weight_block_size = null",
                "  found nothing",
                "  at weight_block_size",
            ],
        ),
        (
            DYNAMIC,
            GRID,
            {},
            [
                "fp8-fields: scales are grids, and no block size is given: some readers take "
                "128x128, others one scale for a tensor",
                "  expected weight_block_size = [128, 128]",
                "  found nothing, and model.layers.0.mlp.up_proj.weight_scale_inv [2, 1]",
                "  at weight_block_size",
            ],
        ),
        (SAYS, GRID, {}, []),
        (
            {**SAYS, "activation_scheme": "x"},
            TENSORS,
            {},
            [
                "fp8-fields: activation_scheme is neither static nor dynamic",
                "  expected static or dynamic",
                "  found 'x'",
                "  at activation_scheme",
            ],
        ),
        (
            {**STATIC, "weight_block_size": [128, 128]},
            TENSORS,
            {},
            [
                "fp8-fields: block scales go with dynamic activations only",
                "  expected activation_scheme dynamic",
                "  found 'static'",
                "  at activation_scheme",
            ],
        ),
        (
            {**SAYS, "weight_block_size": [128, 0]},
            TENSORS,
            {},
            [
                "fp8-fields: weight_block_size is not two numbers",
                "  expected [128, 128]",
                "  found [128, 0]",
                "  at weight_block_size",
            ],
        ),
        (SAYS, FP8_EXPERT, {}, []),
        (SAYS, FP8_EXPERT, {"expert_dtype": "fp8"}, []),
        (
            SAYS,
            FP8_EXPERT,
            {"expert_dtype": "fp4"},
            [
                "fp8-experts: experts are stored in fp8, and config.json says otherwise",
                "  expected expert_dtype = fp8",
                "  found 'fp4'",
                "  at expert_dtype",
                '  fix config.json: expert_dtype = "fp8"',
            ],
        ),
        (
            SAYS,
            FP8_EXPERT,
            {"architectures": GRANTED},
            [
                "fp8-experts: experts are stored in fp8, and config.json does not say so: fp4 is taken for granted",
                "  expected expert_dtype = fp8",
                "  found nothing",
                "  at expert_dtype",
                '  fix config.json: expert_dtype = "fp8"',
            ],
        ),
        (
            SAYS,
            FP4_EXPERT,
            {"expert_dtype": "fp8"},
            [
                "fp8-experts: experts are stored in fp4, and config.json says otherwise",
                "  expected expert_dtype = fp4",
                "  found 'fp8'",
                "  at expert_dtype",
                '  fix config.json: expert_dtype = "fp4"',
            ],
        ),
        (SAYS, FP4_EXPERT, {"architectures": GRANTED}, []),
        (
            {**SAYS, "expert_dtype": "fp8"},
            FP4_EXPERT,
            {},
            [
                "fp8-experts: experts are stored in fp4, and config.json says otherwise",
                "  expected expert_dtype = fp4",
                "  found 'fp8'",
                "  at expert_dtype",
                '  fix config.json: expert_dtype = "fp4"',
            ],
        ),
    ],
)
def test_what_fp8_configs_are_told(
    block: dict[str, Any], tensors: dict[str, RawTensor], config: dict[str, Any], lines: list[str]
) -> None:
    container = folder(block, None, tensors, **config)
    dialect = PlainFp8().dialect_of(container)
    assert told(PlainFp8().config_faults(container, dialect, None)) == lines


@pytest.mark.parametrize(
    ("block", "tensors", "words"),
    [
        (DYNAMIC, TENSORS, "per tensor"),
        (DYNAMIC, GRID, "block"),
        (SAYS, GRID, "per tensor, transformers' names"),
        ({**DYNAMIC, "weight_block_size": [128, 128]}, TENSORS, "block"),
        ({**DYNAMIC, "weight_block_size": "128"}, GRID, "per tensor"),
    ],
)
def test_what_fp8_calls_a_folder(block: dict[str, Any], tensors: dict[str, RawTensor], words: str) -> None:
    assert PlainFp8().describe(folder(block, None, tensors)) == f"quant_method 'fp8' ({words})"
