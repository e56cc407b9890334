"""Scales of another checkpoint as constants of a plan."""

from __future__ import annotations

import ckptkit
from ckptkit.conversion.prepare.borrow import attention_scales
from tests.damage import REAL


def test_attention_scales_are_constants_of_their_stored_bytes() -> None:
    other = ckptkit.open(REAL / "llama/quark-fp8-kv")
    assert other.kv_cache is not None
    borrowed = attention_scales(ckptkit.open(REAL / "llama/quark-ptpc"), other)
    assert borrowed.scheme == other.kv_cache.scheme
    assert list(borrowed.scales) == [attention.module for attention in other.kv_cache.attention]
    for attention in other.kv_cache.attention:
        for role, tensor in attention.stored().items():
            made = borrowed.scales[attention.module][role]
            assert (made.operation, made.dtype, made.shape) == ("constant", tensor.dtype, tensor.shape)
            assert bytes.fromhex(made.parameters["hex"]) == other.container.read(tensor)


def test_without_a_kv_cache_there_are_none() -> None:
    plain = ckptkit.open(REAL / "llama/quark-ptpc")
    borrowed = attention_scales(plain, plain)
    assert (borrowed.scheme, borrowed.scales) == (None, {})
