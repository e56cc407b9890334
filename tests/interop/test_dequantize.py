"""Dequantized weights, bit for bit what compressed-tensors, Quark and transformers make of the same exports."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

import ckptkit
from tests.damage import tensors_of

from .oracles import Oracles

Real = Callable[[str], Path]


@pytest.mark.parametrize(
    "name",
    [
        "llama/llmcompressor-fp8",
        "llama/llmcompressor-dynamic",
        "llama/llmcompressor-groups",
        "llama/llmcompressor-weight-only",
        "llama-tied/llmcompressor-dynamic",
        "phi3/llmcompressor-dynamic",
        "llama-block-aligned/llmcompressor-block",
        "llama-block-ragged/llmcompressor-block",
    ],
)
def test_compressed_tensors_decompresses_to_the_same_bits(
    name: str, oracles: Oracles, real: Real, tmp_path: Path
) -> None:
    ckptkit.convert(real(name), tmp_path / "out", to="bf16")
    [theirs] = oracles.compressed_tensors([real(name)])
    ours = tensors_of(tmp_path / "out")
    assert theirs.weights
    for module, facts in theirs.weights.items():
        weight = ours[f"{module}.weight"]
        assert (facts.dtype, facts.shape) == ("bfloat16", weight.shape)
        assert hashlib.sha256(weight.data).hexdigest() == facts.sha256, module


@pytest.mark.parametrize("name", ["llama-block-aligned/llmcompressor-block", "llama-block-aligned/quark-block"])
def test_transformers_computes_the_same_of_the_plain_checkpoint(
    name: str, oracles: Oracles, real: Real, tmp_path: Path
) -> None:
    """It dequantizes block ``fp8`` where there is no GPU; of the plain checkpoint there is nothing to dequantize."""
    ckptkit.convert(real(name), tmp_path / "block", to="fp8")
    ckptkit.convert(tmp_path / "block", tmp_path / "plain", to="bf16")
    block, plain = oracles.logits([tmp_path / "block", tmp_path / "plain"], environment="llmcompressor")
    assert (plain.missing_keys, plain.unexpected_keys, plain.mismatched_keys) == ((), (), ())
    assert block.sha256 == plain.sha256
