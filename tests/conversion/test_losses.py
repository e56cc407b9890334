"""What a target cannot hold: every loss in words, one capability or one scheme at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ckptkit.conversion.losses import find_losses
from ckptkit.formats.compressed_tensors.dialect import CAPABILITIES
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.model.granularity import PerBlock, PerChannel, PerGroup, PerHead, PerTensor, PerToken
from ckptkit.model.scheme import InputKind, Quantization, Scheme
from tests.formats.synthetic import files, read
from tests.formats.told import told

UP, DOWN = "layers.0.up_proj", "layers.0.down_proj"
STATIC, TOKENS = Quantization(PerTensor()), Quantization(PerToken(), dynamic=True)


def blocks(rows: int, columns: int, group: int | None = None) -> Scheme:
    inputs = Quantization(PerGroup(group or columns), dynamic=True)
    return Scheme(Quantization(PerBlock(rows, columns)), inputs)


def told_of(checkpoint: Checkpoint, **changes: Any) -> list[str]:
    """What a target with compressed-tensors' capabilities, and these instead of its own, cannot hold."""
    return told(find_losses(checkpoint, replace(CAPABILITIES, **changes), "target"))


def of(scheme: Scheme, *names: str) -> Checkpoint:
    """A checkpoint whose modules have this scheme."""
    checkpoint = read(files(dict.fromkeys(names or (UP,), "tensor")))
    modules = {name: module._replace(scheme=scheme) for name, module in checkpoint.modules.items()}
    return replace(checkpoint, modules=modules)


@pytest.mark.parametrize(
    ("scheme", "changes", "names", "lines"),
    [
        (Scheme(STATIC, STATIC), {}, (UP,), []),
        (Scheme(STATIC, None), {}, (UP,), []),
        (
            Scheme(STATIC, Quantization(PerGroup(128), dynamic=True)),
            {},
            (UP,),
            [
                "scheme: target cannot express the scheme of layers.0.up_proj",
                "  expected per-tensor weights with dynamic per-tensor or dynamic per-token or none "
                "or static per-tensor inputs",
                "  found W8A8 FP8, static per-tensor weights, dynamic per-group 128 activations",
            ],
        ),
        (
            Scheme(STATIC, None),
            {"schemes": frozenset({(PerTensor, InputKind(PerTensor))})},
            (UP, DOWN),
            [
                "scheme: target cannot express the scheme of layers.0.up_proj and 1 more",
                "  expected per-tensor weights with static per-tensor inputs",
                "  found W8A16 FP8, static per-tensor weights, activations not quantized",
            ],
        ),
        (
            Scheme(STATIC, STATIC),
            {"schemes": frozenset({(PerChannel, InputKind(PerTensor)), (PerBlock, InputKind(PerTensor))})},
            (UP,),
            [
                "scheme: target cannot express the scheme of layers.0.up_proj",
                "  expected per-block or per-channel weights",
                "  found W8A8 FP8, static per-tensor weights, static per-tensor activations",
            ],
        ),
        (blocks(128, 128), {"block_sizes": frozenset({(128, 128)})}, (UP,), []),
        (
            blocks(64, 128),
            {"block_sizes": frozenset({(128, 128), (1, 128)})},
            (UP,),
            [
                "block-size: target cannot express the block size of layers.0.up_proj",
                "  expected 1x128 or 128x128",
                "  found per-block 64x128",
            ],
        ),
        (blocks(128, 128, 64), {}, (UP,), []),
        (
            blocks(128, 128, 64),
            {"groups_match_blocks": True},
            (UP, DOWN),
            [
                "group-size: target has no other groups than the columns of a block for the inputs "
                "of layers.0.up_proj and 1 more",
                "  expected per-group 128",
                "  found per-group 64",
            ],
        ),
        (blocks(128, 128, 128), {"groups_match_blocks": True}, (UP,), []),
        (Scheme(Quantization(PerBlock(128, 128)), TOKENS), {"groups_match_blocks": True}, (UP,), []),
        (
            blocks(128, 3),
            {"whole_columns": True},
            (UP, DOWN),
            [
                "block-columns: target readers take whole blocks of columns only: layers.0.up_proj and 1 more",
                "  expected a multiple of 3 columns",
                "  found 2",
            ],
        ),
        (blocks(128, 2), {"whole_columns": True}, (UP,), []),
        (blocks(128, 1), {"whole_columns": True}, (UP,), []),
        (Scheme(STATIC, STATIC), {"whole_columns": True}, (UP,), []),
        (
            Scheme(STATIC, TOKENS),
            {"input_bound": 1200.0},
            (UP,),
            [
                "input-bound: target cannot express the inputs of layers.0.up_proj",
                "  expected inputs with an upper bound",
                "  found dynamic per-token",
            ],
        ),
        (Scheme(STATIC, replace(TOKENS, upper_bound=1200.0)), {"input_bound": 1200.0}, (UP,), []),
        (
            Scheme(STATIC, replace(TOKENS, upper_bound=1200.0)),
            {},
            (UP,),
            [
                "input-bound: target cannot express the inputs of layers.0.up_proj",
                "  expected inputs without a bound",
                "  found dynamic per-token up to 1200",
            ],
        ),
        (Scheme(STATIC, None), {"input_bound": 1200.0}, (UP,), []),
        (
            Scheme(STATIC, STATIC, STATIC),
            {},
            (UP,),
            [
                "output-quantization: target cannot express quantized outputs of linear modules (layers.0.up_proj)",
                "  expected outputs in high precision",
                "  found static per-tensor",
            ],
        ),
        (Scheme(STATIC, STATIC, STATIC), {"output_quantization": True}, (UP,), []),
        (
            Scheme(STATIC, STATIC),
            {"quantized_lm_head": False},
            ("lm_head", UP),
            [
                "quantized-head: target readers do not load a quantized output head",
                "  expected lm_head in BF16",
                "  found FP8",
            ],
        ),
        (Scheme(STATIC, STATIC), {"quantized_lm_head": False}, (UP,), []),
    ],
)
def test_one_scheme(scheme: Scheme, changes: dict[str, Any], names: tuple[str, ...], lines: list[str]) -> None:
    assert told_of(of(scheme, *names), **changes) == lines


