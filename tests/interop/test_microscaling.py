"""MXFP4 weights, bit for bit what compressed-tensors, Quark and transformers unpack from the same bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

import ckptkit
from ckptkit.model.granularity import PerBlock
from ckptkit.model.numbers import dequantized, numbers
from tests.damage import CT, REAL, load, tensors_of
from tests.formats.test_microscaling import ct
from tests.formats.test_mixed import ATTENTION, FP4, MLP, nvfp4, store
from tests.formats.test_mxfp4 import gpt_oss
from tests.raw import write_files

from .oracles import Oracles
from .runner import Drivers
from .test_quantize import run

_MODELOPT = """
import sys
import torch
from modelopt.torch.quantization.qtensor.mxfp8_tensor import MXFP8QTensor
from modelopt.torch.quantization.qtensor.nvfp4_tensor import NVFP4QTensor
from safetensors.torch import load_file, save_file
made = {}
tensors = load_file(sys.argv[1])
for name, weight in tensors.items():
    scale = tensors.get(name + "_scale")
    if weight.dtype == torch.float8_e4m3fn and scale is not None:
        made[name] = MXFP8QTensor(weight.shape, torch.bfloat16, weight).dequantize(dtype=torch.bfloat16, scale=scale)
    elif weight.dtype == torch.uint8 and scale is not None:
        shape = torch.Size((weight.shape[0], 2 * weight.shape[1]))
        made[name] = NVFP4QTensor(shape, torch.bfloat16, weight).dequantize(
            dtype=torch.bfloat16, scale=scale, double_scale=tensors[name + "_scale_2"], block_sizes={-1: 16})
