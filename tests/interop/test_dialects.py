"""Plain fp8, ModelOpt and fbgemm, judged by the engines: every conversion means what its source means.

vLLM loads sources and conversions and must hand its kernels equal parameters; transformers dequantizes DeepSeek's
blocks on the CPU and must compute what it computes of the compressed-tensors twin.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest

import ckptkit
from ckptkit.model.checkpoint import Part
from ckptkit.model.numbers import numbers
from tests.conversion.test_cells import SOURCES, Source
from tests.damage import MutableCheckpoint, f32, load

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
    "llama-block-aligned/transformers-block": ("ct", "modelopt", "quark"),
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


def _one_scale(draft: MutableCheckpoint, inputs: str | None) -> None:
    """Rows and columns of 128, and one scale for each weight; ``inputs`` as a row of the matrix has them."""
    for name in draft.names(r".*\.weight_scale"):
        tensor = draft.get(name)
        draft.put(name, tensor.dtype, (1,), tensor.data[:2])
    args = {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "tensor", "dynamic": False}
    draft.group["weights"] = args
    draft.group["input_activations"] = None
    if inputs == "static":
        draft.group["input_activations"] = args
        for name in draft.names(r".*\.weight_scale"):
            draft.put(name.replace("weight_scale", "input_scale"), "F32", (1,), f32(0.25))
    elif inputs is not None:
        draft.group["input_activations"] = {**args, "strategy": inputs, "dynamic": True}


FUSED = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}


def _expected(folder: Path) -> dict[str, str]:
    """What vLLM should hold after loading, as hashes of values: weights and scales, those of fused layers in a row."""
    checkpoint = ckptkit.open(folder)
    found: dict[str, str] = {}
    for module in checkpoint.modules:
        owner, _, last = module.rpartition(".")
        fused, parts = next(((f, p) for f, p in FUSED.items() if last in p), (last, (last,)))
        members = [checkpoint.modules[f"{owner}.{part}"] for part in parts]
        for name, tensors in (("weight", [m.weight for m in members]), ("scale", [m.weight_scale for m in members])):
            values = [numbers(t.dtype, checkpoint.container.read(t)) for t in tensors if t is not None]
            joined = numpy.concatenate([array.astype(numpy.float32).ravel() for array in values])
            found[f"{owner}.{fused}.{name}"] = hashlib.sha256(joined.tobytes()).hexdigest()
    return found


@pytest.mark.parametrize("to", ["fp8", "modelopt"])
def test_vllm_holds_one_scale_for_every_block_or_channel(to: str, oracles: Oracles, tmp_path: Path) -> None:
    """Every cell with new scales that vLLM has a reader for: what it loads is what the plan says, value for value."""
    folders = []
    for inputs in ("static", "token", "tensor", None):
        if to == "modelopt" and inputs == "static":
            continue  # that one needs no new scales
        draft = load(CT_BLOCK)
        _one_scale(draft, inputs)
        source, out = draft.write(tmp_path / f"source-{inputs}"), tmp_path / f"out-{inputs}"
        mode = "block" if to == "fp8" else None
        plan = ckptkit.convert(source, out, to=to, mode=mode, allow_lossy=inputs in ("static", None)).plan
        assert plan.cost.computed > 0 and ckptkit.diff(source, out, plan=plan).same
        folders.append(out)
    for folder, found in zip(folders, oracles.vllm(folders), strict=True):
        assert found.unset == () and found.quantization == to
        held = {
            re.sub(r"weight_scale(_inv)?$", "scale", name): facts.values_sha256 for name, facts in found.loaded.items()
        }
        expected = _expected(folder)
        assert expected and {name: held.get(name) for name in expected} == expected


def test_vllm_does_not_load_transformers_names_or_deprecated_methods(
    oracles: Oracles, real: Real, tmp_path: Path
) -> None:
    ckptkit.convert(real(CT_STATIC), tmp_path / "names", to="fp8", mode="transformers")
    ckptkit.convert(real("llama/llmcompressor-dynamic"), tmp_path / "fbgemm", to="fbgemm")
    names, fbgemm = oracles.vllm([tmp_path / "names", tmp_path / "fbgemm"], refusals=True)
    assert names.error is not None and "no module or parameter named" in names.error.message
    assert fbgemm.error is not None and "deprecated" in fbgemm.error.message


def _in_two_schemes(draft: MutableCheckpoint) -> None:
    """Channels with inputs by token beside one scale and static inputs."""
    layers = {}
    for name in draft.names(r".*_proj\.weight"):
        module = name.removesuffix(".weight")
        layers[module] = {"quant_algo": "FP8"}
        if module.endswith("down_proj"):
            layers[module] = {"quant_algo": "FP8_PER_CHANNEL_PER_TOKEN"}
            draft.drop(rf"{re.escape(module)}\.input_scale")
            rows = draft.get(name).shape[0]
            scale = draft.get(f"{module}.weight_scale")
            draft.put(f"{module}.weight_scale", "F32", (rows,), scale.data * rows)
    draft.files.pop("hf_quant_config.json")
    block = draft.block
    block.clear()
    block.update(quant_method="modelopt", quant_algo="MIXED_PRECISION", quantized_layers=layers, ignore=["lm_head"])


def test_modelopts_own_converter_says_the_same_of_the_file_beside(oracles: Oracles, real: Real, tmp_path: Path) -> None:
    """It makes the config of config.json out of the other file: ours are equal, key by key."""
    draft = load("llama/modelopt-fp8")
    _in_two_schemes(draft)
    sources = [
        real("llama/modelopt-fp8-kv"),
        real(CT_STATIC),
        real(CT_KV),
        real("llama/quark-ptpc"),
        real(CT_BLOCK),
        real("llama-block-aligned/modelopt-mxfp8"),
        real("llama-block-aligned/modelopt-nvfp4"),
        draft.write(tmp_path / "mixed"),
    ]
    folders = []
    for number, source in enumerate(sources):
        ckptkit.convert(source, tmp_path / str(number), to="modelopt")
        folders.append(tmp_path / str(number))
    for folder, flat in zip(folders, oracles.modelopt(folders), strict=True):
        written = json.loads((folder / "config.json").read_text(encoding="utf-8"))["quantization_config"]
        if written["quant_algo"] == "MIXED_PRECISION":  # no reader looks at its groups: layers are named one by one
            flat = {key: value for key, value in flat.items() if key != "config_groups"}
        assert written == flat


def test_mxfp8_is_read_as_the_same_numbers(oracles: Oracles, real: Real, tmp_path: Path) -> None:
    """Every release of compressed-tensors restores what codes and exponents say; vLLM chooses the same scheme for both,
    and has no kernel for it on a CPU."""
    source = real("llama-block-aligned/modelopt-mxfp8")
    ckptkit.convert(source, tmp_path / "ct", to="ct")
    checkpoint = ckptkit.open(source)
    expected = {}
    for name, module in checkpoint.opaque.items():
        weight, scale = module.parts[Part.WEIGHT], module.parts[Part.SCALE]
        codes = numbers(weight.dtype, checkpoint.container.read(weight)).reshape(weight.shape)
        exponents = numpy.frombuffer(checkpoint.container.read(scale), "u1").reshape(scale.shape).astype(int) - 127
        values = codes.astype(numpy.float32) * numpy.repeat(numpy.exp2(exponents), 32, axis=1)
        expected[name] = hashlib.sha256(values.astype(numpy.float32).tobytes()).hexdigest()
    for environment in ("quark", "llmcompressor", "vllm"):
        [found] = oracles.compressed_tensors([tmp_path / "ct"], environment=environment)
        assert found.failures == {}
        assert {name: facts.values_sha256 for name, facts in found.weights.items()} == expected
    errors = [found.error for found in oracles.vllm([source, tmp_path / "ct"], refusals=True)]
    assert all(e is not None and "a kernel that can implement the MXFP8 linear layer" in e.message for e in errors)


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


def test_transformers_computes_its_own_export_as_the_conversion_back(
    oracles: Oracles, real: Real, tmp_path: Path
) -> None:
    """What it quantized itself, through compressed-tensors and back: the same logits, bit for bit."""
    own = real("llama-block-aligned/transformers-block")
    ckptkit.convert(own, tmp_path / "ct", to="ct")
    ckptkit.convert(tmp_path / "ct", tmp_path / "back", to="fp8")
    first, back = oracles.logits([own, tmp_path / "back"], environment="llmcompressor")
    assert (back.missing_keys, back.unexpected_keys, back.mismatched_keys) == ((), (), ())
    assert first.sha256 == back.sha256


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