MIXED = read(files({UP: "tensor", DOWN: "channel", "layers.1.up_proj": "tensor"}))
ATTENTION = "model.layers.0.self_attn."
CACHE = read(files({f"{ATTENTION}{last}_proj": "tensor" for last in "qkv"}, kv=True, q=True))
CACHE_ALONE = read(files({f"{ATTENTION}{last}_proj": None for last in "qkv"}, kv=True))


@pytest.mark.parametrize(
    ("checkpoint", "changes", "lines"),
    [
        (MIXED, {}, []),
        (
            MIXED,
            {"mixed_schemes": False},
            [
                "mixed-schemes: target holds one scheme for all modules",
                "  expected one scheme",
                "  found 2 x W8A8 FP8, static per-tensor weights, static per-tensor activations; 1 x "
                "W8A8 FP8, static per-channel weights, dynamic per-token activations",
            ],
        ),
        (CACHE, {}, []),
        (
            CACHE,
            {"kv_granularities": frozenset({PerHead})},
            ["kv-granularity: target cannot express the KV-cache scheme", "  expected per-head", "  found per-tensor"],
        ),
        (
            CACHE,
            {"kv_granularities": frozenset()},
            [
                "kv-granularity: target cannot express the KV-cache scheme",
                "  expected no quantized KV cache",
                "  found per-tensor",
            ],
        ),
        (
            CACHE,
            {"kv_roles": frozenset({"k", "v"})},
            [
                "attention-role: target has no place for the q scales of 1 attention module",
                "  expected k and v",
                "  found q",
            ],
        ),
        (
            CACHE,
            {"kv_roles": frozenset()},
            [
                "attention-role: target has no place for the k scales of 1 attention module",
                "  expected no attention scales",
                "  found k",
                "attention-role: target has no place for the v scales of 1 attention module",
                "  expected no attention scales",
                "  found v",
                "attention-role: target has no place for the q scales of 1 attention module",
                "  expected no attention scales",
                "  found q",
            ],
        ),
    ],
)
def test_a_whole_checkpoint(checkpoint: Checkpoint, changes: dict[str, Any], lines: list[str]) -> None:
    assert told_of(checkpoint, **changes) == lines


def test_a_cache_alone() -> None:
    assert told_of(CACHE_ALONE) == [
        "kv-cache-alone: no config is written for a quantized KV cache alone",
        "  expected FP8 weights",
        "  found none",
    ]
    assert told_of(CACHE_ALONE, schemes=frozenset()) == []
