"""The model of Hopper's accumulator: bit for bit what its oracles and real GPUs give, and what follows from it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ckptkit.kernels import build, tensor_core
from ckptkit.kernels.configs import ACCUMULATE, Accumulate
from ckptkit.kernels.golden import cases, check, derive, inputs, tolerance
from ckptkit.kernels.golden.inputs import EXACT_STEPS, Case
from ckptkit.kernels.scaled_mm import Operands
from ckptkit.kernels.scaling import TOKEN_CHANNEL
from tests.kernels.oracles import ORACLES

Codes = NDArray[np.uint8]
RECORDED = Path(__file__).resolve().parents[2] / "fixtures" / "golden" / "hopper.json"


def fp8(values: NDArray[np.floating]) -> Codes:
    return torch.from_numpy(values).to(torch.float8_e4m3fn).view(torch.uint8).numpy()


def finite(codes: Codes) -> Codes:
    return np.where((codes & 0x7F) == 0x7F, codes ^ 1, codes)


def bell(random: np.random.Generator, rows: int, k: int) -> NDArray[np.floating]:
    return random.standard_normal((rows, k)) * 30


def outliers(random: np.random.Generator, rows: int, k: int) -> Codes:
    return fp8(np.clip(bell(random, rows, k) / 30 * np.where(random.random(k) < 0.02, 100, 1), -448, 448))


def subnormal(random: np.random.Generator, rows: int, k: int) -> Codes:
    return random.integers(0, 16, (rows, k), dtype=np.uint8) | random.choice(np.array([0, 0x80], np.uint8), (rows, k))


def sparse(random: np.random.Generator, rows: int, k: int) -> Codes:
    """Mostly zeros of both signs, whole instructions of them too."""
    codes = finite(random.integers(0, 256, (rows, k), dtype=np.uint8))
    zeros = random.random((rows, k)) < 0.9
    zeros[:, 64:224] = True
    return np.where(zeros, codes & 0x80, codes)


def with_nans(random: np.random.Generator, rows: int, k: int) -> Codes:
    codes = finite(random.integers(0, 256, (rows, k), dtype=np.uint8))
    codes[1, 5], codes[3, k - 1] = 0x7F, 0xFF
    return codes


DATA: dict[str, Callable[[np.random.Generator, int, int], Codes]] = {
    "random": lambda random, rows, k: fp8(np.clip(bell(random, rows, k), -448, 448)),
    "outlier columns": outliers,
    "every code": lambda random, rows, k: finite(random.integers(0, 256, (rows, k), dtype=np.uint8)),
    "one sign": lambda random, rows, k: fp8(np.clip(np.abs(bell(random, rows, k)), 0, 448)),
    "the largest numbers": lambda random, rows, k: np.full((rows, k), 0x7E, np.uint8),
    "subnormal numbers": subnormal,
    "signed zeros": sparse,
    "all zeros": lambda random, rows, k: random.choice(np.array([0, 0x80], np.uint8), (rows, k)),
    "NaN": with_nans,
}


@pytest.mark.parametrize("promoted", [False, True], ids=["fast", "promoted"])
@pytest.mark.parametrize("oracle", ORACLES)
@pytest.mark.parametrize("data", DATA)
def test_the_model_is_bit_equal_to_its_oracles(data: str, oracle: str, promoted: bool) -> None:
    for seed, k in enumerate((16, 32, 127, 400, 1040)):
        random = np.random.default_rng(seed)
        a, w = DATA[data](random, 19, k), DATA[data](random, 23, k)
        found = tensor_core.accumulate(a, w, promoted=promoted).view(np.uint32)
        wanted = ORACLES[oracle](a, w, promoted).view(np.uint32)
        assert np.array_equal(found, wanted), f"K={k}: {(found != wanted).mean():.1%} differ"


def recorded() -> tuple[Codes, Codes, NDArray[np.uint32]]:
    document = json.loads(RECORDED.read_text(encoding="utf-8"))
    parts = {name: base64.b64decode(document[name]) for name in ("a", "w", "d")}
    a, w = (np.frombuffer(parts[name], np.uint8).reshape(-1, tensor_core.STEP) for name in ("a", "w"))
    return a, w, np.frombuffer(parts["d"], "<u4")


def one_by_one(a: Codes, w: Codes) -> NDArray[np.uint32]:
    """Each row of A times the row of W beside it."""
    rows = [tensor_core.accumulate(a[i : i + 1], w[i : i + 1]) for i in range(len(a))]
    return np.concatenate(rows).reshape(-1).view(np.uint32)


def test_the_model_gives_what_hopper_gpus_gave() -> None:
    a, w, wanted = recorded()
    assert len(wanted) == 1000
    assert np.array_equal(one_by_one(a, w), wanted)


@pytest.mark.parametrize(("name", "value"), [("FRACTION_BITS", 12), ("FRACTION_BITS", 14), ("STEP", 16)])
def test_what_hopper_gpus_gave_tells_other_arithmetic_apart(
    name: str, value: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, w, wanted = recorded()
    monkeypatch.setattr(tensor_core, name, value)
    assert (one_by_one(a, w) != wanted).mean() > 0.05


def test_many_outputs_are_computed_in_tiles() -> None:
    random = np.random.default_rng(0)
    a, w = DATA["every code"](random, 70, 64), DATA["every code"](random, 600, 64)
    whole = tensor_core.accumulate(a, w)
    assert np.array_equal(whole[33:35, 250:260], tensor_core.accumulate(a[33:35], w[250:260]))


def test_fourteen_bits_and_no_more() -> None:
    a, w = np.zeros((1, 64)), np.zeros((1, 64))
    a[0, :32], w[0, :32], a[0, 32], w[0, 32] = 32, 16, 1, 1
    assert tensor_core.accumulate(fp8(a), fp8(w)).item() == 16384
    a[0, 31] = 0  # 31 * 512 + 1 has 14 bits
    assert tensor_core.accumulate(fp8(a), fp8(w)).item() == 31 * 512 + 1


def test_promotion_keeps_what_fast_accumulation_loses() -> None:
    a = fp8(np.full((1, 14336), 1.125))
    fast, promoted = (tensor_core.accumulate(a, a, promoted=p).item() for p in (False, True))
    exact = 14336 * 1.125**2
    assert abs(promoted - exact) / exact < 1e-3
    assert (exact - fast) / exact > 0.02  # same-sign data are biased: never gated, only reported


@pytest.mark.parametrize("case", [c for c in cases.CASES if c.kind == "exact" and not c.full], ids=lambda c: c.name)
def test_every_small_exact_case_is_exact_in_every_mode_and_order(case: Case) -> None:
    operands = inputs.build(case)
    a, w = (tensor.view(torch.uint8).numpy() for tensor in (operands.a, operands.weight))
    wanted = (operands.a.double() @ operands.weight.double().T).numpy()
    order = np.random.default_rng(0).permutation(case.k)
    for promoted in (False, True):
        assert np.array_equal(tensor_core.accumulate(a, w, promoted=promoted), wanted)
        assert np.array_equal(tensor_core.accumulate(a[:, order], w[:, order], promoted=promoted), wanted)
    for oracle in ORACLES.values():
        assert np.array_equal(oracle(a[:8], w[:8], False), wanted[:8, :8])


@pytest.mark.parametrize(("k", "limit"), [(4096, 4), (14336, 2)])
def test_the_shapes_of_full_cases_are_exact_in_every_mode_and_order(k: int, limit: int) -> None:
    operands = inputs.build(Case("model", "exact", TOKEN_CHANNEL, 24, 24, k, 3, limit=limit))
    assert inputs.certificate(operands) < EXACT_STEPS
    assert derive.inexact(operands) == []
    order = torch.randperm(k, generator=torch.Generator().manual_seed(0))
    a, w = (tensor.view(torch.uint8)[:, order].numpy() for tensor in (operands.a, operands.weight))
    assert np.array_equal(tensor_core.accumulate(a, w), (operands.a.double() @ operands.weight.double().T).numpy())


def test_uncertified_inputs_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case("model", "exact", TOKEN_CHANNEL, 24, 24, 4096, 3, limit=16)
    operands = inputs.build(case)
    assert inputs.certificate(operands) >= EXACT_STEPS
    assert derive.inexact(operands) == ["fast"]
    with pytest.raises(ValueError, match="is not exact: partial sums reach"):
        cases.record(case)
    monkeypatch.setattr(inputs, "EXACT_STEPS", 1 << 30)
    with pytest.raises(ValueError, match="not exact on Hopper's tensor core: fast sums round"):
        cases.record(case)


def test_the_tolerances_are_what_the_model_gives() -> None:
    assert derive.text() == tolerance.RECORD.read_text(encoding="utf-8")


RANDOM = [case for case in cases.CASES if case.kind == "random" and not case.full]


def scaled(operands: Operands, accumulate: Accumulate) -> torch.Tensor:
    """A right kernel's float32 result on Hopper."""
    m, n, k = operands.sizes
    out = torch.zeros((m, n))
    scaling = operands.scaling
    width = scaling.a_group if scaling.depends_on_k else k
    for group, start in enumerate(range(0, k, width)):
        step = slice(start, start + width)
        part = derive.model(replace(operands, a=operands.a[:, step], weight=operands.weight[:, step]), accumulate)
        a_scale, w_scale = operands.a_scale.reshape(-1, 1), operands.weight_scale
        if scaling.depends_on_k:
            a_scale = operands.a_scale[:, group, None]
            w_scale = operands.weight_scale[:, group].repeat_interleave(scaling.b_block[0])[:n]
        out = out + part * a_scale * w_scale
    assert operands.bias is not None
    return out + operands.bias.float()


@pytest.mark.parametrize("accumulate", ACCUMULATE)
@pytest.mark.parametrize("case", RANDOM, ids=lambda c: c.name)
def test_the_model_passes_the_random_cases_and_twice_a_gain_fails(case: Case, accumulate: Accumulate) -> None:
    operands = inputs.build(case)
    chip = replace(build.toolkit(), interpreted=False)
    arithmetic = check.arithmetic_of(chip, case.scaling, accumulate)
    assert arithmetic == ("promoted" if case.scaling.depends_on_k else accumulate)
    limit = tolerance.tolerance(arithmetic, torch.float32, case.k)
    found = scaled(operands, accumulate)
    assert tolerance.verdict(tolerance.errors(found, operands, limit), limit) is None
    found *= 1 + 2 * limit.gain
    assert tolerance.verdict(tolerance.errors(found, operands, limit), limit) is not None
