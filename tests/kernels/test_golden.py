"""The golden check passes on right kernels and data, and fails on wrong ones: each mutation is a real mistake."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ckptkit.kernels import build, programs, scaled_mm
from ckptkit.kernels.golden import cases, check, inputs, session, tolerance
from ckptkit.kernels.golden.inputs import Case
from ckptkit.kernels.scaled_mm import Operands
from ckptkit.kernels.scaling import GROUP_BLOCK, SCALINGS, TOKEN_CHANNEL, Scaling

ROOT = Path(__file__).resolve().parents[2]
SMALL = [case for case in cases.CASES if not case.full]


def test_every_small_case_passes() -> None:
    record = cases.recorded()
    told: list[int] = []
    found = check.run_all(SMALL, record, "cpu", lambda outcomes: told.append(len(outcomes)))
    assert [outcome for outcome in found if not outcome.passed] == []
    assert sum(told) == len(found)
    ran = {outcome.variant.split("-")[0] for outcome in found if outcome.case.startswith("token-channel")}
    assert ran == {"portable", "persistent", "decode"}


def test_the_record_is_what_the_seeds_give() -> None:
    record = cases.recorded()
    assert set(record) == {case.name for case in cases.CASES}
    for case in SMALL:
        assert cases.record(case) == record[case.name]


def test_every_recorded_case_is_certified() -> None:
    for name, entry in cases.recorded().items():
        if entry["kind"] == "exact":
            assert entry["certificate"] < inputs.EXACT_STEPS, name
    assert {case.scaling for case in cases.CASES} == set(SCALINGS)


def test_the_wheel_carries_the_hashes_and_the_tolerances(tmp_path: Path) -> None:
    for name in ("ckptkit", "pyproject.toml", "README.md", "LICENSE"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    code = "from setuptools import build_meta; build_meta.build_wheel('.')"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        for path in (cases.RECORD, tolerance.RECORD):
            assert archive.read(f"ckptkit/kernels/golden/{path.name}") == path.read_bytes()


def test_names_are_unique() -> None:
    assert len({case.name for case in cases.CASES}) == len(cases.CASES)


#: A mistake in a kernel: what is in the source, what a mutant has instead, the kernel, the scaling that shows it.
MUTATIONS: list[tuple[str, str, str, Scaling]] = [
    ("tl.cdiv(k, BLOCK_K)", "(k // BLOCK_K)", "persistent portable decode", TOKEN_CHANNEL),
    ("a_scale_ptr + rows,", "a_scale_ptr + rows * 0,", "persistent portable decode", TOKEN_CHANNEL),
    ("b_scale_ptr + columns,", "b_scale_ptr + (columns + 1) % n,", "persistent portable decode", TOKEN_CHANNEL),
    ("bias_ptr + columns,", "bias_ptr + columns * 0,", "persistent portable decode", TOKEN_CHANNEL),
    ("step * a_scale_stride_k", "0 * a_scale_stride_k", "persistent decode", GROUP_BLOCK),
    ("(column // BLOCK_K) * b_scale_stride_n", "0", "persistent decode", GROUP_BLOCK),
    ("step * BLOCK_K // B_GROUP_K", "0", "portable", GROUP_BLOCK),
    ("for split in range(SPLIT_K):", "for split in range(SPLIT_K - 1):", "decode", TOKEN_CHANNEL),
    ("left, right = tl.split(pairs)", "right, left = tl.split(pairs)", "persistent", TOKEN_CHANNEL),
    ("acc = tl.dot(a, w.T, acc)", "acc = tl.dot(a, w.T)", "persistent", TOKEN_CHANNEL),
]


@pytest.mark.parametrize(("right", "wrong", "kernels", "scaling"), MUTATIONS, ids=lambda value: str(value)[:28])
@pytest.mark.parametrize("kind", ["exact", "random"])
def test_a_wrong_kernel_fails(
    right: str, wrong: str, kernels: str, scaling: Scaling, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Path(programs.__file__).read_text(encoding="utf-8")
    assert right in source
    path = tmp_path / "mutant.py"
    path.write_text(source.replace(right, wrong), encoding="utf-8")
    spec = importlib.util.spec_from_file_location("mutant", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    broken = replace(build.toolkit(), kernels=build.make_kernels(module))
    monkeypatch.setattr(build, "_toolkit", broken)
    wanted = kernels.split()
    monkeypatch.setattr(check, "INTERPRETED", [c for c in check.INTERPRETED if c.kernel in wanted])
    monkeypatch.setattr(check, "ACCUMULATE", ("fast",))
    case = Case("mutant", kind, scaling, 37, 144, 528, 3, bias="bias" in right)  # type: ignore[arg-type]
    outcomes = check.run_case(case, {}, "cpu")
    for kernel in wanted:
        assert any(not o.passed for o in outcomes if o.variant.startswith(kernel)), kernel


def corrupt_codes(tensor: torch.Tensor, row: int, column: int, code: int) -> torch.Tensor:
    raw = tensor.view(torch.uint8).clone()
    raw[row, column] = code
    return raw.view(tensor.dtype)


def zero_tail(operands: Operands) -> Operands:
    a = operands.a.view(torch.uint8).clone()
    a[:, -16:] = 0
    return replace(operands, a=a.view(operands.a.dtype))


def scaled(operands: Operands, row: int, factor: float) -> Operands:
    scale = operands.weight_scale.clone()
    scale[row] *= factor
    return replace(operands, weight_scale=scale)


DATA_MUTATIONS: dict[str, Callable[[Operands], Operands]] = {
    "one scale 2 % off": lambda o: scaled(o, 5, 1.02),
    "one scale of another row": lambda o: scaled(o, 5, float(o.weight_scale[6] / o.weight_scale[5])),
    "a NaN scale": lambda o: scaled(o, 5, float("nan")),
    "scales of the wrong axis": lambda o: replace(o, weight_scale=o.a_scale.clone(), a_scale=o.weight_scale.clone()),
    "W transposed": lambda o: replace(o, weight=o.weight.T.contiguous()),
    "the tail of K dropped": zero_tail,
    "a NaN weight": lambda o: replace(o, weight=corrupt_codes(o.weight, 7, 11, 0x7F)),
    "a saturated weight": lambda o: replace(o, weight=corrupt_codes(o.weight, 7, 11, 0x7E)),
    "a flipped sign": lambda o: replace(o, a=o.a.view(torch.uint8).bitwise_xor(0x80).view(o.a.dtype)),
    "rows out of order": lambda o: replace(o, weight=o.weight.view(torch.uint8).roll(1, 0).view(o.weight.dtype)),
}


@pytest.mark.parametrize("kind", ["exact", "random"])
@pytest.mark.parametrize("mutation", DATA_MUTATIONS)
def test_wrong_data_fail(mutation: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = scaled_mm.scaled_mm

    def wrong(a: torch.Tensor, weight: torch.Tensor, a_scale: torch.Tensor, weight_scale: torch.Tensor, *rest, **more):  # type: ignore[no-untyped-def]
        given = Operands(a, weight, a_scale, weight_scale, TOKEN_CHANNEL, None)
        bad = DATA_MUTATIONS[mutation](given)
        return right(bad.a, bad.weight, bad.a_scale, bad.weight_scale, *rest, **more)

    monkeypatch.setattr(scaled_mm, "scaled_mm", wrong)
    monkeypatch.setattr(check, "INTERPRETED", check.INTERPRETED[1:2])
    size = 144  # square, so that nothing is caught by a shape
    outcomes = check.run_case(Case("mutant", kind, TOKEN_CHANNEL, size, size, size, 3), {}, "cpu")  # type: ignore[arg-type]
    assert outcomes and all(not outcome.passed for outcome in outcomes)


@pytest.mark.parametrize("arithmetic", ["fast", "promoted"])
@pytest.mark.parametrize("mutation", DATA_MUTATIONS)
def test_hoppers_wider_limits_catch_wrong_data_too(mutation: str, arithmetic: tolerance.Arithmetic) -> None:
    operands = inputs.build(Case("mutant", "random", TOKEN_CHANNEL, 144, 144, 144, 3))
    bad = DATA_MUTATIONS[mutation](operands)
    out = inputs.expected(bad).float()
    limit = tolerance.tolerance(arithmetic, torch.float32, 144)
    assert tolerance.verdict(tolerance.errors(out, operands, limit), limit) is not None
    right = inputs.expected(operands).float()
    assert tolerance.verdict(tolerance.errors(right, operands, limit), limit) is None


def test_a_chip_that_knows_only_fnuz_runs_fnuz_products(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = set()
    right = scaled_mm.run

    def run(operands: Operands, *rest, **more):  # type: ignore[no-untyped-def]
        ran.add(operands.a.dtype)
        return right(operands, *rest, **more)

    monkeypatch.setattr(scaled_mm, "device_names", lambda device: ("gfx942:sramecc+:xnack-", "AMD Instinct MI300X"))
    monkeypatch.setattr(scaled_mm, "run", run)
    persistent = check.INTERPRETED[1]
    monkeypatch.setattr(scaled_mm, "choose", lambda *given: persistent)
    monkeypatch.setattr(check, "INTERPRETED", (persistent,))
    outcomes = [*check.run_case(SMALL[0], cases.recorded(), "cpu"), *check.run_behaviour("cpu")]
    assert outcomes and all(outcome.passed for outcome in outcomes)
    assert "16385" in session.probe("cpu")
    assert ran == {torch.float8_e4m3fnuz}


def test_other_inputs_than_recorded_are_reported() -> None:
    case = SMALL[0]
    record = {case.name: {**cases.record(case), "inputs": "0" * 64}}
    (outcome,) = check.run_case(case, record, "cpu")
    assert "not the recorded ones" in str(outcome.reason)


def test_another_hash_than_recorded_is_reported() -> None:
    case = SMALL[0]
    entry = cases.record(case)
    record = {case.name: {**entry, "outputs": dict.fromkeys(entry["outputs"], "0" * 64)}}
    assert all("not the recorded hash" in str(o.reason) for o in check.run_case(case, record, "cpu"))


def test_a_variant_that_cannot_run_is_a_failure_not_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*given: object, **options: object) -> None:
        raise RuntimeError("no such instruction\nmore")

    monkeypatch.setattr(scaled_mm, "scaled_mm", fails)
    outcomes = check.run_case(SMALL[0], {}, "cpu")
    assert {outcome.reason for outcome in outcomes} == {"did not run: RuntimeError: no such instruction"}


def test_outcomes_are_json() -> None:
    outcome = check.run_quantization("cpu")[0]
    assert outcome.to_json()["verdict"] == "pass"
