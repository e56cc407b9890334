"""What a plan declares is no difference, as far as it was declared: schemes, and values within what was promised."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest

import ckptkit
from ckptkit.checks.registry import Level
from ckptkit.conversion import declared
from ckptkit.conversion.comparison import Comparison
from ckptkit.conversion.declared import Declared, allows, worst_deviation
from ckptkit.conversion.diff import Comparer
from ckptkit.conversion.diff_pairs import stored_weights
from ckptkit.conversion.plan import Change, Plan
from ckptkit.model.numbers import value_of
from ckptkit.operations.operation import Loss
from tests.damage import REAL, f32, load

FIXTURE = "llama/llmcompressor-dynamic"
MODULE = "model.layers.1.mlp.down_proj"


def moved_code(folder: Path, steps: int) -> tuple[Path, float, float]:
    """The fixture with one code of one weight some steps further from zero; both dequantized values."""
    checkpoint = load(FIXTURE)
    weight, scale = (checkpoint.get(f"{MODULE}.{name}") for name in ("weight", "weight_scale"))
    row, column = 3, 5
    index = row * weight.shape[1] + column
    data = bytearray(weight.data)
    data[index] = 0x40  # 2.0
    checkpoint.change(rf"{MODULE}\.weight", lambda tensor: tensor._replace(data=bytes(data)))
    before = checkpoint.write(folder / "before")
    data[index] += steps
    checkpoint.change(rf"{MODULE}\.weight", lambda tensor: tensor._replace(data=bytes(data)))
    checkpoint.write(folder / "after")
    factor = struct.unpack("<f", b"\0\0" + scale.data[2 * row : 2 * row + 2])[0]
    return before, factor * value_of("F8_E4M3", 0x40), factor * value_of("F8_E4M3", 0x40 + steps)


def compared(left: Path, right: Path, what: Declared) -> tuple[list[str], list[str]]:
    """The aspects of undeclared and of declared differences."""
    comparer = Comparer(ckptkit.open(left), ckptkit.open(right), lambda nbytes: None, Level.FULL, what)
    found = [difference.aspect for difference in comparer.run()]
    return found, [difference.aspect for difference in comparer.accepted]


@pytest.mark.parametrize("stripe", [1, 300, 1 << 20])
def test_weights_within_the_promise_are_no_difference(
    stripe: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(declared, "_STRIPE", stripe)
    before, old, new = moved_code(tmp_path, 2)
    off = abs(new - old) / abs(old)
    where = ["dequantized weight, the worst at [3, 5]"]
    near, far = Loss(relative=off * 1.001), Loss(relative=off * 0.999)
    assert compared(before, tmp_path / "after", Declared(losses={f"{MODULE}.weight": near})) == ([], where)
    assert compared(before, tmp_path / "after", Declared(losses={f"{MODULE}.weight": far})) == (where, [])
    element = 3 * ckptkit.open(before).modules[MODULE].weight.shape[1] + 5
    assert compared(before, tmp_path / "after", Declared()) == ([f"values, the first at element {element}"], [])
    same = compared(before, before, Declared(losses={f"{MODULE}.weight": far}))
    assert same == ([], [])


def test_losses_of_weight_and_scale_add_up() -> None:
    module = ckptkit.open(REAL / FIXTURE).modules[MODULE]
    both = {f"{MODULE}.weight": Loss(0.1, 0.5), f"{MODULE}.weight_scale": Loss(0.2)}
    total = Declared(losses=both).loss_of(module)
    assert total is not None and total.relative == pytest.approx(1.1 * 1.2 - 1) and total.absolute == 0.5
    assert Declared().loss_of(module) is None


def test_other_shapes_cannot_be_near() -> None:
    checkpoint = ckptkit.open(REAL / FIXTURE)
    stored = stored_weights(checkpoint)
    ours, theirs = stored[f"{MODULE}.weight"], stored["model.layers.0.self_attn.k_proj.weight"]
    assert worst_deviation(checkpoint, ours, checkpoint, theirs, Loss(9.0), lambda n: None) is None


@pytest.mark.parametrize(
    ("exact", "value", "near"),
    [(1.0, 1.09, True), (1.0, 1.11, False), (-1.0, -1.09, True), (0.0, 0.001, True), (0.0, 0.01, False)],
)
def test_a_loss_allows(exact: float, value: float, near: bool) -> None:
    assert allows(Loss(0.1, 0.002), exact, value) is near
    assert allows(Loss(0.0), float("nan"), float("nan")) and not allows(Loss(0.5), float("nan"), 1.0)


def test_declared_schemes_do_not_count(tmp_path: Path) -> None:
    other = REAL / "llama" / "llmcompressor-weight-only"
    plain = ckptkit.diff(REAL / FIXTURE, other, level="headers")
    schemes = [difference for difference in plain.differences if difference.aspect == "scheme"]
    assert schemes
    plan = ckptkit.plan(REAL / FIXTURE, to="quark")
    changes = tuple(Change(item.subject, "scheme", item.left, item.right) for item in schemes)
    comparison = ckptkit.diff(REAL / FIXTURE, other, level="headers", plan=replace(plan, changes=changes))
    assert [item for item in comparison.differences if item.aspect == "scheme"] == []
    assert set(comparison.declared) >= set(schemes)
    assert comparison.same is (set(plain.differences) == set(schemes))


def test_a_lossless_plan_declares_nothing(tmp_path: Path) -> None:
    plan = ckptkit.plan(REAL / FIXTURE, to="quark")
    assert plan.losses == {} and plan.changes == ()
    assert isinstance(plan, Plan)
    comparison = ckptkit.diff(REAL / FIXTURE, REAL / FIXTURE, plan=plan)
    assert isinstance(comparison, Comparison) and comparison.same and comparison.declared == ()


@pytest.mark.parametrize(("relative", "allowed"), [(0.51, True), (0.5, True), (0.49, False)])
def test_an_input_scale_within_the_promise_is_no_difference(relative: float, allowed: bool, tmp_path: Path) -> None:
    checkpoint = load("llama/llmcompressor-fp8")
    name = f"{MODULE}.input_scale"
    checkpoint.change(name, lambda tensor: tensor._replace(data=b"\x80\x3f" if tensor.dtype == "BF16" else f32(1.0)))
    before = checkpoint.write(tmp_path / "before")
    checkpoint.change(name, lambda tensor: tensor._replace(data=b"\xc0\x3f" if tensor.dtype == "BF16" else f32(1.5)))
    after = checkpoint.write(tmp_path / "after")
    what = ["input scale, the first at index 0"]
    found = compared(before, after, Declared(losses={name: Loss(relative=relative)}))
    assert found == (([], what) if allowed else (what, []))
    assert compared(before, after, Declared()) == (what, [])
    (difference,) = ckptkit.diff(before, after).differences
    assert (difference.subject, difference.left, difference.right) == (MODULE, "1", "1.5")
