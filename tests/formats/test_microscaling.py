"""MXFP4 and MXFP8 modules of every reader as FP8 in blocks and in high precision: certificates, refusals, values."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

import ckptkit
from ckptkit.conversion.plan import Plan, Verdict
from ckptkit.errors import CkptkitError, ConversionRefused
from ckptkit.model.checkpoint import Checkpoint, OpaqueModule, Part
from ckptkit.model.granularity import PerBlock
from ckptkit.model.numbers import dequantized, numbers
from tests.damage import REAL, MutableCheckpoint, load, plain_fp8, tensors_of
from tests.formats.test_mixed import MLP
from tests.operations.test_mx import values

convert = partial(ckptkit.convert, fsync=False)
FP4 = {"num_bits": 4, "type": "float", "symmetric": True, "strategy": "group", "group_size": 32}


def fill(draft: MutableCheckpoint, names: list[str], spread: int, seed: int = 0) -> None:
    """Random codes, and scales whose exponents spread by exactly this much in each block."""
    rng = np.random.default_rng(seed)
    for name in names:
        weight = next(
            draft.get(f"{name}.{end}") for end in ("weight_packed", "weight") if f"{name}.{end}" in draft.tensors
        )
        end = "weight_packed" if f"{name}.weight_packed" in draft.tensors else "weight"
        scale = next(end for end in ("weight_scale", "scale") if f"{name}.{end}" in draft.tensors)
        grid = draft.get(f"{name}.{scale}")
        exponents = rng.integers(120, 121 + spread, grid.shape, np.uint8)
        exponents[::128, ::4], exponents[1::128, ::4] = 120, 120 + spread
        codes = rng.integers(0, 256, weight.shape, np.uint8)
        if weight.dtype == "F8_E4M3":
            codes[(codes & 0x7F) == 0x7F] = 0
        draft.put(f"{name}.{end}", weight.dtype, weight.shape, codes.tobytes())
        draft.put(f"{name}.{scale}", grid.dtype, grid.shape, exponents.tobytes())


def ct(spread: int) -> MutableCheckpoint:
    """compressed-tensors: FP8 attention in blocks, and an MLP in MXFP4."""
    draft = load("llama-block-aligned/llmcompressor-block")
    names = pack(draft, "weight_packed")
    first = {**draft.group, "targets": ["re:.*self_attn.*"], "format": "float-quantized"}
    storage = "mxfp4-pack-quantized"
    second = {"targets": ["re:.*mlp.*"], "format": storage, "weights": FP4, "input_activations": None}
    draft.block.update(format="mixed-precision", config_groups={"group_0": first, "group_1": second})
    fill(draft, names, spread)
    return draft


def quark(spread: int) -> MutableCheckpoint:
    """Quark: the same with its names."""
    draft = load("llama-block-aligned/quark-block")
    names = pack(draft, "weight")
    spec = draft.block["global_quant_config"]
    own = {"dtype": "fp4", "qscheme": "per_group", "group_size": 32, "ch_axis": -1}
    weight = {**spec["weight"], **own, "observer_cls": "PerGroupMinMaxObserver"}
    layers = draft.block["layer_quant_config"]
    layers.update({name: {**spec, "weight": weight, "input_tensors": None} for name in names})
    fill(draft, names, spread)
    return draft


def pack(draft: MutableCheckpoint, ending: str) -> list[str]:
    """Put MXFP4 in the place of the MLP's FP8 weights; the modules' names."""
    found = []
    for name in draft.names(r".*\.mlp\..*\.weight"):
        module = name.removesuffix(".weight")
        rows, columns = draft.get(name).shape
        for old in (name, f"{module}.weight_scale"):
            del draft.tensors[old]
        draft.put(f"{module}.{ending}", "U8", (rows, columns // 2), bytes(rows * columns // 2))
        draft.put(f"{module}.weight_scale", "U8", (rows, columns // 32), bytes(rows * columns // 32))
        found.append(module)
    return found


def deepseek(spread: int) -> MutableCheckpoint:
    """DeepSeek-V4: FP8 layers in blocks, and experts of four bits that config.json announces."""
    draft = load("llama-block-aligned/llmcompressor-block")
    plain_fp8(draft)
    draft.config.update(architectures=["DeepseekV4ForCausalLM"], expert_dtype="fp4")
    names = [f"layers.0.ffn.experts.{n}.{part}" for n in (0, 1) for part in ("w1", "w2", "w3")]
    for name in names:
        rows = 200 if name.endswith("w2") else 256
        draft.put(f"{name}.weight", "I8", (rows, 80), bytes(rows * 80))
        draft.put(f"{name}.weight_scale", "F8_E8M0", (rows, 5), bytes(rows * 5))
    fill(draft, names, spread)
    return draft


SOURCES = {"ct": ct, "quark": quark, "deepseek": deepseek}


def meant(source: Checkpoint, module: OpaqueModule) -> np.ndarray:
    """The values of an MXFP4 module, from its stored bytes."""
    assert module.weight is not None
    data = np.frombuffer(source.container.read(module.weight), np.uint8).reshape(module.weight.shape)
    codes = np.stack([data & 15, data >> 4], axis=-1).reshape(len(data), -1)
    scale = module.parts[Part.SCALE]
    return values("F4", codes, np.frombuffer(source.container.read(scale), np.uint8).reshape(scale.shape))


@pytest.mark.parametrize(
    ("source", "to"),
    [("ct", "quark"), ("ct", "ct"), ("quark", "ct"), ("quark", "quark"), ("deepseek", "fp8"), ("deepseek", "ct")],
)
def test_exact_blocks_keep_every_value(source: str, to: str, tmp_path: Path) -> None:
    folder = SOURCES[source](14).write(tmp_path / "source")
    before = ckptkit.open(folder)
    own = source == to or (source, to) == ("deepseek", "fp8")
    plan = convert(folder, tmp_path / "out", to=to, mx_to_fp8=own).plan
    assert plan.verdict is Verdict.LOSSLESS and not plan.losses
    assert Plan.from_json(plan.to_json()).to_json() == plan.to_json()
    read = sum(module.parts[Part.SCALE].nbytes for module in before.opaque.values())
    assert any(f"keep every value, as their exponents spread by at most 14; {read:,} bytes" in n for n in plan.notes)
    after, found = ckptkit.open(tmp_path / "out"), tensors_of(tmp_path / "out")
    assert before.opaque and not after.opaque
    assert set(after.modules) == {*before.modules, *before.opaque}
    for name, module in before.opaque.items():
        made = after.modules[name]
        assert made.weight_scale is not None and made.scheme.weight.granularity == PerBlock(128, 128)
        codes, scale = found[made.weight.name], found[made.weight_scale.name]
        exact = meant(before, module)
        grid = numbers(scale.dtype, scale.data)
        assert np.array_equal(
            dequantized(numbers("F8_E4M3", codes.data).reshape(exact.shape), grid, PerBlock(128, 128)), exact
        )
    if source == "deepseek":
        assert after.config["expert_dtype"] == "fp8"
    assert not ckptkit.validate(tmp_path / "out").errors


@pytest.mark.parametrize("source", SOURCES)
def test_groups_are_carried_where_the_target_has_them_unless_asked_otherwise(source: str, tmp_path: Path) -> None:
    folder = SOURCES[source](14).write(tmp_path / "source")
    if source != "deepseek":
        plan = ckptkit.plan(folder, to=source)
        assert plan.cost.computed == 0 and not plan.changes


@pytest.mark.parametrize("source", SOURCES)
def test_blocks_that_spread_further_are_named_and_need_leave(source: str, tmp_path: Path) -> None:
    folder = SOURCES[source](15).write(tmp_path / "source")
    to = "fp8" if source == "deepseek" else "ct"
    before = ckptkit.open(folder)
    first = next(iter(before.opaque))
    with pytest.raises(ConversionRefused, match="would be rounded to FP8, the first at") as error:
        ckptkit.plan(folder, to=to, mx_to_fp8=True)
    (fault,) = error.value.faults
    assert (fault.tensor, fault.found) == (first, "15") and "allow_lossy" in str(fault.help)
    plan = convert(folder, tmp_path / "out", to=to, mx_to_fp8=True, allow_lossy=True).plan
    assert plan.verdict is Verdict.LOSSY
    told = "blocks are rounded as far as scales tell, which count for groups of zeros too: "
    assert any(told in note and first in note.partition(told)[2] for note in plan.notes)
    after, found = ckptkit.open(tmp_path / "out"), tensors_of(tmp_path / "out")
    rounded = False
    for name, module in before.opaque.items():
        made, exact = after.modules[name], meant(before, module)
        assert made.weight_scale is not None
        grid = numbers("F32", found[made.weight_scale.name].data)
        codes = numbers("F8_E4M3", found[made.weight.name].data).reshape(exact.shape)
        off = abs(dequantized(codes, grid, PerBlock(128, 128)) - exact)
        assert off.max() <= plan.losses[made.weight.name].absolute
        rounded = rounded or bool(off.any())
    assert rounded


@pytest.mark.parametrize("to", ["bf16", "f32"])
@pytest.mark.parametrize("source", SOURCES)
def test_in_high_precision_every_value_is_the_product(source: str, to: str, tmp_path: Path) -> None:
    folder = SOURCES[source](20).write(tmp_path / "source")
    before = ckptkit.open(folder)
    convert(folder, tmp_path / "out", to=to)
    found = tensors_of(tmp_path / "out")
    for name, module in before.opaque.items():
        made = found[f"{name}.weight"]
        exact = meant(before, module)
        assert (made.dtype, made.shape) == (to.upper(), exact.shape)
        assert np.array_equal(numbers(made.dtype, made.data).reshape(exact.shape), exact)
    assert not [tensor for tensor in found if "scale" in tensor]


def test_some_modules_alone_in_high_precision(tmp_path: Path) -> None:
    folder = ct(20).write(tmp_path / "source")
    convert(folder, tmp_path / "out", to="bf16", modules=["*.layers.0.mlp.up_proj", "*.layers.0.mlp.gate_proj"])
    after = ckptkit.open(tmp_path / "out")
    assert set(after.opaque) == {"model.layers.0.mlp.down_proj"}
    assert set(MLP) - {name.rpartition(".")[2] for name in after.unquantized} == {"down_proj"}


def test_eight_bits_with_one_exponent_in_a_block(tmp_path: Path) -> None:
    name = "llama-block-aligned/modelopt-mxfp8"
    draft = load(name)
    fill(draft, [n.removesuffix(".weight_scale") for n in draft.names(r".*\.weight_scale")], 0)
    folder = draft.write(tmp_path / "source")
    before = ckptkit.open(folder)
    plan = convert(folder, tmp_path / "out", to="fp8").plan
    assert plan.verdict is Verdict.LOSSLESS
    after = ckptkit.open(tmp_path / "out")
    for module in before.opaque.values():
        assert module.weight is not None
        made = after.modules[module.name]
        assert after.container.read(made.weight) == before.container.read(module.weight)
    with pytest.raises(ConversionRefused, match="blocks of 7 MXFP8 modules would be rounded"):
        ckptkit.plan(REAL / name, to="fp8")
    lossy = convert(REAL / name, tmp_path / "lossy", to="fp8", allow_lossy=True).plan
    assert lossy.verdict is Verdict.LOSSY and len(lossy.losses) == 7


def test_a_scale_that_is_no_number_is_refused_in_the_plan(tmp_path: Path) -> None:
    draft = ct(3)
    (name, *_) = draft.names(r".*\.mlp\.up_proj\.weight_scale")
    old = draft.get(name)
    draft.put(name, old.dtype, old.shape, old.data[:-1] + b"\xff")
    folder = draft.write(tmp_path / "source")
    with pytest.raises(ConversionRefused, match="scales are no numbers") as error:
        ckptkit.plan(folder, to="quark")
    assert [fault.tensor for fault in error.value.faults] == [name]


def test_a_group_that_should_be_zero_and_is_not_leaves_nothing_behind(tmp_path: Path) -> None:
    draft = ct(3)
    (name, *_) = draft.names(r".*\.mlp\.up_proj\.weight_scale")
    old = draft.get(name)
    draft.put(name, old.dtype, old.shape, b"\x00" + old.data[1:])
    folder = draft.write(tmp_path / "source")
    with pytest.raises(CkptkitError, match=r"up_proj.*the group \[0, 0\] of a stripe has numbers"):
        convert(folder, tmp_path / "out", to="quark")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
