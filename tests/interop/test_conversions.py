"""What we write, judged by the libraries it is written for: the source and its conversion must mean the same.

The source is a real export, the conversion is ours, and each reader answers for both: schemes and dequantized
weights (compressed-tensors, amd-quark), logits (transformers), parameters as handed to kernels and log-probabilities
(vLLM). A refusal by a reader is an assertion too, so that it is noticed when it goes away.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import safe_open

import ckptkit
from ckptkit import api
from ckptkit.checks.fixing import find_fixes
from ckptkit.checks.registry import Level
from ckptkit.validation import write_fixes

from .compare import differences
from .oracles import Oracles

Real = Callable[[str], Path]
Converted = Callable[..., Path]

DYNAMIC = ["llama", "llama-tied", "qwen2", "qwen3", "phi3"]
#: Quark exports whose activations or KV cache were observed: their numbers are Quark's own.
OBSERVED = ["llama/quark-fp8", "llama/quark-fp8-kv", "llama/quark-fp8-layers", "llama/quark-fp8-kv-post-rope"]
TO_QUARK = [
    "llama/llmcompressor-dynamic",
    "llama/llmcompressor-dynamic-kv",
    "llama/llmcompressor-fp8",
    "llama/llmcompressor-fp8-kv",
    "llama/llmcompressor-groups",
    "llama-tied/llmcompressor-dynamic",
    "qwen2/llmcompressor-dynamic",
    "qwen3/llmcompressor-dynamic",
    "phi3/llmcompressor-dynamic",
    "llama-block-aligned/llmcompressor-block",
]
TO_CT = [
    *(f"{architecture}/quark-ptpc" for architecture in DYNAMIC),
    *OBSERVED,
    "llama/quark-ptpc-kv",
    "llama/quark-ptpc-excluded",
    "llama/quark-ptpc-sharded",
    "llama/quark-ptpc-file2file",
    "llama/quark-fp8-kv-custom",
    "phi3/quark-fp8-kv",
    "mixtral/quark-ptpc",
    "qwen3_moe/quark-ptpc",
    "llama-block-aligned/quark-block",
]
#: Stored with F32 scales: Quark restores the weights in BF16, compressed-tensors in F32. vLLM judges their numbers.
WIDE_SCALES = ["llama/quark-ptpc-file2file", "llama-block-aligned/quark-block"]
TO_CUSTOM = ["llama/llmcompressor-fp8", "llama/llmcompressor-fp8-kv"]


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory, real: Real) -> Converted:
    """``converted("llama/quark-ptpc", "ct")``: the folder of a conversion, made once."""
    root = tmp_path_factory.mktemp("converted")

    def folder(name: str, to: str, mode: str | None = None) -> Path:
        target = root / f"{name.replace('/', '--')}--{to}{mode or ''}"
        if not target.exists():
            ckptkit.convert(real(name), target, to=to, mode=mode)
        return target

    return folder


@pytest.mark.parametrize("name", TO_CT)
def test_the_official_library_reads_every_file(converted: Converted, name: str) -> None:
    for path in converted(name, "ct").glob("*.safetensors"):
        with safe_open(path, framework="numpy") as file:
            assert file.metadata()["format"] == "pt"
            assert len(file.keys()) > 0


@pytest.mark.parametrize("name", TO_CT)
def test_compressed_tensors_restores_what_quark_restores(
    oracles: Oracles, real: Real, converted: Converted, name: str
) -> None:
    """The same modules, and every dequantized weight equal, each side read by its own library."""
    [ours] = oracles.compressed_tensors([converted(name, "ct")])
    assert (ours.failures, ours.modules_not_in_model) == ({}, ())
    [theirs] = oracles.quark([real(name)], refusals=True)
    if theirs.error is None:
        assert theirs.weights.keys() == ours.weights.keys()
        if name not in WIDE_SCALES:
            assert differences(theirs.weights, ours.weights, values_only=True) == []
    else:
        assert "qwen3_moe" in name or "mixtral" in name, theirs.error
    source = ckptkit.open(real(name))
    attention = source.attention_modules if source.kv_cache else ()
    assert set(ours.schemes) == {*source.modules, *attention}
    assert set(ours.weights) == set(source.modules)


@pytest.mark.parametrize("architecture", DYNAMIC)
def test_the_reference_reader_sees_llm_compressors_own_export(
    oracles: Oracles, real: Real, converted: Converted, architecture: str
) -> None:
    ours, theirs = oracles.compressed_tensors(
        [converted(f"{architecture}/quark-ptpc", "ct"), real(f"{architecture}/llmcompressor-dynamic")]
    )
    assert ours.schemes == theirs.schemes
    assert differences(ours.weights, theirs.weights) == []


@pytest.mark.parametrize("environment", ["llmcompressor", "vllm"])
def test_older_reference_readers_take_the_config(oracles: Oracles, converted: Converted, environment: str) -> None:
    for reading in oracles.compressed_tensors(
        [converted("llama/quark-ptpc-kv", "ct"), converted("llama/quark-fp8-kv", "ct")], environment=environment
    ):
        assert reading.failures == {}
        assert len(reading.weights) == 14


@pytest.mark.parametrize("name", TO_QUARK)
def test_quark_reloads_what_we_write(oracles: Oracles, real: Real, converted: Converted, name: str) -> None:
    [ours] = oracles.quark([converted(name, "quark")])
    [theirs] = oracles.compressed_tensors([real(name)])
    assert (ours.unused_tensors, ours.failures) == ((), {})
    assert differences(ours.weights, theirs.weights, values_only=True) == []


@pytest.mark.parametrize("name", TO_CUSTOM)
def test_quark_reloads_its_fp8_mode(oracles: Oracles, converted: Converted, name: str) -> None:
    native, custom = oracles.quark([converted(name, "quark"), converted(name, "quark", "fp8")])
    assert custom.unused_tensors == ()
    assert differences(native.weights, custom.weights) == []


@pytest.mark.parametrize("name", ["qwen2_5_vl/llmcompressor-dynamic", "qwen2_5_vl/llmcompressor-fp8-kv"])
def test_transformers_leaves_the_tower_of_a_multimodal_model_alone(
    oracles: Oracles, real: Real, converted: Converted, tmp_path: Path, name: str
) -> None:
    """It matches skip lists with names in memory. llm-compressor writes the stored ones, which quantizes the tower."""
    ckptkit.convert(converted(name, "quark"), tmp_path / "back", to="ct")
    fixed = find_fixes(api.open_files(real(name)), Level.SCALES)
    write_fixes(fixed, real(name), tmp_path / "fixed")
    theirs, *ours = oracles.logits([real(name), tmp_path / "back", tmp_path / "fixed"])
    assert theirs.missing_keys and all(key.startswith("model.visual.") for key in theirs.missing_keys)
    for reading in ours:
        assert (reading.missing_keys, reading.unexpected_keys, reading.mismatched_keys) == ((), (), ())
        assert reading.sha256 == theirs.sha256, "a text prompt does not see the tower"


def test_a_tower_that_quark_left_alone_stays_so(oracles: Oracles, real: Real, converted: Converted) -> None:
    quark, ours = oracles.logits([real("gemma3/quark-fp8-kv"), converted("gemma3/quark-fp8-kv", "ct")])
    assert (ours.missing_keys, ours.unexpected_keys) == ((), ())
    plain = {name for name, kind in ours.linear_classes.items() if "vision_tower" in name}
    assert plain and {ours.linear_classes[name] for name in plain} == {quark.linear_classes[name] for name in plain}


@pytest.mark.parametrize("architecture", DYNAMIC)
def test_transformers_gives_equal_logits(oracles: Oracles, real: Real, converted: Converted, architecture: str) -> None:
    quark, compressed = f"{architecture}/quark-ptpc", f"{architecture}/llmcompressor-dynamic"
    readings = oracles.logits([real(quark), converted(quark, "ct"), converted(compressed, "quark"), real(compressed)])
    assert len({reading.sha256 for reading in readings}) == 1
    for reading in readings:
        assert (reading.missing_keys, reading.unexpected_keys, reading.mismatched_keys) == ((), (), ())


def test_transformers_gives_equal_logits_for_static_activations(
    oracles: Oracles, real: Real, converted: Converted
) -> None:
    for name, to in (("llama/quark-fp8", "ct"), ("llama/llmcompressor-fp8", "quark"), ("llama/quark-fp8-layers", "ct")):
        source, target = oracles.logits([real(name), converted(name, to)])
        assert source.sha256 == target.sha256, name


VLLM = [
    *((f"{architecture}/quark-ptpc", "ct", None) for architecture in DYNAMIC),
    *((f"{architecture}/llmcompressor-dynamic", "quark", None) for architecture in DYNAMIC),
    ("llama/quark-ptpc-file2file", "ct", None),
    ("llama/quark-fp8", "ct", None),
    ("llama/llmcompressor-fp8", "quark", None),
    ("llama/llmcompressor-fp8", "quark", "fp8"),
    ("llama/quark-fp8-layers", "ct", None),
    ("llama/llmcompressor-groups", "quark", None),
    ("llama-block-aligned/quark-block", "ct", None),
    ("llama-block-aligned/llmcompressor-block", "quark", None),
]


@pytest.mark.parametrize(("name", "to", "mode"), VLLM)
def test_vllm_hands_equal_parameters_to_its_kernels(
    oracles: Oracles, real: Real, converted: Converted, name: str, to: str, mode: str | None
) -> None:
    source, target = oracles.vllm([real(name), converted(name, to, mode)])
    assert differences(source.processed, target.processed, values_only=True) == []
    assert (source.unset, target.unset) == ((), ())


@pytest.mark.parametrize(
    ("name", "to"),
    [("llama/quark-ptpc", "ct"), ("llama/llmcompressor-dynamic", "quark"), ("qwen2/quark-ptpc", "ct")],
)
def test_vllm_gives_equal_log_probabilities(
    oracles: Oracles, real: Real, converted: Converted, name: str, to: str
) -> None:
    source, target = oracles.vllm([real(name), converted(name, to)], generate=True)
    assert source.generation is not None
    assert source.generation == target.generation


@pytest.mark.parametrize(
    ("name", "to", "mode"),
    [
        ("llama/quark-fp8-kv", "ct", None),
        ("llama/quark-ptpc-kv", "ct", None),
        ("llama/quark-fp8-kv-post-rope", "ct", None),
        ("llama/quark-fp8-kv-custom", "ct", None),
        ("llama/llmcompressor-fp8-kv", "quark", None),
        ("llama/llmcompressor-fp8-kv", "quark", "fp8"),
        ("llama/llmcompressor-dynamic-kv", "quark", None),
    ],
)
def test_kv_scales_reach_vllm_attention(
    oracles: Oracles, real: Real, converted: Converted, name: str, to: str, mode: str | None
) -> None:
    """With the FP8 cache on, both sides scale keys and values alike, k and v each with its own number."""
    source, target = oracles.vllm([real(name), converted(name, to, mode)], kv_cache_dtype="fp8")
    assert {layer: (scales.k, scales.v) for layer, scales in source.attention.items()} == {
        layer: (scales.k, scales.v) for layer, scales in target.attention.items()
    }
    assert all(scales.k != (1.0,) for scales in target.attention.values())


def test_the_fp8_cache_turns_itself_on_for_compressed_tensors_only(
    oracles: Oracles, real: Real, converted: Converted
) -> None:
    """What the plan's notes say of vLLM."""
    source, target = oracles.vllm([real("llama/quark-fp8-kv"), converted("llama/quark-fp8-kv", "ct")])
    assert {scales.kv_cache_dtype for scales in source.attention.values()} == {"auto"}
    assert {scales.kv_cache_dtype for scales in target.attention.values()} == {"fp8"}


def test_a_conversion_can_fix_what_vllm_refuses(oracles: Oracles, real: Real, converted: Converted) -> None:
    """Quark's export of fused qkv with a KV cache stops vLLM; as compressed-tensors it loads, scales and all."""
    source, target = oracles.vllm(
        [real("phi3/quark-fp8-kv"), converted("phi3/quark-fp8-kv", "ct")], kv_cache_dtype="fp8", refusals=True
    )
    assert source.error is not None
    assert target.error is None, target.error
    assert target.unset == ()
    assert all(scales.k != (1.0,) for scales in target.attention.values())


def test_unquantized_experts_stay_unquantized_in_vllm(oracles: Oracles, converted: Converted) -> None:
    """Quark leaves fused experts and the router in high precision and does not say so; our config does."""
    [reading] = oracles.vllm([converted("qwen3_moe/quark-ptpc", "ct")], refusals=True)
    assert reading.error is None, reading.error
    assert reading.unset == ()
    kept = (".experts.", ".gate.")
    experts = {name: facts.dtype for name, facts in reading.processed.items() if any(part in name for part in kept)}
    assert experts and set(experts.values()) == {"bfloat16"}
