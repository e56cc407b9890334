"""Files that hold other quantizations beside FP8: named, counted, placed and compared, and never half-read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ckptkit
from ckptkit import api
from ckptkit.checks import schema
from ckptkit.errors import ConversionRefused, UnsupportedFormat
from ckptkit.model.checkpoint import Checkpoint, Part
from ckptkit.model.granularity import PerGroup, PerTensor
from ckptkit.model.manifest import manifest
from ckptkit.model.summary import summarise
from tests.damage import CT, QUARK, REAL, MutableCheckpoint, flip, load

MLP = ("gate_proj", "up_proj", "down_proj")
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
FP4 = {"num_bits": 4, "type": "float", "symmetric": True, "strategy": "tensor_group", "group_size": 16}
INT4 = {"num_bits": 4, "type": "int", "symmetric": False, "strategy": "group", "group_size": 32}
INT8 = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel", "dynamic": False}


def nvfp4(rows: int, columns: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {
        "weight_packed": ("U8", (rows, columns // 2)),
        "weight_scale": ("F8_E4M3", (rows, columns // 16)),
        "weight_global_scale": ("F32", (1,)),
        "input_global_scale": ("F32", (1,)),
    }


def w4a16(rows: int, columns: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {
        "weight_packed": ("I32", (rows, columns // 8)),
        "weight_scale": ("BF16", (rows, columns // 32)),
        "weight_zero_point": ("I32", (rows // 8, columns // 32)),
        "weight_shape": ("I64", (2,)),
    }


def int8(rows: int, columns: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {"weight": ("I8", (rows, columns)), "weight_scale": ("BF16", (rows, 1))}


def mxfp4(rows: int, columns: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {"weight": ("U8", (rows, columns // 2)), "weight_scale": ("U8", (rows, columns // 32))}


_WIDTH = {"U8": 1, "I8": 1, "F8_E4M3": 1, "BF16": 2, "F32": 4, "I32": 4, "I64": 8}
Parts = Callable[[int, int], dict[str, tuple[str, tuple[int, ...]]]]


def store(draft: MutableCheckpoint, parts: Parts, modules: tuple[str, ...] = MLP) -> None:
    """Put the parts of another quantization in the place of the MLP's FP8 weights."""
    for name in [name for name in draft.tensors if name.endswith(tuple(f".{m}.weight" for m in modules))]:
        module = name.removesuffix(".weight")
        rows, columns = draft.tensors[name].shape
        for old in (name, f"{module}.weight_scale"):
            del draft.tensors[old]
        for ending, (dtype, shape) in parts(rows, columns).items():
            size = _WIDTH[dtype]
            for extent in shape:
                size *= extent
            draft.put(f"{module}.{ending}", dtype, shape, bytes([0x38]) * size)


def mixed(storage: str, weights: dict[str, Any], inputs: dict[str, Any] | None, parts: Parts) -> MutableCheckpoint:
    """FP8 attention, and an MLP in another storage."""
    draft = load(CT)
    store(draft, parts)
    first = {**draft.group, "targets": ["re:.*self_attn.*"], "format": "float-quantized"}
    second = {
        "targets": ["re:.*mlp.*"],
        "format": storage,
        "weights": weights,
        "input_activations": inputs,
        "output_activations": None,
    }
    draft.block.update(format="mixed-precision", config_groups={"group_0": first, "group_1": second})
    return draft


NVFP4 = ("nvfp4-pack-quantized", FP4, {**FP4, "dynamic": "local"}, nvfp4)
KINDS = {
    "NVFP4": NVFP4,
    "NVFP4A16": ("nvfp4-pack-quantized", FP4, None, nvfp4),
    "W4A16": ("pack-quantized", INT4, None, w4a16),
    "W8A8 INT8": ("int-quantized", INT8, {**INT8, "strategy": "token", "dynamic": True}, int8),
}


def places(checkpoint: Checkpoint) -> list[str]:
    """Every tensor that the model has a place for, as often as it has one."""
    found = [tensor.name for tensor in (*checkpoint.plain, *checkpoint.opaque_tensors())]
    for module in checkpoint.modules.values():
        found += [tensor.name for tensor in (module.weight, module.weight_scale, module.input_scale) if tensor]
    found += [t.name for t in (*checkpoint.stored_only, *checkpoint.orphans, *checkpoint.foreign)]
    return sorted(found)


