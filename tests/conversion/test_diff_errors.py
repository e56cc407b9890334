"""How far two checkpoints are apart, against numpy's float64 over whole weights, and what pairs with what."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptkit
from ckptkit.checks import schema
from ckptkit.conversion import diff_values
from ckptkit.conversion.comparison import Comparison, Errors, WeightErrors
from ckptkit.conversion.diff_sides import open_to_compare
from ckptkit.conversion.diff_values import ValueComparer
from ckptkit.measure.errors import Measured
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.model.numbers import dequantized, numbers
from tests.damage import BF16, CT, QUARK, QUARK_FP8, REAL, MutableCheckpoint, bf16, exactly, load, plain_fp8
from tests.formats.test_mixed import KINDS, mixed
from tests.raw import RawTensor

convert = partial(ckptkit.convert, fsync=False)

BASE = REAL / BF16
NAME = "model.layers.1.mlp.up_proj"
BLOCKS = "llama-block-ragged/llmcompressor-block"


def values_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """Every FP8 weight as the float32 product of codes and scales, every other tensor as it is, in float64."""
    found = {}
    for tensor in checkpoint.plain:
        found[tensor.name] = numbers(tensor.dtype, checkpoint.container.read(tensor)).reshape(tensor.shape)
    for module in checkpoint.modules.values():
        scale = module.weight_scale
        assert scale is not None
        codes, factors = (checkpoint.container.read(tensor) for tensor in (module.weight, scale))
        matrix = numbers(module.weight.dtype, codes).reshape(module.weight.shape)
        product = dequantized(matrix, numbers(scale.dtype, factors), module.scheme.weight.granularity)
        found[module.weight.name] = product.astype(np.float32).astype(np.float64)
    return found


def measured(comparison: Comparison) -> dict[str, WeightErrors]:
    return {weight.name: weight for weight in errors_of(comparison).weights}


def errors_of(comparison: Comparison) -> Errors:
    assert comparison.errors is not None
    assert schema.faults("comparison", comparison.to_json(), file="comparison") == []
    return comparison.errors


def assert_errors(comparison: Comparison, base: dict[str, Any], other: dict[str, Any]) -> None:
    """Every figure of every weight, and that none is left out."""
    found = measured(comparison)
    names = {name for name, value in base.items() if name in other and not np.array_equal(value, other[name])}
    assert {name.removesuffix(".weight") for name in names} == set(found)
    for name in names:
        left, right = base[name], other[name]
        weight, off = found[name.removesuffix(".weight")], np.abs(right - left)
        relative = np.sqrt((off**2).sum() / (left**2).sum())
        assert weight.measured.relative_error == pytest.approx(relative, rel=1e-12)
        assert weight.measured.snr_db == pytest.approx(-20 * math.log10(relative), rel=1e-12)
        place = tuple(int(n) for n in np.unravel_index(np.argmax(off), off.shape))
        worst = weight.measured.worst
        assert worst is not None and weight.place == place and weight.shape == left.shape
        assert (worst.reference, worst.result) == (left[place], right[place])
        assert weight.measured.equal == (left == right).sum()
        rows = right.reshape(-1, right.shape[-1])
        assert weight.measured.zero_rows == (~rows.any(axis=1)).sum()
    order = [weight.measured.relative_error for weight in errors_of(comparison).weights]
    assert order == sorted(order, reverse=True)


@pytest.mark.parametrize("export", [CT, QUARK_FP8, "llama/quark-fp8-layers", "llama/modelopt-channel"])
def test_real_exports_beside_the_base_that_they_were_made_of(export: str) -> None:
    comparison = ckptkit.diff(BASE, REAL / export)
    base, other = (open_to_compare(path) for path in (BASE, REAL / export))
    assert_errors(comparison, values_of(base), values_of(other))
    errors = errors_of(comparison)
    assert errors.base == "left" and not comparison.same
    assert 0.023 < errors.total.relative_error < 0.028, "what the legend of the table says of rounding alone"
    assert errors.equal == len(base.plain) - len(errors.weights)
    assert all(weight.base == "BF16" and weight.other.startswith("F8_E4M3 per-") for weight in errors.weights)
    assert all(weight.clipped_share == 0 and (weight.measured.saturated_share or 0) > 0 for weight in errors.weights)


@pytest.mark.parametrize(("left", "right"), [(QUARK_FP8, QUARK), (CT, "llama/quark-fp8-layers")])
def test_two_quantizations_of_one_model(left: str, right: str) -> None:
    comparison = ckptkit.diff(REAL / left, REAL / right)
    assert_errors(comparison, *(values_of(ckptkit.open(REAL / side)) for side in (left, right)))
    assert {weight.clipped_share for weight in errors_of(comparison).weights} == {None}
    assert comparison.to_json()["errors"]["total"]["clipped_share"] is None


@pytest.mark.parametrize("dtype", ["bf16", "f16", "f32"])
def test_blocks_beside_a_noisy_base_in_stripes_of_any_height(
    dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert(REAL / BLOCKS, tmp_path / "base", to=dtype)
    path = tmp_path / "base" / "model.safetensors"
    raw = np.frombuffer(bytearray(path.read_bytes()), np.uint8)
    generator = np.random.default_rng(0)
    width = 4 if dtype == "f32" else 2
    low = np.arange(-(-len(raw) // 2 // width) * width, len(raw), width)  # the least significant byte of half of it
    raw[low] ^= generator.integers(0, 4, low.size, dtype=np.uint8)
    path.write_bytes(raw.tobytes())
    base, other = open_to_compare(tmp_path / "base"), ckptkit.open(REAL / BLOCKS)
    documents = []
    for elements, nbytes in ((1 << 19, 1 << 22), (1, 1), (1000, 700)):
        monkeypatch.setattr(diff_values, "_ELEMENTS", elements)
        monkeypatch.setattr(diff_values, "_BYTES", nbytes)
        comparison = ckptkit.diff(base, other)
        assert_errors(comparison, values_of(base), values_of(other))
        documents.append(comparison)
    assert len({tuple(c.differences) for c in documents}) == 1


@pytest.mark.parametrize("workers", [1, 3])
def test_no_number_depends_on_how_many_work(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diff_values, "_ELEMENTS", 100)
    monkeypatch.setattr(diff_values, "_BYTES", 100)
    whole = ckptkit.diff(BASE, REAL / CT).to_json()
    monkeypatch.setattr(ValueComparer, "workers", workers)
    assert ckptkit.diff(BASE, REAL / CT).to_json() == whole


def test_the_one_that_is_not_quantized_is_the_base_wherever_it_stands() -> None:
    forth, back = ckptkit.diff(BASE, REAL / CT), ckptkit.diff(REAL / CT, BASE)
    assert (errors_of(forth).base, errors_of(back).base) == ("left", "right")
    assert errors_of(forth).weights == errors_of(back).weights
    swapped = [(d.subject, d.aspect, d.right, d.left) for d in back.differences]
    assert [(d.subject, d.aspect, d.left, d.right) for d in forth.differences] == swapped


def test_a_base_beside_itself_and_beside_another_one(tmp_path: Path) -> None:
    same = ckptkit.diff(BASE, BASE)
    assert same.same and same.errors is None and same.tensors == len(values_of(open_to_compare(BASE)))
    changed = load(BF16)
    changed.change(rf"{NAME}\.weight", lambda t: t._replace(data=bf16(2.0) + t.data[2:]))
    changed.change(r"model\.norm\.weight", lambda t: t._replace(data=t.data[:-2] + bf16(0.0)))
    comparison = ckptkit.diff(BASE, changed.write(tmp_path / "changed"))
    assert {d.aspect.partition(",")[0] for d in comparison.differences} == {"values"}
    found = measured(comparison)
    assert {name: item.measured.elements - item.measured.equal for name, item in found.items()} == {
        NAME: 1,
        "model.norm": 1,
    }
    assert (found[NAME].place, found["model.norm"].place) == ((0, 0), (63,))
    assert errors_of(comparison).equal == same.tensors - 2


def test_another_type_of_the_same_numbers_is_told_and_no_error(tmp_path: Path) -> None:
    convert(REAL / CT, tmp_path / "half", to="f16")
    convert(REAL / CT, tmp_path / "wide", to="f32")
    comparison = ckptkit.diff(tmp_path / "wide", tmp_path / "half")
    assert {d.aspect for d in comparison.differences} == {"dtype and shape", "config.json"}
    assert all(0 < weight.measured.relative_error < 2**-11 for weight in errors_of(comparison).weights)


def test_a_plain_copy_with_the_same_values_differs_in_its_scheme_only(tmp_path: Path) -> None:
    convert(REAL / CT, tmp_path / "wide", to="f32")
    comparison = ckptkit.diff(REAL / CT, tmp_path / "wide")
    told = {(d.aspect, d.right) for d in comparison.differences}
    assert told == {("scheme", "not quantized"), ("config.json", "float32")}
    assert comparison.errors is None and comparison.modules == 14


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def broken(folder: Path, change: Callable[[MutableCheckpoint], object]) -> WeightErrors:
    """The worst weight of a damaged export."""
    checkpoint = load(CT)
    change(checkpoint)
    return errors_of(ckptkit.diff(BASE, checkpoint.write(folder / "broken"))).weights[0]


def test_a_scale_that_is_off_by_two_is_the_worst(tmp_path: Path) -> None:
    def double(checkpoint: MutableCheckpoint) -> None:
        scale = np.frombuffer(checkpoint.get(f"{NAME}.weight_scale").data, "<u2") + (1 << 7)
        checkpoint.change(exactly(f"{NAME}.weight_scale"), lambda t: t._replace(data=scale.tobytes()))

    found = broken(tmp_path, double)
    assert found.name == NAME and found.measured.relative_error == pytest.approx(1, abs=0.05)


def test_rows_that_died(tmp_path: Path) -> None:
    found = broken(
        tmp_path, lambda c: c.change(exactly(f"{NAME}.weight"), lambda t: t._replace(data=bytes(3 * 64) + t.data[192:]))
    )
    assert (found.name, found.measured.dead_rows, found.measured.zero_rows) == (NAME, 3, 3)


def test_clipped_codes_are_counted(tmp_path: Path) -> None:
    def clip(checkpoint: MutableCheckpoint) -> None:
        """Scales an eighth as large: the codes of the outer three binades are cut off."""
        weight, scale = (checkpoint.get(f"{NAME}.{end}") for end in ("weight", "weight_scale"))
        small = np.frombuffer(scale.data, "<u2") - (3 << 7)
        codes = np.frombuffer(weight.data, np.uint8)
        cut = np.minimum(codes & 0x7F, 0x7E - 24) + 24 | codes & 0x80
        checkpoint.change(exactly(f"{NAME}.weight_scale"), lambda t: t._replace(data=small.tobytes()))
        checkpoint.change(exactly(f"{NAME}.weight"), lambda t: t._replace(data=cut.astype(np.uint8).tobytes()))

    found = broken(tmp_path, clip)
    base = numbers("BF16", load(BF16).get(f"{NAME}.weight").data).reshape(80, 64)
    scale = numbers("BF16", load(CT).get(f"{NAME}.weight_scale").data)[:, None] / 8
    beyond = np.abs(base) > 464 * scale
    assert found.clipped_share == pytest.approx(beyond.mean(), abs=0.01) and beyond.mean() > 0.3


def test_codes_that_are_no_numbers_come_first(tmp_path: Path) -> None:
    found = broken(
        tmp_path, lambda c: c.change(exactly(f"{NAME}.weight"), lambda t: t._replace(data=b"\x7f" + t.data[1:]))
    )
    assert (found.name, found.measured.not_finite) == (NAME, 1)
    assert found.measured.relative_error < 0.03


def test_all_that_differs_may_be_no_number(tmp_path: Path) -> None:
    left, right = load(CT), load(CT)
    for checkpoint, code in ((left, b"\x38"), (right, b"\x7f")):
        checkpoint.change(exactly(f"{NAME}.weight"), lambda t, code=code: t._replace(data=code + t.data[1:]))
    convert(left.write(tmp_path / "left"), tmp_path / "base", to="f32")
    comparison = ckptkit.diff(tmp_path / "base", right.write(tmp_path / "right"))
    (found,) = errors_of(comparison).weights
    assert (found.measured.worst, found.place, found.measured.not_finite) == (None, (), 1)
    (difference,) = [d for d in comparison.differences if d.aspect not in ("scheme", "config.json")]
    assert difference.subject == NAME and "no numbers" in difference.aspect


# -- what pairs with what ----------------------------------------------------------------------------------------------


def test_missing_modules_and_other_shapes_are_named(tmp_path: Path) -> None:
    changed = load(CT)
    changed.drop(rf"{NAME}\.weight(_scale)?")
    other = "model.layers.0.mlp.up_proj"
    changed.change(exactly(f"{other}.weight"), lambda t: t._replace(shape=(40, 128)))
    changed.change(exactly(f"{other}.weight_scale"), lambda t: t._replace(shape=(40, 1), data=t.data[:80]))
    comparison = ckptkit.diff(BASE, changed.write(tmp_path / "changed"))
    told = {(d.subject, d.aspect): (d.left, d.right) for d in comparison.differences}
    assert told[f"{NAME}.weight", "tensor"] == ("present", "absent")
    assert told[f"{other}.weight", "dtype and shape"] == ("BF16 [80, 64]", "F8_E4M3 [40, 128]")
    assert errors_of(comparison).not_measured == ((other, "its shapes differ"),)
    assert not {NAME, other} & set(measured(comparison))


def test_other_quantizations_are_named_and_not_measured(tmp_path: Path) -> None:
    integers = mixed(*KINDS["W8A8 INT8"]).write(tmp_path / "integers")
    comparison = ckptkit.diff(REAL / CT, integers)
    errors = errors_of(comparison)
    assert errors.weights == () and errors.equal > 0
    assert {item.reason for item in errors.not_measured} == {"no numbers are read of weights in W8A8 INT8"}
    assert len(errors.not_measured) == 6 and comparison.modules == 14
    assert {d.aspect for d in comparison.differences} == {"scheme"}
    same = ckptkit.diff(integers, integers)
    assert same.same and same.errors is None


def test_two_other_quantizations_are_named(tmp_path: Path) -> None:
    sides = [mixed(*KINDS[name]).write(tmp_path / name) for name in ("W8A8 INT8", "W4A16")]
    comparison = ckptkit.diff(*sides)
    errors = errors_of(comparison)
    assert {item.reason for item in errors.not_measured} == {"no numbers are read of weights in W8A8 INT8 and W4A16"}
    assert len(errors.not_measured) == 6 and errors.weights == ()
    assert sum(d.aspect == "scheme" for d in comparison.differences) == 6


def test_parts_of_other_quantizations_and_strays_are_no_weights_to_measure(tmp_path: Path) -> None:
    left, right = mixed(*KINDS["W4A16"]), mixed(*KINDS["W4A16"])
    owner = "model.layers.0.mlp.up_proj"
    changed = {f"{owner}.weight_packed", f"{owner}.weight_scale"}
    for name in changed:
        right.change(exactly(name), lambda t: t._replace(data=bytes([t.data[0] ^ 1]) + t.data[1:]))
    for checkpoint, value in ((left, 1.0), (right, 2.0)):
        checkpoint.put("junk.weight_scale", "F32", (1,), np.array([value], "<f4").tobytes())
    comparison = ckptkit.diff(left.write(tmp_path / "left"), right.write(tmp_path / "right"))
    told = {d.subject for d in comparison.differences}
    assert told == {*changed, "junk.weight_scale"}
    errors = errors_of(comparison)
    assert errors.weights == () and {item.name for item in errors.not_measured} == changed


def stack_of(checkpoint: MutableCheckpoint, layer: int) -> tuple[RawTensor, RawTensor]:
    """The experts of a layer as two stacks."""
    owner = f"model.layers.{layer}.mlp.experts"
    parts = {
        part: np.stack([np.frombuffer(checkpoint.get(f"{owner}.{e}.{part}.weight").data, np.uint8) for e in range(4)])
        for part in ("gate_proj", "up_proj", "down_proj")
    }
    fused = np.concatenate([parts["gate_proj"], parts["up_proj"]], axis=1)
    return (
        RawTensor("F8_E4M3", (4, 64, 64), fused.tobytes()),
        RawTensor("F8_E4M3", (4, 64, 32), parts["down_proj"].tobytes()),
    )


def test_stacked_experts_beside_single_ones() -> None:
    """Two real exports: one tool left the experts alone, as transformers stacks them, the other quantized each."""
    left, right = REAL / "qwen3_moe/quark-ptpc", REAL / "qwen3_moe/llmcompressor-dynamic"
    comparison = ckptkit.diff(left, right)
    base = values_of(ckptkit.open(left))
    for layer in range(2):
        owner = f"model.layers.{layer}.mlp.experts"
        fused, down = base.pop(f"{owner}.gate_up_proj"), base.pop(f"{owner}.down_proj")
        for expert in range(4):
            base[f"{owner}.{expert}.gate_proj.weight"] = fused[expert, :32]
            base[f"{owner}.{expert}.up_proj.weight"] = fused[expert, 32:]
            base[f"{owner}.{expert}.down_proj.weight"] = down[expert]
    assert_errors(comparison, base, values_of(ckptkit.open(right)))
    whole = [d for d in comparison.differences if d.aspect == "stored as"]
    assert [d.subject for d in whole] == [
        f"model.layers.{n}.mlp.experts.{p}" for n in (0, 1) for p in ("down_proj", "gate_up_proj")
    ]
    assert whole[1].left == "one tensor [4, 64, 64]"
    assert whole[1].right == "8 parts, the first model.layers.0.mlp.experts.0.gate_proj.weight"
    back = ckptkit.diff(right, left)
    assert {d.left for d in back.differences if d.aspect == "stored as"} == {d.right for d in whole}
    assert measured(back).keys() == measured(comparison).keys()


def test_stacks_in_fp8_are_measured_expert_by_expert(tmp_path: Path) -> None:
    """A stack with scales of blocks beside a plain one, beside single experts, and beside a stack with other scales."""
    name, owner = "model.layers.0.mlp.experts.gate_up_proj", "model.layers.0.mlp.experts"
    codes = np.random.default_rng(0).integers(0, 0x7F, (2, 256, 128), dtype=np.uint8)
    scales = np.array([0.5, 1.0, 2.0, 4.0], "<f4")

    def checkpoint(factors: Any, *, single: bool = False) -> MutableCheckpoint:
        draft = load("llama-block-aligned/llmcompressor-block")
        plain_fp8(draft)
        if not single:
            draft.put(name, "F8_E4M3", (2, 256, 128), codes.tobytes())
            draft.put(f"{name}_scale_inv", "F32", (2, 2, 1), factors.tobytes())
            return draft
        for expert, (part, rows) in (
            (e, p) for e in (0, 1) for p in (("gate_proj", slice(128)), ("up_proj", slice(128, 256)))
        ):
            draft.put(f"{owner}.{expert}.{part}.weight", "F8_E4M3", (128, 128), codes[expert, rows].tobytes())
            index = 2 * expert + (part == "up_proj")
            draft.put(f"{owner}.{expert}.{part}.weight_scale_inv", "F32", (1, 1), factors[index : index + 1].tobytes())
        return draft

    stacked = checkpoint(scales).write(tmp_path / "stacked")
    single = ckptkit.diff(stacked, checkpoint(scales, single=True).write(tmp_path / "single"))
    assert single.errors is None and {d.aspect for d in single.differences} == {"stored as"}
    other = scales * np.array([1, 1, 1, 1.5], "<f4")
    apart = ckptkit.diff(stacked, checkpoint(other, single=True).write(tmp_path / "off"))
    assert [w.name for w in errors_of(apart).weights] == [f"{owner}.1.up_proj"]
    assert errors_of(apart).weights[0].measured.relative_error == pytest.approx(0.5, rel=1e-12)
    (weight,) = errors_of(ckptkit.diff(stacked, checkpoint(other).write(tmp_path / "more"))).weights
    assert weight.name == name and weight.place[0] == 1 and weight.place[1] >= 128
    values = numbers("F8_E4M3", codes.tobytes()).reshape(2, 2, 128 * 128) * scales.reshape(2, 2, 1)
    expected = 0.5 * np.linalg.norm(values[1, 1]) / np.linalg.norm(values)
    assert weight.measured.relative_error == pytest.approx(expected, rel=1e-12)
    assert weight.measured.rows == 512 and weight.measured.codes == codes.size
    convert(stacked, tmp_path / "plain", to="f32")
    assert ckptkit.diff(tmp_path / "plain", stacked).errors is None
    (weight,) = errors_of(ckptkit.diff(tmp_path / "plain", tmp_path / "more")).weights
    assert weight.measured.relative_error == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("shape", "architecture"), [((4, 32, 64), "Qwen3MoeForCausalLM"), ((4, 64, 64), "Llama4ForCausalLM")]
)
def test_stacks_of_transposed_experts_are_not_measured(
    shape: tuple[int, ...], architecture: str, tmp_path: Path
) -> None:
    left = load("qwen3_moe/quark-ptpc")
    left.config["architectures"] = [architecture]
    name = "model.layers.0.mlp.experts.gate_up_proj" if shape[1] == 64 else "model.layers.0.mlp.experts.down_proj"
    left.change(exactly(name), lambda t: t._replace(shape=shape))
    right = REAL / "qwen3_moe/llmcompressor-dynamic"
    comparison = ckptkit.diff(left.write(tmp_path / "left"), right)
    reasons = dict(errors_of(comparison).not_measured)
    assert "stored as [inputs, outputs]" in reasons[name]
    assert not any(name.removesuffix("_proj") in key and "layers.0" in key for key in measured(comparison))


def test_fused_rows_beside_their_parts(tmp_path: Path) -> None:
    left, right = load(BF16), load(CT)
    for layer in range(2):
        owner = f"model.layers.{layer}.self_attn"
        parts = [left.get(f"{owner}.{part}_proj.weight") for part in "qkv"]
        left.drop(rf"{owner}\.[qkv]_proj\.weight")
        left.put(f"{owner}.qkv_proj.weight", "BF16", (256, 64), b"".join(part.data for part in parts))
    fused = ckptkit.diff(left.write(tmp_path / "left"), right.write(tmp_path / "right"))
    assert errors_of(fused).weights == errors_of(ckptkit.diff(BASE, REAL / CT)).weights


def test_names_in_memory_are_the_same_modules(tmp_path: Path) -> None:
    """transformers writes a multimodal model under stored names or under those in memory, by release."""
    source = "qwen2_5_vl/llmcompressor-dynamic"
    renamed = load(source)
    renamed.rename(r"visual\.(.*)", r"model.visual.\1")
    renamed.rename(r"model\.((?!visual).*)", r"model.language_model.\1")
    comparison = ckptkit.diff(REAL / source, renamed.write(tmp_path / "renamed"))
    assert {d.aspect for d in comparison.differences} == {"name"} and comparison.errors is None
    assert comparison.modules == len(ckptkit.open(REAL / source).modules)
    name = "model.layers.1.mlp.up_proj"
    moved = "model.language_model.layers.1.mlp.up_proj"
    renamed.change(exactly(f"{moved}.weight"), lambda t: t._replace(data=bytes([t.data[0] ^ 1]) + t.data[1:]))
    other = ckptkit.diff(REAL / source, renamed.write(tmp_path / "changed"))
    assert list(measured(other)) == [name]


# -- with a plan, and below the full level -----------------------------------------------------------------------------


@pytest.mark.parametrize("source", [CT, QUARK_FP8, BLOCKS])
def test_what_a_plan_to_dequantize_says_is_no_difference(source: str, tmp_path: Path) -> None:
    plan = convert(REAL / source, tmp_path / "out", to="bf16").plan
    allowed = ckptkit.diff(REAL / source, tmp_path / "out", plan=plan)
    assert allowed.same and {d.aspect.partition(",")[0] for d in allowed.declared} <= {"scheme", "dequantized weight"}
    assert allowed.errors is None
    path = tmp_path / "out" / "model.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 0x40  # the exponent of the last element
    path.write_bytes(raw)
    assert not ckptkit.diff(REAL / source, tmp_path / "out", plan=plan).same


def test_below_the_full_level_nothing_is_measured() -> None:
    for level in ("headers", "scales"):
        comparison = ckptkit.diff(BASE, REAL / CT, level=level)
        assert comparison.errors is None and {d.aspect for d in comparison.differences} == {"scheme"}


def test_progress_hears_of_every_byte_once() -> None:
    for left, right in ((BASE, REAL / CT), (REAL / QUARK_FP8, REAL / QUARK)):
        heard: list[int] = []
        comparison = ckptkit.diff(left, right, progress=heard.append)
        checkpoint = open_to_compare(left)
        weights = sum(module.weight.nbytes for module in checkpoint.modules.values())
        assert sum(heard) == weights + sum(tensor.nbytes for tensor in checkpoint.plain)
        assert min(heard) > 0 and comparison.bytes_compared >= sum(heard)


def test_infinities_are_null_in_json(tmp_path: Path) -> None:
    left = load(BF16)
    left.change(exactly(f"{NAME}.weight"), lambda t: t._replace(data=bytes(len(t.data))))
    comparison = ckptkit.diff(left.write(tmp_path / "zeros"), REAL / CT)
    (first, *_) = errors_of(comparison).weights
    assert first.name == NAME and first.measured.relative_error == math.inf
    document = json.loads(json.dumps(comparison.to_json(), allow_nan=False))
    assert document["errors"]["weights"][0]["relative_error"] is None


def test_errors_of_nothing() -> None:
    assert Errors("left", (), 3).kinds == () and Errors("left", (), 3).total == Measured()
