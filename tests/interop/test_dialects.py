"""Plain fp8, ModelOpt and fbgemm, judged by the engines: every conversion means what its source means.

vLLM loads sources and conversions and must hand its kernels equal parameters; transformers dequantizes DeepSeek's
blocks on the CPU and must compute what it computes of the compressed-tensors twin.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import ckptkit
from tests.conversion.test_cells import SOURCES, Source
from tests.damage import load

from .compare import differences
from .oracles import Oracles

Real = Callable[[str], Path]

CT_BLOCK, CT_STATIC, CT_KV = (
    "llama-block-aligned/llmcompressor-block",
    "llama/llmcompressor-fp8",
    "llama/llmcompressor-fp8-kv",
)
#: Real export -> the targets that hold it with a new header alone.
HEADERS = {
    CT_BLOCK: ("fp8", "modelopt", "quark"),
    "llama-block-wide/modelopt-block": ("fp8", "ct", "quark"),
    CT_STATIC: ("fp8", "modelopt", "quark"),
    CT_KV: ("fp8", "modelopt", "quark"),
    "llama/llmcompressor-dynamic": ("modelopt", "quark"),
    "llama/modelopt-fp8-kv": ("ct", "fp8", "quark"),
    "llama/modelopt-channel": ("ct", "quark"),
    "llama/quark-fp8-kv": ("fp8", "modelopt", "ct"),
    "llama/quark-ptpc": ("modelopt", "ct"),
}


def of_row(row: str) -> Source:
    return next(source for source in SOURCES if source.row == row)


@pytest.mark.parametrize("name", HEADERS)
def test_vllm_hands_its_kernels_equal_parameters(name: str, oracles: Oracles, real: Real, tmp_path: Path) -> None:
    folders = [real(name)]
    for to in HEADERS[name]:
        plan = ckptkit.convert(real(name), tmp_path / to, to=to).plan
        assert plan.cost.computed == 0
        folders.append(tmp_path / to)
    source, *conversions = oracles.vllm(folders, kv_cache_dtype="fp8")
    for conversion in conversions:
        assert differences(source.processed, conversion.processed) == []
        assert conversion.unset == source.unset == ()
        assert conversion.attention.keys() == source.attention.keys()
        for layer, scales in conversion.attention.items():
            # All but compressed-tensors' reader round these to the model's type first.
            assert scales.k == pytest.approx(source.attention[layer].k, rel=2**-8)
            assert scales.v == pytest.approx(source.attention[layer].v, rel=2**-8)


@pytest.mark.parametrize("name", ["llama/modelopt-fp8", "llama/modelopt-channel", "llama-block-wide/modelopt-block"])
def test_there_and_back_is_the_same_for_vllm(name: str, oracles: Oracles, real: Real, tmp_path: Path) -> None:
    ckptkit.convert(real(name), tmp_path / "ct", to="ct")
    ckptkit.convert(tmp_path / "ct", tmp_path / "back", to="modelopt")
    source, back = oracles.vllm([real(name), tmp_path / "back"])
    assert differences(source.loaded, back.loaded) == []


@pytest.mark.parametrize(
    ("row", "to", "mode"),
    [
        ("per tensor, dynamic per-token inputs", "modelopt", None),
        ("per tensor, dynamic per-tensor inputs", "modelopt", None),
        ("per tensor, dynamic per-tensor inputs", "fp8", "tensor"),
        ("per channel, static inputs", "modelopt", None),
    ],
)
def test_vllm_loads_what_was_adapted(row: str, to: str, mode: str | None, oracles: Oracles, tmp_path: Path) -> None:
    """One scale for every channel, inputs computed while running: every parameter is set."""
    draft = load(of_row(row).fixture)
    of_row(row).change(draft)
    source = draft.write(tmp_path / "source")
    ckptkit.convert(source, tmp_path / "out", to=to, mode=mode, allow_lossy=True)
    [found] = oracles.vllm([tmp_path / "out"])
    assert found.unset == () and found.quantization == to


def test_one_scale_in_blocks_is_loaded(oracles: Oracles, tmp_path: Path) -> None:
    """Rows and columns of 128: each block gets the one scale."""
    draft = load(CT_BLOCK)
    for name in draft.names(r".*\.weight_scale"):
        tensor = draft.get(name)
        draft.put(name, tensor.dtype, (1,), tensor.data[:2])
    args = {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "tensor", "dynamic": False}
    draft.group["weights"] = args
    draft.group["input_activations"] = {**args, "dynamic": True}
    source = draft.write(tmp_path / "source")
    ckptkit.convert(source, tmp_path / "out", to="fp8", mode="block")
    [found] = oracles.vllm([tmp_path / "out"])
    assert found.unset == ()


def test_vllm_does_not_load_transformers_names_or_deprecated_methods(
    oracles: Oracles, real: Real, tmp_path: Path
) -> None:
    ckptkit.convert(real(CT_STATIC), tmp_path / "names", to="fp8", mode="transformers")
    ckptkit.convert(real("llama/llmcompressor-dynamic"), tmp_path / "fbgemm", to="fbgemm")
    names, fbgemm = oracles.vllm([tmp_path / "names", tmp_path / "fbgemm"], refusals=True)
    assert names.error is not None and "no module or parameter named" in names.error.message
    assert fbgemm.error is not None and "deprecated" in fbgemm.error.message


def test_vllm_has_no_channels_for_modelopts_experts(oracles: Oracles, real: Real) -> None:
    [found] = oracles.vllm([real("qwen3_moe/modelopt-channel")], refusals=True)
    assert found.error is not None and "shape '[]' is invalid" in found.error.message


def test_vllm_does_not_load_a_block_scale_without_axes(oracles: Oracles, real: Real, tmp_path: Path) -> None:
    ckptkit.convert(real("llama-block-aligned/modelopt-block"), tmp_path / "mended", to="modelopt")
    broken, mended = oracles.vllm([real("llama-block-aligned/modelopt-block"), tmp_path / "mended"], refusals=True)
    assert broken.error is not None and "0-dim tensor" in broken.error.message
    assert mended.error is None and mended.unset == ()


def test_transformers_computes_blocks_as_their_twin(oracles: Oracles, real: Real, tmp_path: Path) -> None:
    """Without a GPU it dequantizes ``fp8``; the twin is the same weights with inputs in high precision."""
    ckptkit.convert(real(CT_BLOCK), tmp_path / "block", to="fp8")
    draft = load(CT_BLOCK)
    draft.group["input_activations"] = None
    twin = draft.write(tmp_path / "twin")
    for path in real(CT_BLOCK).iterdir():
        if not (twin / path.name).exists():
            (twin / path.name).write_bytes(path.read_bytes())
    block, other = oracles.logits([tmp_path / "block", twin], environment="llmcompressor")
    assert (block.missing_keys, block.unexpected_keys, block.mismatched_keys) == ((), (), ())
    assert block.sha256 == other.sha256


def test_transformers_reads_its_own_names_only(oracles: Oracles, real: Real, tmp_path: Path) -> None:
    for mode in ("transformers", "tensor"):
        ckptkit.convert(real(CT_STATIC), tmp_path / mode, to="fp8", mode=mode)
    own, vllms = oracles.logits([tmp_path / "transformers", tmp_path / "tensor"], environment="llmcompressor")
    assert (own.missing_keys, own.unexpected_keys) == ((), ())
    assert vllms.unexpected_keys and all(key.endswith("_scale") for key in vllms.unexpected_keys)


@pytest.mark.parametrize("name", [CT_BLOCK, CT_STATIC])
def test_transformers_516_has_no_fp8(name: str, oracles: Oracles, real: Real, tmp_path: Path) -> None:
    ckptkit.convert(real(name), tmp_path / "out", to="fp8")
    [found] = oracles.logits([tmp_path / "out"], refusals=True)
    assert found.error is not None and "'NoneType' object has no attribute 'get'" in found.error.message