@pytest.mark.parametrize("name", KINDS)
def test_groups_of_another_storage_are_modules_of_their_own(name: str, tmp_path: Path) -> None:
    folder = mixed(*KINDS[name]).write(tmp_path / "source")
    checkpoint = ckptkit.open(folder)
    assert {module.rpartition(".")[2] for module in checkpoint.opaque} == set(MLP)
    assert not any(".mlp." in module for module in checkpoint.modules)
    (scheme,) = checkpoint.other_schemes
    assert (scheme.name, scheme.storage, scheme.bits) == (name, KINDS[name][0], KINDS[name][1]["num_bits"])
    if name == "W8A8 INT8":
        assert scheme.weight is not None and scheme.input is not None
        assert (scheme.weight.dynamic, scheme.input.dynamic) == (False, True)
    assert places(checkpoint) == sorted(checkpoint.container.tensors)
    assert not checkpoint.foreign and not checkpoint.orphans and not checkpoint.stored_only
    module = next(iter(checkpoint.opaque.values()))
    rows, columns = ckptkit.open(load(CT).write(tmp_path / "plain")).modules[module.name].weight.shape
    assert module.elements == rows * columns
    assert set(module.parts) >= {Part.SCALE, Part.WEIGHT if name.endswith("INT8") else Part.PACKED}


def test_the_levels_of_scales_are_known(tmp_path: Path) -> None:
    checkpoint = ckptkit.open(mixed(*NVFP4).write(tmp_path / "source"))
    (scheme,) = checkpoint.other_schemes
    assert scheme.weight is not None
    first, second = scheme.weight.scale.levels
    assert (first.granularity, first.dtype) == (PerGroup(16), "F8_E4M3")
    assert (second.granularity, second.dtype) == (PerTensor(), "F32")
    for module in checkpoint.opaque.values():
        packed, scale = module.parts[Part.PACKED], module.parts[Part.SCALE]
        assert scheme.weight.scale.shapes((packed.shape[0], packed.shape[1] * 2)) == (scale.shape, ())


def test_zero_points_are_part_of_the_scheme(tmp_path: Path) -> None:
    checkpoint = ckptkit.open(mixed(*KINDS["W4A16"]).write(tmp_path / "source"))
    (scheme,) = checkpoint.other_schemes
    assert scheme.weight is not None and not scheme.weight.symmetric
    assert all(Part.ZERO_POINT in module.parts for module in checkpoint.opaque.values())


def test_nothing_is_found_against_a_sound_mixed_file(tmp_path: Path) -> None:
    report = ckptkit.validate(mixed(*NVFP4).write(tmp_path / "source"))
    before = {finding.code for finding in ckptkit.validate(REAL / CT).findings}
    found = {finding.code for finding in report.findings} - before
    assert found == {"CK616", "CK635"}, "several groups are a note, and so is a target that matches attention itself"
    assert report.clean


def test_packed_weights_that_nothing_declares_are_still_found(tmp_path: Path) -> None:
    draft = mixed(*NVFP4)
    del draft.block["config_groups"]["group_1"]
    draft.block["format"] = "float-quantized"
    assert "CK626" in {finding.code for finding in ckptkit.validate(draft.write(tmp_path / "source")).findings}


@pytest.mark.parametrize("to", ["quark", "fp8", "modelopt", "fbgemm"])
def test_a_conversion_refuses_with_the_list(to: str, tmp_path: Path) -> None:
    folder = mixed(*NVFP4).write(tmp_path / "source")
    with pytest.raises(ConversionRefused) as error:
        ckptkit.plan(folder, to=to)
    faults = [fault for fault in error.value.faults if fault.kind == "other-quantization"]
    assert len(faults) == 1 and "and 5 more" in faults[0].message and "NVFP4" in str(faults[0].found)


def test_a_comparison_sees_every_byte_of_them(tmp_path: Path) -> None:
    left = mixed(*NVFP4).write(tmp_path / "left")
    right = mixed(*NVFP4).write(tmp_path / "right")
    assert ckptkit.diff(left, right).same
    changed = flip(right, "mlp.up_proj.weight_packed")
    (difference,) = ckptkit.diff(left, right).differences
    assert difference.subject == changed


