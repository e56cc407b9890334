"""What the real libraries make of the real exports: the facts that conversions between them rest on.

Nothing here runs our code. Where one exporter's file and another's hold the same numbers, every library must say
so; where they cannot (KV scales and static activation scales are observed differently), the difference is stated.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from .compare import differences
from .oracles import Oracles

Real = Callable[[str], Path]

#: Both exporters quantized the same base with the same scheme, and neither observed activations.
SAME_NUMBERS = [
    ("llama/quark-ptpc", "llama/llmcompressor-dynamic"),
    ("llama-tied/quark-ptpc", "llama-tied/llmcompressor-dynamic"),
    ("qwen2/quark-ptpc", "qwen2/llmcompressor-dynamic"),
    ("qwen3/quark-ptpc", "qwen3/llmcompressor-dynamic"),
    ("phi3/quark-ptpc", "phi3/llmcompressor-dynamic"),
]
BLOCKS = ("llama-block-aligned/quark-block", "llama-block-aligned/llmcompressor-block")
STATIC = ("llama/quark-fp8", "llama/llmcompressor-fp8")


@pytest.mark.parametrize(("quark", "compressed"), SAME_NUMBERS)
def test_transformers_gives_equal_logits(oracles: Oracles, real: Real, quark: str, compressed: str) -> None:
    left, right = oracles.logits([real(quark), real(compressed)])
    assert left.sha256 == right.sha256
    for reading in (left, right):
        assert (reading.missing_keys, reading.unexpected_keys, reading.mismatched_keys) == ((), (), ())


@pytest.mark.parametrize(("quark", "compressed"), [*SAME_NUMBERS, BLOCKS])
def test_vllm_hands_equal_parameters_to_its_kernels(oracles: Oracles, real: Real, quark: str, compressed: str) -> None:
    left, right = oracles.vllm([real(quark), real(compressed)])
    assert differences(left.processed, right.processed) == []
    assert left.attention == right.attention
    assert (left.unset, right.unset) == ((), ())


def test_vllm_loads_equal_experts(oracles: Oracles, real: Real) -> None:
    """Compared as loaded: without AMX vLLM has no CPU kernel for FP8 experts, so processing them fails."""
    names = ("qwen3_moe/quark-ptpc-experts", "qwen3_moe/llmcompressor-dynamic")
    left, right = oracles.vllm([real(name) for name in names], refusals=True)
    assert any(name.endswith("w13_weight_scale") for name in left.loaded)
    assert differences(left.loaded, right.loaded) == []


def test_static_exports_differ_in_observed_input_scales_only(oracles: Oracles, real: Real) -> None:
    left, right = oracles.vllm([real(name) for name in STATIC])
    lines = differences(left.processed, right.processed)
    assert lines and all(".input_scale: " in line for line in lines)


@pytest.mark.parametrize(("quark", "compressed"), [SAME_NUMBERS[0], BLOCKS])
def test_vllm_gives_equal_log_probabilities(oracles: Oracles, real: Real, quark: str, compressed: str) -> None:
    left, right = oracles.vllm([real(quark), real(compressed)], generate=True)
    assert left.generation == right.generation


@pytest.mark.parametrize(("quark", "compressed"), [*SAME_NUMBERS, STATIC, BLOCKS])
def test_dequantized_weights_are_equal(oracles: Oracles, real: Real, quark: str, compressed: str) -> None:
    """Static checkpoints too: their weight scales do not depend on the calibration."""
    [left] = oracles.quark([real(quark)])
    [right] = oracles.compressed_tensors([real(compressed)])
    assert differences(left.weights, right.weights) == []
    assert (left.unused_tensors, left.failures, right.failures) == ((), {}, {})


@pytest.mark.parametrize("export", ["llama/quark-ptpc", "llama/llmcompressor-dynamic"])
def test_one_changed_scale_is_noticed_by_everyone(oracles: Oracles, real: Real, tmp_path: Path, export: str) -> None:
    """The control of every equality above."""
    source = real(export)
    changed = Path(shutil.copytree(source, tmp_path / "changed"))
    change_last_byte(changed / "model.safetensors", "model.layers.1.mlp.down_proj.weight_scale")

    before, after = oracles.logits([source, changed])
    assert before.sha256 != after.sha256
    loaded, reloaded = oracles.vllm([source, changed], generate=True)
    [line] = differences(loaded.processed, reloaded.processed)
    assert line.startswith("model.layers.1.mlp.down_proj.weight_scale: ")
    assert loaded.generation != reloaded.generation
    dequantized = oracles.quark if "quark" in export else oracles.compressed_tensors
    [line] = differences(*(reading.weights for reading in dequantized([source, changed])))
    assert line.startswith("model.layers.1.mlp.down_proj: ")


def change_last_byte(path: Path, name: str) -> None:
    """Halve or double the last element of a bf16 tensor, by its lowest exponent bit."""
    data = bytearray(path.read_bytes())
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    end = 8 + length + header[name]["data_offsets"][1]
    data[end - 2] ^= 0x80
    path.write_bytes(data)


def test_the_reference_reader_quantizes_what_the_config_says(oracles: Oracles, real: Real) -> None:
    [reading] = oracles.compressed_tensors([real("llama/llmcompressor-dynamic")])
    assert "lm_head" not in reading.schemes
    assert reading.schemes["model.layers.0.self_attn.q_proj"] == {
        "weights": {
            "num_bits": 8,
            "type": "float",
            "symmetric": True,
            "strategy": "channel",
            "dynamic": False,
        },
        "input_activations": {
            "num_bits": 8,
            "type": "float",
            "symmetric": True,
            "strategy": "token",
            "dynamic": True,
        },
    }


def runs_fp8_cache() -> bool:
    """Whether vLLM answers with an FP8 KV cache on this CPU; it loads on any."""
    try:
        words = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return True
    return any(word.startswith(("avx512f", "amx")) for word in words)


@pytest.mark.parametrize("kv", ["", "-kv"])
def test_the_two_quark_dialects_hold_the_same_numbers(oracles: Oracles, real: Real, kv: str) -> None:
    folders = [real(f"llama/quark-fp8{kv}"), real(f"llama/quark-fp8{kv}-custom")]
    native, custom = oracles.quark(folders)
    assert native.logits_sha256 == custom.logits_sha256
    assert differences(native.scales, custom.scales) == []
    answers = runs_fp8_cache()
    native_in_vllm, custom_in_vllm = oracles.vllm(folders, kv_cache_dtype="fp8", generate=answers)
    assert differences(native_in_vllm.processed, custom_in_vllm.processed) == []
    assert native_in_vllm.attention == custom_in_vllm.attention
    if not answers:
        pytest.skip("the answers were not compared: vLLM runs an FP8 cache on CPUs with AVX-512 or AMX only")
    assert native_in_vllm.generation == custom_in_vllm.generation


def test_sharding_changes_nothing(oracles: Oracles, real: Real) -> None:
    for tool in ("quark-ptpc", "llmcompressor-dynamic"):
        folders = [real(f"llama/{tool}"), real(f"llama/{tool}-sharded")]
        whole, sharded = oracles.logits(folders)
        assert whole.sha256 == sharded.sha256
        whole_in_vllm, sharded_in_vllm = oracles.vllm(folders)
        assert differences(whole_in_vllm.processed, sharded_in_vllm.processed) == []


def test_kv_scales_reach_vllm_attention(oracles: Oracles, real: Real) -> None:
    """compressed-tensors turns the FP8 cache on by itself; for Quark the user must, or its scales are ignored."""
    quark, compressed = real("llama/quark-fp8-kv"), real("llama/llmcompressor-fp8-kv")
    layer = "model.layers.0.self_attn.attn"

    idle, used = (reading.attention[layer] for reading in oracles.vllm([quark, compressed]))
    assert (idle.kv_cache_dtype, idle.k, idle.v) == ("auto", (1.0,), (1.0,))
    assert used.kv_cache_dtype == "fp8"

    [reading] = oracles.vllm([quark], kv_cache_dtype="fp8")
    [importer] = oracles.quark([quark])
    assert reading.attention[layer].k == (importer.scales["model.layers.0.self_attn.k_proj.output"].value,)
    assert reading.attention[layer].v == (importer.scales["model.layers.0.self_attn.v_proj.output"].value,)

    [reference] = oracles.compressed_tensors([compressed])
    assert used.k == (reference.kv_scales["model.layers.0.self_attn.k_scale"].value,)
    assert used.v == (reference.kv_scales["model.layers.0.self_attn.v_scale"].value,)


def test_scales_missing_from_a_checkpoint_stay_unset_in_vllm(oracles: Oracles, real: Real) -> None:
    """Quark's file-to-file fp8 declares static inputs and writes no input scale: vLLM loads it without a word."""
    [reading] = oracles.vllm([real("llama/quark-fp8-file2file")])
    assert reading.unset and all(name.endswith(".input_scale") for name in reading.unset)
    [importer] = oracles.quark([real("llama/quark-fp8-file2file")], refusals=True)
    assert importer.error is not None and "misses the keys" in importer.error.message


REFUSALS = [
    ("llama-block-ragged/llmcompressor-block", "create", "not divisible by weight quantization block_n"),
    ("llama-block-ragged/quark-block", "create", "not divisible by weight quantization block_n"),
    ("llama/quark-fp8-kv-excluded", "config", "kv_cache_group"),
    ("phi3/quark-fp8-kv", "load", "'QKVParallelLinear' object has no attribute 'data'"),
    ("mixtral/quark-ptpc", "load", "There is no module or parameter named 'layers.0.mlp'"),
]


@pytest.mark.parametrize(("name", "stage", "message"), REFUSALS)
def test_exports_that_vllm_cannot_load(oracles: Oracles, real: Real, name: str, stage: str, message: str) -> None:
    [reading] = oracles.vllm([real(name)], refusals=True)
    assert reading.error is not None
    assert reading.error.stage == stage and message in reading.error.message
