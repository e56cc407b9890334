"""Schemes in words, and what is asked of them."""

from __future__ import annotations

import pytest

from ckptkit.model.granularity import Granularity, PerBlock, PerChannel, PerGroup, PerTensor, PerToken
from ckptkit.model.scheme import InputKind, KVCacheScheme, OtherScheme, Quantization, ScaleLevel, Scheme

WEIGHT = Quantization(PerChannel())
NVFP4 = Quantization(PerGroup(16), dtype="F4", scale_dtype="F8_E4M3", second=ScaleLevel(PerTensor(), "F32"))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (WEIGHT, "static per-channel"),
        (Quantization(PerToken(), dynamic=True), "dynamic per-token"),
        (Quantization(PerToken(), dynamic=True, upper_bound=1200.0), "dynamic per-token up to 1200"),
        (ScaleLevel(PerTensor()), "per-tensor"),
        (ScaleLevel(PerGroup(32), "F8_E8M0"), "per-group 32 F8_E8M0"),
        (Scheme(WEIGHT, None), "W8A16 FP8, static per-channel weights, activations not quantized"),
        (
            Scheme(Quantization(PerBlock(128, 128)), Quantization(PerGroup(128), dynamic=True)),
            "W8A8 FP8, static per-block 128x128 weights, dynamic per-group 128 activations",
        ),
        (OtherScheme("W4A16", "packed"), "W4A16"),
        (OtherScheme("W4A16", "packed", 4), "W4A16, 4-bit weights"),
        (
            OtherScheme("NVFP4", "packed", 4, NVFP4),
            "NVFP4, 4-bit weights scaled per-group 16 F8_E4M3 and per-tensor F32",
        ),
        (KVCacheScheme(Quantization(PerTensor())), "FP8 KV cache, static per-tensor"),
    ],
)
def test_words(value: object, words: str) -> None:
    assert str(value) == words


@pytest.mark.parametrize(
    ("inputs", "granularity", "dynamic", "words", "static"),
    [
        (None, None, False, "none", False),
        (Quantization(PerTensor()), PerTensor, False, "static per-tensor", True),
        (Quantization(PerGroup(128), dynamic=True), PerGroup, True, "dynamic per-group", False),
    ],
)
def test_kinds_of_inputs(
    inputs: Quantization | None, granularity: type[Granularity] | None, dynamic: bool, words: str, static: bool
) -> None:
    kind = InputKind.of(inputs)
    assert (kind, str(kind)) == (InputKind(granularity, dynamic), words)
    assert Scheme(WEIGHT, inputs).has_static_input == static


def test_levels_of_scales() -> None:
    assert NVFP4.scale.shapes((2, 40)) == ((2, 3), ())
    assert WEIGHT.scale.levels == (ScaleLevel(PerChannel()),)