def test_they_are_named_counted_and_sized(tmp_path: Path) -> None:
    plain = summarise(ckptkit.open(load(CT).write(tmp_path / "plain")))
    folder = mixed(*NVFP4).write(tmp_path / "source")
    summary = ckptkit.inspect(folder)
    assert "6 modules NVFP4, 4-bit weights scaled per-group 16 F8_E4M3 and per-tensor F32" in summary.scheme
    kinds = {kind.name: kind for kind in summary.modules}
    assert kinds["model.layers.*.mlp.up_proj"].count == 2
    assert summary.original_bytes == plain.original_bytes, "in 16 bits both are the same model"
    document = manifest(ckptkit.open(folder))
    assert schema.faults("manifest", json.loads(json.dumps(document)), file="manifest") == []
    assert len(document["other_modules"]) == 6


def test_fp8_codes_where_another_storage_is_declared_are_not_taken_for_it(tmp_path: Path) -> None:
    draft = mixed(*NVFP4)
    intact = load(CT)
    names = [name for name in draft.tensors if ".layers.0.mlp.up_proj." in name]
    for name in names:
        del draft.tensors[name]
    for ending in ("weight", "weight_scale"):
        name = f"model.layers.0.mlp.up_proj.{ending}"
        draft.tensors[name] = intact.tensors[name]
    checkpoint = ckptkit.open(draft.write(tmp_path / "source"))
    assert [tensor.name for tensor in checkpoint.stored_only] == ["model.layers.0.mlp.up_proj.weight"]
    assert len(checkpoint.opaque) == 5
    assert "CK606" in {finding.code for finding in ckptkit.validate(tmp_path / "source").findings}


def test_high_precision_where_another_storage_is_declared_is_told(tmp_path: Path) -> None:
    draft = mixed(*NVFP4)
    rows, columns = load(CT).tensors["model.layers.0.mlp.up_proj.weight"].shape
    for name in [name for name in draft.tensors if ".layers.0.mlp.up_proj." in name]:
        del draft.tensors[name]
    draft.put("model.layers.0.mlp.up_proj.weight", "BF16", (rows, columns), bytes(2 * rows * columns))
    checkpoint = ckptkit.open(draft.write(tmp_path / "source"))
    assert checkpoint.declared_only == ("model.layers.0.mlp.up_proj",)


def test_a_file_without_fp8_groups_has_no_reader(tmp_path: Path) -> None:
    draft = mixed(*KINDS["W4A16"])
    draft.block["config_groups"] = {"group_0": draft.block["config_groups"]["group_1"]}
    with pytest.raises(UnsupportedFormat, match=r"W4A16.* format 'pack-quantized' is not supported"):
        ckptkit.open(draft.write(tmp_path / "source"))


def test_a_file_of_floats_with_scales_of_groups_is_read_whole(tmp_path: Path) -> None:
    """Without an FP8 group beside it, and with the one format given for all."""
    draft = load(CT)
    store(draft, nvfp4, (*MLP, *ATTENTION))
    group = {"targets": ["Linear"], "weights": FP4, "input_activations": None}
    draft.block.update(format="nvfp4-pack-quantized", config_groups={"group_0": group})
    folder = draft.write(tmp_path / "source")
    checkpoint = ckptkit.open(folder)
    assert not checkpoint.modules and {s.name for s in checkpoint.other_schemes} == {"NVFP4A16"}
    assert places(checkpoint) == sorted(checkpoint.container.tensors)
    assert not {finding.code for finding in ckptkit.validate(folder).errors} & {"CK600", "CK604", "CK629"}


def quark_layers(**weight: Any) -> MutableCheckpoint:
    """FP8 attention, and an MLP with another weight spec, in a native Quark config."""
    draft = load(QUARK)
    spec = draft.block["global_quant_config"]
    other = {**spec, "weight": {**spec["weight"], **weight}, "input_tensors": None}
    draft.block["layer_quant_config"] = {"*mlp*": other}
    return draft


