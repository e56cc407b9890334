"""Splitting and fusing projections, splitting and stacking experts: ranges of bytes; refusals in words."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

import ckptkit
from ckptkit.conversion.plan import Plan
from ckptkit.errors import ConversionRefused, UsageError
from ckptkit.operations import outputs
from ckptkit.operations.operation import OperationError
from ckptkit.storage.payload import ByteRange, TensorRef
from tests.damage import REAL, MutableCheckpoint, load, plain_fp8, tensors_of
from tests.raw import RawTensor

convert = partial(ckptkit.convert, fsync=False)


def rows(tensor: RawTensor) -> list[bytes]:
    size = len(tensor.data) // tensor.shape[0]
    return [tensor.data[at : at + size] for at in range(0, len(tensor.data), size)]


@pytest.mark.parametrize("name", ["phi3/quark-ptpc", "phi3/quark-fp8-kv", "phi3/llmcompressor-dynamic"])
def test_split_projections_are_rows_and_fuse_to_the_same_again(name: str, tmp_path: Path) -> None:
    whole = tensors_of(convert(REAL / name, tmp_path / "whole", to="ct").destination)
    plan = convert(REAL / name, tmp_path / "split", to="ct", fused="split").plan
    assert Plan.from_json(plan.to_json()).to_json() == plan.to_json()
    assert plan.cost.computed == 0 and plan.verdict.value == "lossless"
    parts = tensors_of(tmp_path / "split")
    for layer in (0, 1):
        owner = f"model.layers.{layer}."
        for fused, members in (
            ("self_attn.qkv_proj", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")),
            ("mlp.gate_up_proj", ("mlp.gate_proj", "mlp.up_proj")),
        ):
            stored = rows(whole[f"{owner}{fused}.weight"])
            assert [row for part in members for row in rows(parts[f"{owner}{part}.weight"])] == stored
            scale = whole[f"{owner}{fused}.weight_scale"]
            own = [parts[f"{owner}{part}.weight_scale"].data for part in members]
            assert own == [scale.data] * len(members) if scale.shape == (1,) else b"".join(own) == scale.data
    assert not ckptkit.validate(tmp_path / "split").errors
    back = convert(tmp_path / "split", tmp_path / "back", to="ct", fused="fuse").plan
    assert back.cost.computed == 0
    assert tensors_of(tmp_path / "back") == whole


def test_biases_and_what_is_not_quantized_go_along(tmp_path: Path) -> None:
    source = REAL / "qwen2/llmcompressor-dynamic"
    whole = tensors_of(source)
    assert any(name.endswith("q_proj.bias") for name in whole)
    fused = tensors_of(convert(source, tmp_path / "fused", to="ct", fused="fuse").destination)
    name = "model.layers.0.self_attn."
    assert fused[f"{name}qkv_proj.bias"].data == b"".join(whole[f"{name}{part}_proj.bias"].data for part in "qkv")
    back = convert(tmp_path / "fused", tmp_path / "back", to="ct", fused="split").destination
    assert tensors_of(back) == whole
    plain = tensors_of(convert(source, tmp_path / "plain", to="bf16", modules=["*self_attn*"]).destination)
    joined = tensors_of(convert(tmp_path / "plain", tmp_path / "joined", to="ct", fused="fuse").destination)
    assert joined[f"{name}qkv_proj.weight"].dtype == "BF16"
    again = tensors_of(convert(tmp_path / "joined", tmp_path / "again", to="ct", fused="split").destination)
    assert again == plain


def test_parts_with_one_scale_each_are_fused_by_channels(tmp_path: Path) -> None:
    """As the refusal says: no value changes on the way."""
    source = convert(REAL / "llama/bf16", tmp_path / "source", to="fp8", mode="tensor").destination
    with pytest.raises(ConversionRefused, match=r"qkv_proj: its parts have scales of their own") as error:
        ckptkit.plan(source, to="ct", fused="fuse")
    assert {fault.help and "--granularity channel" in fault.help for fault in error.value.faults} == {True}
    channels = convert(source, tmp_path / "channels", to="ct", granularity="channel").destination
    fused = convert(channels, tmp_path / "fused", to="ct", fused="fuse").destination
    before, after = (
        tensors_of(convert(folder, tmp_path / f"plain-{folder.name}", to="f32").destination)
        for folder in (source, fused)
    )
    for name, tensor in after.items():
        owner, _, last = name.removesuffix(".weight").rpartition(".")
        parts = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}.get(
            last, (last,)
        )
        assert tensor.data == b"".join(before[f"{owner}.{part}.weight".lstrip(".")].data for part in parts)


def test_parts_with_scales_of_their_own_are_not_fused() -> None:
    with pytest.raises(ConversionRefused, match=r"qkv_proj: its parts have scales of their own"):
        ckptkit.plan(REAL / "llama/quark-fp8", to="ct", fused="fuse")


def moe(inner: int = 128) -> MutableCheckpoint:
    """DeepSeek's blocks with three experts in each of two layers."""
    draft = load("llama-block-aligned/llmcompressor-block")
    plain_fp8(draft)
    rng = np.random.default_rng(5)
    for expert in range(3):
        for part in ("gate_proj", "up_proj", "down_proj"):
            shape = (128, inner) if part == "down_proj" else (inner, 128)
            name = f"model.layers.0.mlp.experts.{expert}.{part}"
            grid = tuple(-(-extent // 128) for extent in shape)
            codes = rng.integers(0, 0x7F, shape, np.uint8)
            draft.put(f"{name}.weight", "F8_E4M3", shape, codes.tobytes())
            draft.put(f"{name}.weight_scale_inv", "F32", grid, rng.random(grid, np.float32).tobytes())
    return draft


@pytest.mark.parametrize("inner", [128, 256])
def test_experts_are_stacked_in_order_and_split_to_the_same_again(inner: int, tmp_path: Path) -> None:
    source = moe(inner).write(tmp_path / "source")
    before = tensors_of(source)
    plan = convert(source, tmp_path / "stacked", to="fp8", experts="stack").plan
    assert plan.cost.computed == 0
    found, owner = tensors_of(tmp_path / "stacked"), "model.layers.0.mlp.experts"
    stack = found[f"{owner}.gate_up_proj"]
    assert stack.shape == (3, 2 * inner, 128)
    order = [f"{owner}.{expert}.{part}" for expert in range(3) for part in ("gate_proj", "up_proj")]
    assert stack.data == b"".join(before[f"{name}.weight"].data for name in order)
    grid = found[f"{owner}.gate_up_proj_scale_inv"]
    assert grid.shape == (3, 2 * inner // 128, 1)
    assert grid.data == b"".join(before[f"{name}.weight_scale_inv"].data for name in order)
    assert found[f"{owner}.down_proj"].shape == (3, 128, inner)
    convert(tmp_path / "stacked", tmp_path / "split", to="fp8", experts="split")
    assert tensors_of(tmp_path / "split") == before
    assert tensors_of(convert(tmp_path / "stacked", tmp_path / "ct", to="ct", experts="split").destination).keys() == {
        name.removesuffix("_inv") for name in before
    }
    with pytest.raises(ConversionRefused, match="one module for each expert"):
        ckptkit.plan(source, to="ct", experts="stack")


def test_what_does_not_fit_is_refused_in_words(tmp_path: Path) -> None:
    source = moe(192).write(tmp_path / "ragged")
    with pytest.raises(ConversionRefused, match=r"gate_up_proj: its parts cannot be put together.*192 rows"):
        ckptkit.plan(source, to="fp8", experts="stack")
    draft = moe()
    draft.drop(r".*experts\.1\.up_proj.*")
    with pytest.raises(ConversionRefused, match="its experts cannot be stacked"):
        ckptkit.plan(draft.write(tmp_path / "incomplete"), to="fp8", experts="stack")
    draft = load("llama-block-aligned/llmcompressor-block")
    plain_fp8(draft)
    name = "model.layers.0.mlp.experts.gate_up_proj"
    draft.put(name, "F8_E4M3", (2, 128, 128), bytes([0x38]) * (2 * 128 * 128))
    draft.put(f"{name}_scale_inv", "F32", (2, 1, 1), np.ones(2, np.float32).tobytes())
    with pytest.raises(ConversionRefused, match="would begin or end inside a block of 128 rows"):
        ckptkit.plan(draft.write(tmp_path / "inside"), to="fp8", experts="split")
    for option in ({"experts": "split"}, {"fused": "split"}):
        with pytest.raises(UsageError, match="nothing to split"):
            ckptkit.plan(REAL / "llama/quark-ptpc", to="ct", **option)
    with pytest.raises(UsageError, match="is no choice for experts"):
        ckptkit.plan(REAL / "llama/quark-ptpc", to="ct", experts="fuse")
    with pytest.raises(UsageError, match="not cut or joined again at once"):
        ckptkit.plan(REAL / "phi3/quark-ptpc", to="bf16", fused="split")


def test_ranges_are_copied_and_promises_kept() -> None:
    stored = TensorRef("t", "BF16", (4, 3), "file", 10, 24)
    part = outputs.computed("p", "slice", (stored,), {"first": 3, "shape": [2, 3]})
    assert part.payloads == (ByteRange("file", 16, 12),) and outputs.loss_of(part) is None
    both = outputs.computed("b", "concat", (stored, stored._replace(shape=(12,))), {"shape": [8, 3]})
    assert both.payloads == (ByteRange("file", 10, 24),) * 2 and both.nbytes == 48
    for operation, inputs, parameters in (
        ("slice", (stored,), {"first": 7, "shape": [2, 3]}),
        ("slice", (stored,), {"first": -1, "shape": [1]}),
        ("slice", (stored._replace(dtype="F4"),), {"first": 0, "shape": [2]}),
        ("slice", (stored, stored), {"first": 0, "shape": [2]}),
        ("concat", (stored, stored), {"shape": [7, 3]}),
        ("concat", (stored, stored._replace(dtype="F16")), {"shape": [8, 3]}),
        ("concat", (), {"shape": []}),
    ):
        with pytest.raises(OperationError):
            outputs.computed("x", operation, inputs, parameters)


def test_a_shard_that_nothing_is_left_of_is_not_written(tmp_path: Path) -> None:
    source = REAL / "llama/quark-ptpc-sharded"
    fused = convert(source, tmp_path / "fused", to="ct", fused="fuse").plan
    assert all(shard.tensors for shard in fused.output.shards)
    assert tensors_of(convert(tmp_path / "fused", tmp_path / "back", to="ct", fused="split").destination) == tensors_of(
        convert(source, tmp_path / "whole", to="ct").destination
    )
