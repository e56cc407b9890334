"""The model of Hopper's accumulator, and the tolerances that follow from it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ckptkit.kernels import tensor_core
from ckptkit.kernels.golden import cases, inputs, tolerance
from ckptkit.kernels.golden.inputs import EXACT_STEPS, Case
from ckptkit.kernels.scaling import TOKEN_CHANNEL


def test_fourteen_bits_and_no_more() -> None:
    a, w = np.zeros((1, 64)), np.zeros((1, 64))
    a[0, :32], w[0, :32], a[0, 32], w[0, 32] = 32, 16, 1, 1
    assert tensor_core.accumulate(a, w).item() == 16384
    a[0, 31] = 0  # 31 * 512 + 1 has 14 bits
    assert tensor_core.accumulate(a, w).item() == 31 * 512 + 1


def test_promotion_keeps_what_fast_accumulation_loses() -> None:
    ones = np.ones((1, 14336))
    a = ones * 1.125
    fast, promoted = (tensor_core.accumulate(a, a, promoted=p).item() for p in (False, True))
    exact = 14336 * 1.125**2
    assert abs(promoted - exact) / exact < 1e-3
    assert (exact - fast) / exact > 0.02  # same-sign data are biased: never gated, only reported


@pytest.mark.parametrize(("k", "limit"), [(1040, 4), (4096, 4), (14336, 2)])
def test_certified_inputs_are_exact_in_every_mode(k: int, limit: int) -> None:
    operands = inputs.build(Case("model", "exact", TOKEN_CHANNEL, 24, 24, k, 3, limit=limit))
    assert inputs.certificate(operands) < EXACT_STEPS
    a, w = operands.a.double().numpy(), operands.weight.double().numpy()
    order = np.random.default_rng(0).permutation(k)
    for promoted in (False, True):
        assert (tensor_core.accumulate(a, w, promoted=promoted) == a @ w.T).all()
        assert (tensor_core.accumulate(a[:, order], w[:, order], promoted=promoted) == a @ w.T).all()


def test_uncertified_inputs_are_found_out() -> None:
    operands = inputs.build(Case("model", "exact", TOKEN_CHANNEL, 24, 24, 4096, 3, limit=16))
    assert inputs.certificate(operands) >= EXACT_STEPS
    a, w = operands.a.double().numpy(), operands.weight.double().numpy()
    assert (tensor_core.accumulate(a, w) != a @ w.T).any()
    with pytest.raises(ValueError, match="not exact"):
        cases.record(Case("model", "exact", TOKEN_CHANNEL, 24, 24, 4096, 3, limit=16))


@pytest.mark.parametrize("accumulate", ["fast", "promoted"])
def test_limits_are_twice_what_the_model_errs(accumulate: tolerance.Arithmetic) -> None:
    """Not more than twice the largest error, or wrong kernels pass; not less than 1.3 times, or right ones fail."""
    share, gains = [], []
    for k in (256, 1040, 4096, 14336):
        operands = inputs.build(Case("model", "random", TOKEN_CHANNEL, 48, 48, k, 9))
        limit = tolerance.tolerance(accumulate, torch.float32, k)
        raw = tensor_core.accumulate(
            operands.a.double().numpy(), operands.weight.double().numpy(), promoted=accumulate == "promoted"
        )
        scaled = torch.from_numpy(raw) * operands.a_scale.double()[:, None] * operands.weight_scale.double()[None, :]
        found = tolerance.errors(scaled, operands, limit)
        assert tolerance.verdict(found, limit) is None
        share.append(found.used)
        gains.append(max(found.row_gain, found.column_gain) / limit.gain)
    assert 0.3 < max(share) < 0.77, share
    assert 0.3 < max(gains) < 0.77, gains