def test_quark_layers_of_another_dtype_are_modules_of_their_own(tmp_path: Path) -> None:
    draft = quark_layers(
        dtype="fp4", qscheme="per_group", group_size=32, ch_axis=-1, observer_cls="PerGroupMinMaxObserver"
    )
    store(draft, mxfp4)
    checkpoint = ckptkit.open(draft.write(tmp_path / "source"))
    ((scheme, members),) = checkpoint.other_schemes.items()
    assert (scheme.name, scheme.bits, len(members)) == ("MXFP4", 4, 6)
    assert places(checkpoint) == sorted(checkpoint.container.tensors)
    assert checkpoint.modules and not any(".mlp." in name for name in checkpoint.modules)
    errors = [finding.code for finding in ckptkit.validate(tmp_path / "source").errors]
    assert errors == []
    with pytest.raises(ConversionRefused, match="MXFP4"):
        ckptkit.plan(tmp_path / "source", to="ct")


def test_a_quark_config_of_another_dtype_has_no_reader_and_is_not_broken(tmp_path: Path) -> None:
    draft = load(QUARK)
    draft.block["global_quant_config"]["weight"]["dtype"] = "int8"
    folder = draft.write(tmp_path / "source")
    with pytest.raises(UnsupportedFormat, match="INT8"):
        api.open(folder)
    assert [(f.code, f.severity.value) for f in ckptkit.validate(folder).findings if f.code == "CK600"] == [
        ("CK600", "warning")
    ]
    assert not ckptkit.validate(folder).errors


def test_experts_in_one_stack_are_one_module(tmp_path: Path) -> None:
    draft = load(CT)
    name, experts, rows, columns = "model.layers.0.block_sparse_moe.input_linear", 4, 64, 32
    draft.put(f"{name}.weight", "F8_E4M3", (experts, rows, columns), bytes([0x38]) * (experts * rows * columns))
    draft.put(f"{name}.weight_scale", "BF16", (experts, rows, 1), bytes([0x80, 0x3F]) * (experts * rows))
    folder = draft.write(tmp_path / "source")
    checkpoint = ckptkit.open(folder)
    module = checkpoint.modules[name]
    assert module.experts == experts and not checkpoint.orphans and not checkpoint.stored_only
    before = {finding.code for finding in ckptkit.validate(REAL / CT).findings}
    found = [finding for finding in ckptkit.validate(folder).findings if finding.code not in before]
    assert [(f.code, f.severity.value) for f in found] == [("CK207", "info")]
    assert {shape for shape in summarise(checkpoint).modules if shape.name.endswith("input_linear")}
    with pytest.raises(ConversionRefused) as error:
        ckptkit.plan(folder, to="quark")
    assert {fault.kind for fault in error.value.faults} == {"stacked-experts"}


def test_a_stack_without_a_scale_for_each_expert_is_none(tmp_path: Path) -> None:
    draft = load(CT)
    name = "model.layers.0.block_sparse_moe.input_linear"
    draft.put(f"{name}.weight", "F8_E4M3", (4, 8, 8), bytes([0x38]) * 256)
    draft.put(f"{name}.weight_scale", "BF16", (3, 8, 1), bytes([0x80, 0x3F]) * 24)
    checkpoint = ckptkit.open(draft.write(tmp_path / "source"))
    assert [tensor.name for tensor in checkpoint.stored_only] == [f"{name}.weight"]
    assert [tensor.name for tensor in checkpoint.orphans] == [f"{name}.weight_scale"]


@pytest.mark.parametrize(("shape", "code"), [((4, 64, 1), None), ((4, 64), "CK301"), ((4, 1), "CK306")])
def test_the_scales_of_a_stack_are_judged_as_those_of_a_module(
    shape: tuple[int, ...], code: str | None, tmp_path: Path
) -> None:
    draft = load(CT)
    name, values = "model.layers.0.block_sparse_moe.input_linear", 1
    for extent in shape:
        values *= extent
    draft.put(f"{name}.weight", "F8_E4M3", (4, 64, 32), bytes([0x38]) * 8192)
    draft.put(f"{name}.weight_scale", "BF16", shape, bytes([0x80, 0x3F]) * values)
    findings = ckptkit.validate(draft.write(tmp_path / "source")).findings
    assert [f.code for f in findings if f.tensor == f"{name}.weight_scale"] == ([code] if code else [])


