"""Quantization against the real libraries' recorded results, the real exporters' files, and the Triton kernel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ckptkit.errors import UsageError
from ckptkit.kernels import quantize
from ckptkit.kernels.build import toolkit
from ckptkit.kernels.scaling import GROUP_BLOCK, TENSOR_TENSOR, TOKEN_CHANNEL
from ckptkit.model.granularity import Granularity, PerBlock, PerChannel, PerHead, PerTensor
from tests.kernels.record_quantize import RECORD, entry, sample

REAL = Path(__file__).resolve().parents[2] / "fixtures" / "real"


def raw(codes: torch.Tensor) -> torch.Tensor:
    return codes.view(torch.uint8)


@pytest.fixture(scope="module")
def recorded() -> Any:
    return json.loads(RECORD.read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", ["token", "tensor", "group", "weight-channel", "weight-tensor", "weight-block"])
def test_compressed_tensors_gives_the_same_codes_and_scales(recorded: Any, case: str) -> None:
    x = sample()
    made = {
        "token": lambda: quantize.per_token(x, "compressed-tensors"),
        "tensor": lambda: quantize.per_tensor(x, "compressed-tensors"),
        "group": lambda: quantize.per_group(x, 128, "compressed-tensors"),
        "weight-channel": lambda: quantize.weight(x, PerChannel()),
        "weight-tensor": lambda: quantize.weight(x, PerTensor()),
        "weight-block": lambda: quantize.weight(x, PerBlock(16, 128)),
    }[case]()
    assert entry(*made) == recorded["compressed-tensors"]["results"][case]


def test_vllm_gives_the_same_codes_and_scales(recorded: Any) -> None:
    x = sample()
    results = recorded["vllm"]["results"]
    nonzero = x[x.abs().amax(dim=1) > 1].contiguous()
    nonzero[nonzero == 0] = 1.0
    assert entry(*quantize.per_group(nonzero, 128)) == results["group"]
    scale = torch.tensor([0.0123])
    assert entry(quantize.static(x, scale), scale) == results["static"]
    assert entry(x, quantize.per_token(x).scale)["scale"] == results["token-scale"]["scale"]


@pytest.mark.parametrize(
    ("export", "granularity"), [("quark-ptpc", PerChannel()), ("quark-fp8", PerTensor())], ids=["channel", "tensor"]
)
def test_weights_come_out_as_the_real_exporter_wrote_them(export: str, granularity: Granularity) -> None:
    base = load_file(REAL / "llama/bf16/model.safetensors")
    stored = load_file(REAL / "llama" / export / "model.safetensors")
    names = [name for name, tensor in stored.items() if tensor.dtype == torch.float8_e4m3fn]
    assert len(names) == 14
    for name in names:
        made = quantize.weight(base[name], granularity)
        assert torch.equal(raw(made.codes), raw(stored[name]))
        assert torch.equal(made.scale, stored[f"{name}_scale"])


def test_zeros_saturation_and_nan() -> None:
    x = torch.tensor([[0.0, 0.0], [1e6, -1.0], [float("nan"), 1.0]]).bfloat16()
    codes, scale = quantize.per_token(x)
    assert raw(codes)[0].tolist() == [0, 0]
    assert scale[0] == torch.tensor(quantize.SMALLEST_SCALE)
    assert codes[1, 0].float() == 448
    assert codes[2].float().isnan().all()
    assert scale[2].isnan()
    assert raw(quantize.static(torch.tensor([1e9, -1e9]), torch.tensor(1.0))).tolist() == [0x7E, 0xFE]
    assert quantize.per_tensor(torch.zeros(2, 2)).codes.float().eq(0).all()


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # numpy, inside the interpreter, at the NaN
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("size", [None, 128], ids=["token", "group"])
def test_the_kernel_equals_the_eager_one_bit_for_bit(dtype: torch.dtype, size: int | None) -> None:
    x = sample()[:, : 391 if size is None else 300].to(dtype)[:12]
    x[1, 7], x[2, 1], x[4, 0] = float("nan"), float("inf"), -float("inf")
    wanted = quantize.per_token(x) if size is None else quantize.per_group(x, size)
    found = quantize.kernel_rows(x, size)
    assert torch.equal(raw(found.codes), raw(wanted.codes))
    assert torch.equal(found.scale.view(torch.int32), wanted.scale.view(torch.int32))


def test_rows_longer_than_a_block() -> None:
    x = sample().reshape(2, -1)[:, :9000]
    wanted, found = quantize.per_token(x), quantize.kernel_rows(x)
    assert torch.equal(raw(found.codes), raw(wanted.codes))
    assert torch.equal(found.scale, wanted.scale)


def test_integer_encoding_is_right_for_every_bfloat16() -> None:
    values = torch.arange(1 << 16, dtype=torch.int32).to(torch.int16).view(torch.bfloat16).float()
    values = values[values.abs().le(448) | values.isnan()]
    # The encoder runs inside a program, so go through one: rows of one value, whose scale is then 1 after clamping.
    kit = toolkit()
    codes = torch.empty((len(values),), dtype=torch.uint8)
    scale = torch.empty((1,))
    ones = {"FLOOR": 1.0, "FLOOR_AMAX": 448.0, "BLOCK": 4096, "HARDWARE": False}
    finite = values[~values.isnan()].contiguous()
    kit.kernels["quantize_rows"][(1, 1)](finite, codes, scale, len(finite), len(finite), 1, len(finite), **ones)
    assert scale.item() == 1.0
    assert torch.equal(codes[: len(finite)], raw(finite.to(torch.float8_e4m3fn)))


def test_fnuz_codes_mean_the_same() -> None:
    codes = torch.arange(256, dtype=torch.uint8)
    codes = codes[(codes & 0x7F) != 0x7F].view(torch.float8_e4m3fn)
    relabelled, scale = quantize.to_fnuz(codes, torch.tensor(0.5))
    assert torch.equal(relabelled.float() * scale, codes.float() * 0.5)
    with pytest.raises(UsageError, match="NaN"):
        quantize.to_fnuz(torch.tensor([0x7F], dtype=torch.uint8).view(torch.float8_e4m3fn), scale)


def test_activations_follow_the_scaling() -> None:
    x = sample()
    assert quantize.activations(x, TOKEN_CHANNEL).scale.shape == (48,)
    assert quantize.activations(x, GROUP_BLOCK).scale.shape == (48, 3)
    assert quantize.activations(x, TENSOR_TENSOR).scale.shape == ()
    assert quantize.activations(x, TENSOR_TENSOR, torch.tensor(0.5)).scale == 0.5
    with pytest.raises(UsageError, match="per-head"):
        quantize.weight(x, PerHead())