save_file({name: tensor.contiguous() for name, tensor in made.items()}, sys.argv[2])
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A checkpoint with MXFP4 modules, and the same in BF16."""
    folder = tmp_path_factory.mktemp("mx")
    source = ct(14).write(folder / "source")
    ckptkit.convert(source, folder / "plain", to="bf16")
    return source, folder / "plain"


@pytest.mark.parametrize(("environment", "tool"), [("quark", "quark"), ("llmcompressor", "transformers")])
def test_unpackers_agree(environment: str, tool: str, folders: tuple[Path, Path]) -> None:
    with Drivers() as drivers:
        [answer] = drivers.run(environment, "mx_unpack", [folders[0]], tool=tool)
    ours, theirs = tensors_of(folders[1]), answer["weights"]
    assert set(theirs) == set(ckptkit.open(folders[0]).opaque)
    for module, facts in theirs.items():
        weight = ours[f"{module}.weight"]
        assert (facts["dtype"], tuple(facts["shape"])) == ("bfloat16", weight.shape)
        assert hashlib.sha256(weight.data).hexdigest() == facts["sha256"], module


def test_compressed_tensors_decompresses_both_forms_to_the_same_numbers(
    folders: tuple[Path, Path], oracles: Oracles, tmp_path: Path
) -> None:
    ckptkit.convert(folders[0], tmp_path / "blocks", to="ct", mx_to_fp8=True)
    packed, blocks = oracles.compressed_tensors([folders[0], tmp_path / "blocks"], environment="llmcompressor")
    ours, made = tensors_of(folders[1]), tensors_of(tmp_path / "blocks")
    for module in ckptkit.open(folders[0]).opaque:
        weight = ours[f"{module}.weight"]
        assert hashlib.sha256(weight.data).hexdigest() == packed.weights[module].sha256, module
        codes = numbers("F8_E4M3", made[f"{module}.weight"].data).reshape(weight.shape)
        grid = numbers("F32", made[f"{module}.weight_scale"].data)
        wide = dequantized(codes, grid, PerBlock(128, 128)).astype("<f4")
        facts = blocks.weights[module]
        expected = {"float32": wide.tobytes(), "bfloat16": weight.data}[facts.dtype]
        assert hashlib.sha256(expected).hexdigest() == facts.sha256, module


def test_vllm_stops_at_stacks_of_gpt_oss_in_fp8(oracles: Oracles, tmp_path: Path) -> None:
    """It turns stacks of this class round, as their models had them before, and the sides no longer fit."""
    source = write_files(tmp_path / "source", gpt_oss())
    ckptkit.convert(source, tmp_path / "out", to="fp8")
    [reading] = oracles.vllm([tmp_path / "out"], refusals=True)
    assert reading.error is not None and "must match the size of tensor" in reading.error.message


def test_transformers_unpacks_stacks_of_blocks_to_the_same_numbers(tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", gpt_oss())
    ckptkit.convert(source, tmp_path / "plain", to="bf16")
    with Drivers() as drivers:
        [answer] = drivers.run("llmcompressor", "mx_unpack", [source], tool="transformers")
    ours = tensors_of(tmp_path / "plain")
    assert set(answer["weights"]) == set(ckptkit.open(source).opaque)
    for module, facts in answer["weights"].items():
        assert (facts["dtype"], tuple(facts["shape"])) == ("bfloat16", ours[module].shape)
        assert hashlib.sha256(ours[module].data).hexdigest() == facts["sha256"], module


def test_compressed_tensors_decompresses_nvfp4_to_the_same_numbers(oracles: Oracles, tmp_path: Path) -> None:
    """Every element, every scale that is a number, and a second scale whose reciprocal is rounded."""
    draft = load(CT)
    store(draft, nvfp4, (*MLP, *ATTENTION))
    random = np.random.default_rng(0)
    for name in draft.names(r".*\.weight_packed"):
        module = name.removesuffix("_packed")
        packed, scale = draft.get(name), draft.get(f"{module}_scale")
        draft.put(name, "U8", packed.shape, random.integers(0, 256, packed.shape, np.uint8).tobytes())
        codes = random.integers(0, 0x7F, scale.shape, np.uint8) | random.integers(0, 2, scale.shape, np.uint8) << 7
        draft.put(f"{module}_scale", scale.dtype, scale.shape, codes.tobytes())
        draft.put(f"{module}_global_scale", "F32", (1,), np.float32(random.uniform(100, 3000)).tobytes())
    group = {"targets": ["Linear"], "weights": FP4, "input_activations": None}
    draft.block.update(format="nvfp4-pack-quantized", config_groups={"group_0": group})
    source = draft.write(tmp_path / "source")
    ckptkit.convert(source, tmp_path / "plain", to="bf16")
    [reading] = oracles.compressed_tensors([source], environment="llmcompressor")
    ours = tensors_of(tmp_path / "plain")
    assert set(reading.weights) == set(ckptkit.open(source).opaque)
    for module, facts in reading.weights.items():
        weight = ours[f"{module}.weight"]
        assert (facts.dtype, tuple(facts.shape)) == ("bfloat16", weight.shape)
        assert hashlib.sha256(weight.data).hexdigest() == facts.sha256, module


@pytest.mark.parametrize("name", ["modelopt-mxfp8", "modelopt-nvfp4"])
def test_modelopt_makes_the_same_numbers_of_its_own_exports(name: str, tmp_path: Path) -> None:
    """Bit for bit but for the sign of zeros, which its table of four-bit elements does not have."""
    source = REAL / "llama-block-aligned" / name
    ckptkit.convert(source, tmp_path / "plain", to="bf16")
    run("modelopt", _MODELOPT, str(source / "model.safetensors"), str(tmp_path / "theirs.safetensors"))
    ours, theirs = tensors_of(tmp_path / "plain"), tensors_of(tmp_path)
    assert len(theirs) == 7
    for weight, tensor in theirs.items():
        left, right = (np.frombuffer(t.data, "<u2") for t in (ours[weight], tensor))
        assert (ours[weight].dtype, ours[weight].shape) == (tensor.dtype, tensor.shape)
        zeros = ((left | right) & 0x7FFF) == 0
        assert np.array_equal(left[~zeros], right[~zeros])
