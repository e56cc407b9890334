"""What ckptkit quantizes, beside the real tools: their codes of the same weights, and vLLM loading and answering."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import ckptkit
from tests.damage import tensors_of

from .environments import ensure
from .oracles import Oracles

Real = Callable[[str], Path]

#: Preset -> the base that it is tried on, and the target.
LOADED = {
    "FP8_DYNAMIC": ("llama", "ct"),
    "FP8_BLOCK": ("llama-block-aligned", "ct"),
    "ptpc_fp8": ("llama", "quark"),
    "FP8_PER_CHANNEL_PER_TOKEN": ("llama", "modelopt"),
    "FP8_PB_WO": ("llama-block-wide", "modelopt"),
    "fp8_per_block": ("llama-block-aligned", "fp8"),
    "fp8_per_tensor": ("llama", "fp8"),
}
ARCHITECTURES = (
    *("llama", "llama-block-aligned", "llama-block-ragged", "llama-tied", "qwen2", "qwen3", "phi3"),
    *("qwen3_moe", "mixtral", "qwen2_5_vl", "gemma3"),
)

_MODEL_FREE = """
import sys
from llmcompressor import model_free_ptq
scheme, *pairs = sys.argv[1:]
skipped = ["lm_head", "re:.*lm_head", "re:.*gate$", "re:.*embed_tokens", "re:.*visual.*", "re:.*vision_tower.*",
           "re:.*multi_modal_projector.*"]
for source, out in zip(pairs[::2], pairs[1::2]):
    model_free_ptq(source, out, scheme=scheme, ignore=skipped, device="cpu")
"""

_EVERY_FLOAT = """
import json, sys
import torch
found = {}
for name, dtype in (("BF16", torch.bfloat16), ("F16", torch.float16)):
    values = torch.arange(1 << 16, dtype=torch.int32).to(torch.uint16).view(dtype)
    codes = values.clamp(-448, 448).to(torch.float8_e4m3fn).view(torch.uint8)
    found[name] = codes.numpy().tobytes().hex()
print(json.dumps(found))
"""

_BLOCKS = """
import sys
import torch
from safetensors.torch import load_file, save_file
from vllm.utils.deep_gemm import per_block_cast_to_fp8
found = {}
for name, weight in load_file(sys.argv[1]).items():
    if name.endswith("_proj.weight"):
        found[name], found[name + "_scale_inv"] = per_block_cast_to_fp8(weight, [128, 128], False)
save_file({name: tensor.contiguous() for name, tensor in found.items()}, sys.argv[2])
"""


def run(environment: str, program: str, *arguments: str) -> str:
    """What a program prints in an environment."""
    done = subprocess.run(
        [str(ensure(environment)), "-c", program, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("scheme", ["FP8_DYNAMIC", "FP8_BLOCK"])
def test_model_free_ptq_makes_the_same_bytes(scheme: str, real: Real, tmp_path: Path) -> None:
    """llm-compressor's own way without a model, on every architecture; blocks where engines load them."""
    names = [name for name in ARCHITECTURES if scheme == "FP8_DYNAMIC" or name == "llama-block-aligned"]
    pairs = [str(path) for name in names for path in (real(f"{name}/bf16"), tmp_path / f"{name}-theirs")]
    run("llmcompressor", _MODEL_FREE, scheme, *pairs)
    for name in names:
        ckptkit.convert(real(f"{name}/bf16"), tmp_path / name, to="ct", scheme=scheme)
        assert tensors_of(tmp_path / name) == tensors_of(tmp_path / f"{name}-theirs"), name


def test_torch_rounds_every_16_bit_float_to_the_same_code() -> None:
    import numpy as np

    from ckptkit.model.numbers import numbers
    from ckptkit.operations import quantize

    for dtype, text in json.loads(run("llmcompressor", _EVERY_FLOAT)).items():
        theirs = np.frombuffer(bytes.fromhex(text), np.uint8)
        is_number = ~np.isnan(numbers(dtype, np.arange(1 << 16, dtype="<u2").tobytes()))
        assert np.array_equal(np.asarray(quantize._table(dtype))[is_number], theirs[is_number])


@pytest.mark.parametrize("name", ["llama-block-aligned", "llama-block-wide"])
def test_blocks_of_plain_fp8_are_vllms(name: str, real: Real, tmp_path: Path) -> None:
    source = real(f"{name}/bf16")
    run("vllm", _BLOCKS, str(source / "model.safetensors"), str(tmp_path / "theirs.safetensors"))
    ckptkit.convert(source, tmp_path / "out", to="fp8")
    ours, theirs = tensors_of(tmp_path / "out"), tensors_of(tmp_path)
    assert len(theirs) == 14
    assert {tensor: ours[tensor] for tensor in theirs} == theirs


@pytest.mark.parametrize("scheme", LOADED)
def test_vllm_loads_what_is_quantized(scheme: str, oracles: Oracles, real: Real, tmp_path: Path) -> None:
    architecture, to = LOADED[scheme]
    ckptkit.convert(real(f"{architecture}/bf16"), tmp_path / "out", to=to, scheme=scheme)
    [reading] = oracles.vllm([tmp_path / "out"], generate=True)
    assert reading.error is None and reading.unset == ()
    assert reading.generation is not None and len(reading.generation.tokens) > 0
