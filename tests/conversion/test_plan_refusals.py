"""Plans that are refused, in words: a writer that spoils its draft, and sources that are not what was asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import ckptkit
from ckptkit.formats.base import Draft, WriteOptions
from ckptkit.model.checkpoint import Checkpoint
from tests.conversion.test_plan import Careless, plan_with
from tests.damage import BF16, QUARK, QUARK_KV, REAL, load
from tests.formats.synthetic import args
from tests.formats.told import refused

MISREAD = "ConversionRefused: compressed-tensors would not read the result as it is meant"
CHANNELS = "W8A8 FP8, static per-channel weights, dynamic per-token activations"


@pytest.mark.parametrize(
    ("fixture", "changes", "lines"),
    [
        (
            QUARK,
            {"tensors": lambda tensors: tensors[1:]},
            [
                f"ConversionRefused: {REAL / QUARK}: tensors would be lost",
                "tensor-without-fate: model.safetensors: model.layers.0.input_layernorm.weight: the "
                "target has no place for this tensor",
            ],
        ),
        (
            QUARK,
            {"tensors": lambda tensors: [tensors[0]._replace(name=tensors[1].name), *tensors[1:]]},
            [
                f"ConversionRefused: {REAL / QUARK}: tensors would be lost",
                "name-collision: model.layers.0.post_attention_layernorm.weight: would be stored as "
                "model.layers.0.post_attention_layernorm.weight, and so would model.layers.0.input_layernorm.weight",
            ],
        ),
        (QUARK, {"block": {"ignore": []}}, [MISREAD, "skip-list: lm_head: lm_head would be read as quantized"]),
        (
            QUARK,
            {"block": {"kv_cache_scheme": args("tensor")}},
            [
                MISREAD,
                "kv-scheme-changed: the KV scheme would be read differently",
                "  expected none",
                "  found static per-tensor",
            ],
        ),
        (
            QUARK,
            {"block": {"ignore": 3}},
            [MISREAD, "config-value: ignore is not valid", "  expected a list of strings", "  found 3"],
        ),
        (
            QUARK_KV,
            {"block": {"kv_cache_scheme": None}},
            [
                MISREAD,
                "kv-scheme-changed: the KV scheme would be read differently",
                "  expected static per-tensor",
                "  found none",
            ],
        ),
    ],
)
def test_a_careless_writer(fixture: str, changes: dict[str, Any], lines: list[str]) -> None:
    assert refused(lambda: plan_with(Careless(**changes), fixture)) == lines


class Silent(Careless):
    """A writer that says nothing of the quantization of what it writes."""

    def write(self, checkpoint: Checkpoint, options: WriteOptions) -> Draft:
        return replace(super().write(checkpoint, options), quantization_config=None)


def test_a_result_without_a_config_is_plain() -> None:
    modules = list(ckptkit.open(REAL / QUARK).modules)
    assert refused(lambda: plan_with(Silent(), QUARK)) == [
        MISREAD,
        *(
            line
            for name in modules
            for line in (
                f"scheme-changed: {name}: {name} would be read differently",
                f"  expected {CHANNELS}",
                "  found None",
            )
        ),
    ]


@pytest.mark.parametrize(
    ("fixture", "request_", "lines"),
    [
        (QUARK, {"to": "ct", "expect": "ct"}, ["UsageError: {} is a quark checkpoint, not compressed-tensors"]),
        (
            BF16,
            {"to": "ct"},
            [
                "FormatError: {}: not a quantized checkpoint",
                "help: to quantize it, name a scheme (--scheme): FP8_DYNAMIC, FP8_BLOCK, FP8",
            ],
        ),
        (
            BF16,
            {"to": "fbgemm"},
            [
                "FormatError: {}: not a quantized checkpoint",
                "help: this looks like an unquantized checkpoint: there is nothing for ckptkit to convert or check",
            ],
        ),
        (
            BF16,
            {"to": "f16", "max_shard_size": 1000},
            [
                "UsageError: {} has weights in BF16, not F16",
                "help: plain weights get no other type: ckptkit convert --to bf16",
            ],
        ),
        (
            BF16,
            {"to": "ct", "scheme": "x"},
            [
                "UsageError: compressed-tensors has no scheme 'x'",
                "help: its schemes: FP8_DYNAMIC, FP8_BLOCK, FP8",
            ],
        ),
        (QUARK, {"to": "mxfp8"}, ["UsageError: mxfp8 is only read, not written"]),
        (
            QUARK,
            {"to": "ct", "experts": "x"},
            ["UsageError: 'x' is no choice for experts", "help: choices: split, stack"],
        ),
        (
            QUARK,
            {"to": "ct", "fused": "x"},
            ["UsageError: 'x' is no choice for fused", "help: choices: split, fuse"],
        ),
        (
            QUARK,
            {"to": "ct", "granularity": "tensor"},
            ["UsageError: 'tensor' is no choice for granularity", "help: choices: channel, block"],
        ),
        (
            QUARK,
            {"to": "ct", "scale_dtype": "f64"},
            ["UsageError: 'F64' is no choice for scale_dtype", "help: choices: F32, BF16, F16, F8_E8M0"],
        ),
    ],
)
def test_a_request_that_makes_no_sense(fixture: str, request_: dict[str, Any], lines: list[str]) -> None:
    source = REAL / fixture
    assert refused(lambda: ckptkit.plan(source, **request_)) == [line.replace("{}", str(source)) for line in lines]


@pytest.mark.parametrize("name", ["quark", "QUARK"])
def test_a_source_that_was_expected(name: str) -> None:
    assert ckptkit.plan(REAL / QUARK, to="ct", expect=name).source_format == "quark (native)"


@pytest.mark.parametrize(("count", "said"), [(1, "1 error"), (2, "2 errors")])
def test_a_source_that_is_not_sound(count: int, said: str, tmp_path: Path) -> None:
    checkpoint = load(QUARK)
    names = [name for name in checkpoint.tensors if name.endswith("weight_scale")][:count]
    for name in names:
        checkpoint.change(name, lambda tensor: tensor._replace(data=b"\xff" * len(tensor.data)))
    source = checkpoint.write(tmp_path / "source")
    first, *others = refused(lambda: ckptkit.plan(source, to="ct"))
    assert first == f"ConversionRefused: {source}: the source is not sound ({said})"
    assert [line.partition(": ")[2].split(": ")[1] for line in others if line.startswith("CK")] == names
