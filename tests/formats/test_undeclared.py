"""Checkpoints whose quantization config was lost: every kind of real export without it, and what is no such thing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import ckptkit
from ckptkit import api
from ckptkit.checks.finding import Severity
from ckptkit.checks.fixing import find_fixes
from ckptkit.checks.registry import Level
from ckptkit.formats.reading import Readable, read
from ckptkit.storage.container import open_container
from ckptkit.storage.locate import open_files
from tests.damage import REAL, MutableCheckpoint, load
from tests.raw import MemorySource, RawTensor, checkpoint_files

EXPORTS = sorted(path.parent.relative_to(REAL).as_posix() for path in REAL.glob("*/*/config.json"))
#: Exports whose tensors leave the config open, or fit none that is written: more than one granularity, other
#: quantizations than FP8 with one scale, a scale for each head, scales of operands, one scale for a fused projection,
#: weights that are no codes, blocks of another size than 128, and scales that lost an axis.
OPEN = {
    "llama/llmcompressor-groups",
    "llama/quark-fp8-layers",
    "llama/llmcompressor-dynamic-kv-heads",
    "llama/quark-fp8-attention",
    "llama/quark-fp8-fake",
    "phi3/quark-fp8-kv",
    "qwen3_moe/transformers-block",
    "llama-block-aligned/modelopt-block",
    "llama-block-aligned/modelopt-mxfp8",
    "llama-block-aligned/modelopt-nvfp4",
}
#: Exports of which the rules find more as soon as a config says what the modules are: the fix is taken back.
REVEALED = {
    "llama-block-ragged/llmcompressor-block": "CK801",
    "llama-block-ragged/quark-block": "CK801",
    "llama/quark-fp8-kv-excluded": "CK701",
    "mixtral/llmcompressor-dynamic": "CK207",
    "mixtral/quark-ptpc-experts": "CK207",
}
#: What else is wrong with an export, whose scales are bytes that stand for exponents.
MORE = {"llama-block-aligned/modelopt-mxfp8": "CK403"}


def stripped(export: str) -> MutableCheckpoint:
    """An export without its config, whatever file had it."""
    checkpoint = load(export)
    checkpoint.config.pop("quantization_config", None)
    checkpoint.files.pop("hf_quant_config.json", None)
    checkpoint.files.pop("recipe.yaml", None)
    return checkpoint


QUANTIZED = [export for export in EXPORTS if "quantization_config" in load(export).config]


@pytest.mark.parametrize("export", QUANTIZED)
def test_a_lost_config_is_an_error(export: str, tmp_path: Path) -> None:
    source = stripped(export).write(tmp_path / "source")
    found = ckptkit.validate(source)
    (error,) = [finding for finding in found.errors if finding.code != MORE.get(export)]
    assert error.code == "CK601" and "quantization_config" in (error.help or "")
    assert "no quantization_config" in ckptkit.inspect(source).quantization
    for target in ("ct", "quark", "fp8", "modelopt"):
        with pytest.raises(ckptkit.CkptkitError, match="no quantization_config"):
            ckptkit.plan(source, to=target)


@pytest.mark.parametrize("export", QUANTIZED)
def test_the_fix_writes_what_the_tensors_say(export: str, tmp_path: Path) -> None:
    """The same modules with the same weights, and static inputs and KV caches where they were."""
    source = stripped(export).write(tmp_path / "source")
    safe = find_fixes(open_files(source), Level.SCALES)
    assert "CK601" not in {fix.code for fix in safe.applied}
    fixes = find_fixes(open_files(source), Level.SCALES, unsafe=True)
    applied, taken_back = ({fix.code for fix in found} for found in (fixes.applied, fixes.reverted))
    assert ("CK601" in applied) == (export not in OPEN and export not in REVEALED)
    assert ("CK601" in taken_back) == (export in REVEALED)
    if "CK601" not in applied:
        assert all(REVEALED[export] in item.reason for item in fixes.reverted)
        return
    before, after = api.open(REAL / export), read(fixes.workspace.reopened())
    assert isinstance(after, Readable)
    checkpoint = after.checkpoint
    assert checkpoint.modules.keys() == before.modules.keys()
    for name, module in before.modules.items():
        again = checkpoint.modules[name]
        assert again.scheme.weight.granularity == module.scheme.weight.granularity
        assert again.scheme.has_static_input == (module.input_scale is not None)
    had, has = (c.kv_cache is not None and bool(c.kv_cache.attention) for c in (before, checkpoint))
    assert had == has


def _in_bf16(checkpoint: MutableCheckpoint) -> int:
    """Every FP8 weight saved uncompressed, its scales left where they are; how many there were."""
    count = 0
    for shard in checkpoint.shards.values():
        for name, tensor in shard.items():
            if tensor.dtype == "F8_E4M3" and name.endswith("weight"):
                shard[name] = RawTensor("BF16", tensor.shape, b"\x80\x3c" * len(tensor.data))
                count += 1
    if checkpoint.index is not None:
        checkpoint.true_index()
    return count


@pytest.mark.parametrize("export", QUANTIZED)
def test_scales_beside_plain_weights_are_an_error(export: str, tmp_path: Path) -> None:
    checkpoint = stripped(export)
    if not _in_bf16(checkpoint) and "nvfp4" in export:
        pytest.skip("its weights are no FP8 codes")
    found = ckptkit.validate(checkpoint.write(tmp_path / "source"))
    assert [finding.code for finding in found.errors] == ["CK601"]
    assert "beside weights in BF16" in (found.errors[0].found or "")
    (effect,) = {effect.outcome.value for effect in found.errors[0].engines if effect.engine == "vllm"}
    assert effect == "error"
    after = find_fixes(open_files(tmp_path / "source"), Level.SCALES, unsafe=True).after
    assert [finding.code for finding in after.errors] == ["CK601"]


def _names(weight: str, scale: str, shape: tuple[int, ...], dtype: str = "BF16") -> dict[str, RawTensor]:
    width = {"BF16": 2, "I8": 1, "F32": 4}[dtype]
    rows, columns = 256, 128
    count = 1
    for extent in shape:
        count *= extent
    return {
        "model.embed_tokens.weight": RawTensor("BF16", (8, 4), bytes(64)),
        weight: RawTensor(dtype, (rows, columns), bytes(width * rows * columns)),
        scale: RawTensor("F32", shape, b"\x00\x00\x80\x3a" * count),
    }


@pytest.mark.parametrize(
    ("scale", "shape"),
    [
        ("q_proj.weight_scale", (1,)),
        ("q_proj.weight_scale", ()),
        ("q_proj.weight_scale", (256, 1)),
        ("q_proj.weight_scale_inv", (2, 1)),
        ("q_proj.scale", (2, 1)),
        ("q_proj.weight_quantizer.scale", ()),
        ("q_proj.input_scale", ()),
        ("q_proj.activation_scale", ()),
        ("q_proj.weight_zero_point", (1,)),
    ],
)
@pytest.mark.parametrize("dtype", ["BF16", "I8", "F32"])
@pytest.mark.parametrize("prefix", ["model.layers.0.self_attn", "model.layers.3.mlp.experts.11", "backbone.h.0"])
@pytest.mark.parametrize("config", [{}, {"quantization_config": None}, {"text_config": {"hidden_size": 4}}])
def test_whatever_the_names(
    scale: str, shape: tuple[int, ...], dtype: str, prefix: str, config: dict[str, object]
) -> None:
    tensors = _names(f"{prefix}.q_proj.weight", f"{prefix}.{scale}", shape, dtype)
    shards = {f"model-0000{n}-of-00002.safetensors": dict([item]) for n, item in enumerate(tensors.items(), 1)}
    outcome = read(open_container(MemorySource(checkpoint_files(shards, {"architectures": ["X"], **config}))))
    assert [(fault.kind, fault.tensor) for fault in getattr(outcome, "faults", ())] == [
        ("config-lost", f"{prefix}.{scale}")
    ]


@pytest.mark.parametrize(
    ("scale", "shape"),
    [
        ("layers.0.q_norm.scale", (256,)),
        ("layers.0.q_proj.scale", (256,)),
        ("layers.0.logit_scale", ()),
        ("layers.0.layer_scale", (256,)),
        ("layers.0.scale", (1,)),
        ("layers.0.hc_attn_scale", (3,)),
    ],
)
def test_what_models_call_scales_themselves_is_nothing(scale: str, shape: tuple[int, ...]) -> None:
    tensors = _names("layers.0.q_proj.weight", scale, shape)
    outcome = read(open_container(MemorySource(checkpoint_files({"model.safetensors": tensors}, {}))))
    assert getattr(outcome, "faults", None) == ()


@pytest.mark.parametrize("name", ["self_attn.k_scale", "self_attn.k_proj.output_scale", "self_attn.attn.v_scale"])
def test_scales_of_a_kv_cache_alone_are_a_warning(name: str, tmp_path: Path) -> None:
    tensors = _names("model.layers.0.self_attn.k_proj.weight", f"model.layers.0.{name}", ())
    for file, data in checkpoint_files({"model.safetensors": tensors}, {"architectures": ["X"]}).items():
        (tmp_path / file).write_bytes(data)
    found = [finding for finding in ckptkit.validate(tmp_path).findings if finding.code == "CK601"]
    assert [finding.severity for finding in found] == [Severity.WARNING]


def test_without_a_config_file_nothing_is_written(tmp_path: Path) -> None:
    checkpoint = stripped("llama/quark-fp8")
    source = checkpoint.write(tmp_path / "source")
    (source / "config.json").unlink()
    fixes = find_fixes(open_files(source), Level.SCALES, unsafe=True)
    assert not [fix for fix in fixes.applied if fix.code == "CK601"]
    (finding,) = [finding for finding in fixes.after.findings if finding.code == "CK601"]
    assert finding.help == "restore the config.json that the exporter wrote"


def test_inputs_without_scales_are_quantized_while_running(tmp_path: Path) -> None:
    source = stripped("llama/llmcompressor-weight-only").write(tmp_path / "source")
    fixes = find_fixes(open_files(source), Level.SCALES, unsafe=True)
    after = json.loads(fixes.workspace.text_of("config.json"))["quantization_config"]
    assert after["config_groups"]["group_0"]["input_activations"]["dynamic"] is True