def stored(folder: Path, *, of: str) -> dict[str, tuple[str, bytes]]:
    """The tensors of some modules, byte for byte."""
    container = api.open_files(folder)
    return {t.name: (t.dtype, container.read(t)) for t in container.tensors.values() if of in t.name}


@pytest.mark.parametrize("name", KINDS)
def test_the_same_format_carries_them_with_their_groups(name: str, tmp_path: Path) -> None:
    draft = mixed(*KINDS[name])
    draft.block["config_groups"]["group_1"]["weights"] = {**KINDS[name][1], "observer_kwargs": {"averaging": 0.1}}
    source, out = draft.write(tmp_path / "source"), tmp_path / "out"
    assert ckptkit.plan(source, to="ct").cost.computed == 0
    ckptkit.convert(source, out, to="ct")
    assert stored(out, of=".mlp.") == stored(source, of=".mlp.")
    block = json.loads((out / "config.json").read_text())["quantization_config"]
    assert block["format"] == "mixed-precision"
    assert block["config_groups"]["group_1"] == draft.block["config_groups"]["group_1"]
    assert "Linear" not in block["config_groups"]["group_0"]["targets"], "TensorRT-LLM takes no class among several"
    assert ckptkit.diff(source, out).same
    assert not ckptkit.validate(out).errors
    before, after = ckptkit.open(source), ckptkit.open(out)
    assert {n: m.scheme for n, m in before.opaque.items()} == {n: m.scheme for n, m in after.opaque.items()}


def test_targets_that_reach_too_far_are_written_anew(tmp_path: Path) -> None:
    draft = mixed(*NVFP4)
    draft.block["config_groups"]["group_1"]["targets"] = ["Linear"]
    ckptkit.convert(draft.write(tmp_path / "source"), tmp_path / "out", to="ct")
    groups = json.loads((tmp_path / "out/config.json").read_text())["quantization_config"]["config_groups"]
    assert all(target.startswith("re:") and "mlp" in target for target in groups["group_1"]["targets"])
    assert "Linear" not in groups["group_0"]["targets"]
    assert ckptkit.diff(tmp_path / "source", tmp_path / "out").same


@pytest.mark.parametrize("other_by_default", [False, True])
def test_quark_carries_its_own_layers(other_by_default: bool, tmp_path: Path) -> None:
    draft = quark_layers(
        dtype="fp4", qscheme="per_group", group_size=32, ch_axis=-1, observer_cls="PerGroupMinMaxObserver"
    )
    store(draft, mxfp4)
    spec = draft.block["layer_quant_config"]["*mlp*"]
    if other_by_default:
        attention = draft.block["global_quant_config"]
        draft.block.update(global_quant_config=spec, layer_quant_config={"*self_attn*": attention})
    source, out = draft.write(tmp_path / "source"), tmp_path / "out"
    ckptkit.convert(source, out, to="quark")
    assert stored(out, of=".mlp.") == stored(source, of=".mlp.")
    layers = json.loads((out / "config.json").read_text())["quantization_config"]["layer_quant_config"]
    written = [value for key, value in layers.items() if "mlp" in key]
    assert written and all(value == spec for value in written)
    assert ckptkit.diff(source, out).same and not ckptkit.validate(out).errors
    with pytest.raises(ConversionRefused) as error:
        ckptkit.plan(source, to="quark", mode="fp8")
    assert "other-quantization" in {fault.kind for fault in error.value.faults}


def test_two_groups_that_differ_in_their_config_only_stay_two(tmp_path: Path) -> None:
    draft = mixed(*NVFP4)
    groups = draft.block["config_groups"]
    groups["group_1"]["targets"] = ["re:.*up_proj", "re:.*gate_proj"]
    groups["group_2"] = {**groups["group_1"], "targets": ["re:.*down_proj"]}
    groups["group_2"]["weights"] = {**FP4, "observer": "mse"}
    ckptkit.convert(draft.write(tmp_path / "source"), tmp_path / "out", to="ct")
    written = json.loads((tmp_path / "out/config.json").read_text())["quantization_config"]["config_groups"]
    assert len(written) == 3 and all(groups[name] in written.values() for name in ("group_1", "group_2"))
