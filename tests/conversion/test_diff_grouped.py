"""How far weights with scales of groups (MXFP4, MXFP8, NVFP4) are off, and what a rounded conversion of them costs."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

import ckptkit
from ckptkit.conversion.comparison import Comparison, Errors
from ckptkit.model.checkpoint import OpaqueModule
from ckptkit.model.numbers import dequantized, numbers
from tests.damage import BF16, REAL, exactly, load, tensors_of
from tests.formats.test_microscaling import SOURCES, ct
from tests.formats.test_mxfp4 import gpt_oss
from tests.raw import RawTensor, write_files

convert = partial(ckptkit.convert, fsync=False)
ALIGNED = REAL / "llama-block-aligned"


def errors_of(comparison: Comparison) -> Errors:
    assert comparison.errors is not None
    return comparison.errors


def wide(folder: Path) -> dict[str, np.ndarray]:
    """Every tensor of a plain folder in float64."""
    return {name: numbers(t.dtype, t.data).reshape(t.shape) for name, t in tensors_of(folder).items()}


def blocks(folder: Path) -> dict[str, np.ndarray]:
    """What every FP8 weight of a folder is worth, in float64; stacks expert by expert."""
    found, checkpoint = tensors_of(folder), ckptkit.open(folder)
    values = {}
    for module in checkpoint.modules.values():
        assert module.weight_scale is not None
        scale, granularity = found[module.weight_scale.name], module.scheme.weight.granularity
        codes = numbers("F8_E4M3", found[module.weight.name].data).reshape(module.weight.shape)
        grid = numbers(scale.dtype, scale.data)
        if module.experts is None:
            values[module.weight.name] = dequantized(codes, grid, granularity)
        else:
            pairs = zip(codes, grid.reshape(module.experts, -1), strict=True)
            values[module.weight.name] = np.stack([dequantized(*pair, granularity) for pair in pairs])
    return values


def relative(base: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(other - base) / np.linalg.norm(base))


@pytest.mark.parametrize("name", ["modelopt-mxfp8", "modelopt-nvfp4"])
def test_exports_beside_the_base_that_they_were_made_of(name: str, tmp_path: Path) -> None:
    """The figures are those of what is made of the export in float32, which other tools agree on."""
    convert(ALIGNED / name, tmp_path / "plain", to="f32")
    base, made = wide(ALIGNED / "bf16"), wide(tmp_path / "plain")
    errors = errors_of(ckptkit.diff(ALIGNED / "bf16", ALIGNED / name))
    assert len(errors.weights) == 7 and errors.not_measured == () and errors.base == "left"
    for weight in errors.weights:
        left, right = base[f"{weight.name}.weight"], made[f"{weight.name}.weight"]
        assert weight.measured.relative_error == pytest.approx(relative(left, right), rel=1e-9)
        off = np.abs(right - left)
        assert weight.place == tuple(int(n) for n in np.unravel_index(np.argmax(off), off.shape))
        assert weight.measured.codes == 0 and weight.other == ("MXFP8" if "mxfp8" in name else "NVFP4")
    same = ckptkit.diff(tmp_path / "plain", ALIGNED / name)
    assert {d.aspect for d in same.differences} == {"scheme", "config.json"} and same.errors is None


def test_two_quantizations_of_one_model(tmp_path: Path) -> None:
    for name in ("modelopt-mxfp8", "modelopt-nvfp4"):
        convert(ALIGNED / name, tmp_path / name, to="f32")
    left, right = wide(tmp_path / "modelopt-mxfp8"), wide(tmp_path / "modelopt-nvfp4")
    errors = errors_of(ckptkit.diff(ALIGNED / "modelopt-mxfp8", ALIGNED / "modelopt-nvfp4"))
    assert len(errors.weights) == 7
    for weight in errors.weights:
        name = f"{weight.name}.weight"
        assert weight.measured.relative_error == pytest.approx(relative(left[name], right[name]), rel=1e-9)


def test_parts_that_differ_are_told_and_their_numbers_measured(tmp_path: Path) -> None:
    right = load("llama-block-aligned/modelopt-nvfp4")
    owner = "model.layers.0.mlp.up_proj"
    for end in ("weight", "weight_scale_2"):
        right.change(exactly(f"{owner}.{end}"), lambda t: t._replace(data=bytes([t.data[0] ^ 1]) + t.data[1:]))
    folder = right.write(tmp_path / "right")
    heard: list[int] = []
    comparison = ckptkit.diff(ALIGNED / "modelopt-nvfp4", folder, progress=heard.append)
    assert {d.subject for d in comparison.differences} == {f"{owner}.weight", f"{owner}.weight_scale_2"}
    errors = errors_of(comparison)
    assert [weight.name for weight in errors.weights] == [owner] and errors.not_measured == ()
    same = ckptkit.diff(folder, folder)
    assert same.same and same.errors is None


def test_a_scale_that_is_no_number_makes_no_numbers(tmp_path: Path) -> None:
    draft = ct(3)
    convert(draft.write(tmp_path / "sound"), tmp_path / "plain", to="f32")
    name = "model.layers.0.mlp.up_proj.weight_scale"
    draft.change(exactly(name), lambda t: t._replace(data=t.data[:-1] + b"\xff"))
    errors = errors_of(ckptkit.diff(tmp_path / "plain", draft.write(tmp_path / "broken")))
    (found,) = [weight for weight in errors.weights if weight.name == name.removesuffix(".weight_scale")]
    assert found.measured.not_finite == 32


@pytest.mark.parametrize("source", SOURCES)
def test_what_blocks_that_are_rounded_cost_is_measured_in_what_was_written(source: str, tmp_path: Path) -> None:
    folder = SOURCES[source](20).write(tmp_path / "source")
    convert(folder, tmp_path / "plain", to="f32")
    to = "fp8" if source == "deepseek" else "ct"
    result = convert(folder, tmp_path / "out", to=to, mx_to_fp8=True, allow_lossy=True)
    base, made = wide(tmp_path / "plain"), blocks(tmp_path / "out")
    groups = {name: module for name, module in ckptkit.open(folder).opaque.items() if isinstance(module, OpaqueModule)}
    assert result.errors is not None and {weight.name for weight in result.errors.weights} == set(groups)
    for weight in result.errors.weights:
        name = f"{weight.name}.weight"
        assert weight.measured.relative_error == pytest.approx(relative(base[name], made[name]), rel=1e-9)
        assert weight.clipped_share == 0 and weight.measured.worst is not None
    assert result.to_json()["errors"]["weights"]
    assert ckptkit.diff(folder, tmp_path / "out", plan=result.plan).same
    exact = convert(SOURCES[source](14).write(tmp_path / "exact"), tmp_path / "same", to=to, mx_to_fp8=True)
    assert exact.errors is None and ckptkit.diff(tmp_path / "exact", tmp_path / "same", plan=exact.plan).same


@pytest.mark.parametrize("inner", [160, 64])  # 2 x 64 is the hidden size: the class says how a square matrix lies
def test_stacks_of_blocks_beside_plain_ones_that_are_turned(inner: int, tmp_path: Path) -> None:
    folder = write_files(tmp_path / "source", gpt_oss(20, inner=inner))
    plan = convert(folder, tmp_path / "plain", to="bf16").plan
    same = ckptkit.diff(tmp_path / "plain", folder)
    assert {d.aspect for d in same.differences} == {"scheme"} and same.errors is None
    assert ckptkit.diff(folder, tmp_path / "plain", plan=plan).same
    half = convert(folder, tmp_path / "half", to="f16").plan
    assert ckptkit.diff(folder, tmp_path / "half", plan=half).same
    result = convert(folder, tmp_path / "fp8", to="fp8", allow_lossy=True)
    base, made = wide(tmp_path / "plain"), blocks(tmp_path / "fp8")
    compared = errors_of(ckptkit.diff(tmp_path / "plain", tmp_path / "fp8"))
    for errors in (result.errors, compared):
        assert errors is not None and len(errors.weights) == 2
        for weight in errors.weights:
            found = relative(base[weight.name].swapaxes(1, 2), made[weight.name])
            assert weight.measured.relative_error == pytest.approx(found, rel=1e-9)


@pytest.mark.parametrize("name", ["llmcompressor-dynamic", "quark-ptpc", "quark-ptpc-experts"])
def test_experts_under_the_names_that_transformers_saves(name: str) -> None:
    """Mixtral's own names are w1, w2 and w3 of block_sparse_moe."""
    comparison = ckptkit.diff(REAL / "mixtral/bf16", REAL / "mixtral" / name)
    errors = errors_of(comparison)
    checkpoint = ckptkit.open(REAL / "mixtral" / name)
    assert len(errors.weights) == len(checkpoint.modules) and errors.not_measured == ()
    assert all(weight.measured.relative_error < 0.04 for weight in errors.weights)
    assert not [d for d in comparison.differences if "absent" in (d.left, d.right)]


def test_an_empty_stack_has_nothing_to_measure(tmp_path: Path) -> None:
    draft = load(BF16)
    draft.tensors["model.layers.0.mlp.experts.gate_up_proj"] = RawTensor("BF16", (0, 4, 8), b"")
    folder = draft.write(tmp_path / "empty")
    assert ckptkit.diff(folder, folder).same
