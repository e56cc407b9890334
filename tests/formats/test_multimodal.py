"""Multimodal models: modules with one name in the files and another in memory, and towers without a KV cache."""

from __future__ import annotations

import json
import shutil
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

import ckptkit
from ckptkit.formats import registry
from ckptkit.formats.base import WriteOptions
from ckptkit.model import names

REAL = Path(__file__).resolve().parents[2] / "fixtures" / "real"
QWEN = REAL / "qwen2_5_vl" / "llmcompressor-dynamic"
QWEN_KV = REAL / "qwen2_5_vl" / "llmcompressor-fp8-kv"
GEMMA = REAL / "gemma3" / "quark-fp8-kv"


def rewritten(source: Path, target: Path, ignore: list[str]) -> Path:
    """A copy with another skip list."""
    shutil.copytree(source, target)
    config = json.loads((target / "config.json").read_text(encoding="utf-8"))
    config["quantization_config"]["ignore"] = ignore
    (target / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return target


def skip_list(folder: Path) -> set[str]:
    block = json.loads((folder / "config.json").read_text(encoding="utf-8"))["quantization_config"]
    return set(block.get("ignore") or block["exclude"])


@pytest.mark.parametrize("prefix", ["", "model."])
def test_a_skip_list_may_hold_either_name(tmp_path: Path, prefix: str) -> None:
    stored = [entry for entry in skip_list(QWEN) if entry.startswith("visual.")]
    copy = rewritten(QWEN, tmp_path / "copy", ["lm_head", *(prefix + entry for entry in stored)])
    checkpoint = ckptkit.open(copy)
    assert checkpoint.declared_only == ()
    assert set(checkpoint.unquantized) == {"lm_head", *stored}


def test_targets_may_be_names_in_memory(tmp_path: Path) -> None:
    copy = rewritten(QWEN, tmp_path / "copy", ["lm_head", "re:.*visual.*"])
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    config["quantization_config"]["config_groups"]["group_0"]["targets"] = [r"re:model\.language_model\..*proj$"]
    (copy / "config.json").write_text(json.dumps(config), encoding="utf-8")
    checkpoint = ckptkit.open(copy)
    assert len(checkpoint.modules) == 14 and checkpoint.stored_only == ()


@pytest.mark.parametrize("source", [QWEN, QWEN_KV])
def test_conversions_write_both_names(tmp_path: Path, source: Path) -> None:
    ckptkit.convert(source, tmp_path / "quark", to="quark")
    ckptkit.convert(tmp_path / "quark", tmp_path / "back", to="ct")
    tower = {name for name in ckptkit.open(source).unquantized if name.startswith("visual.")}
    tower |= {name.replace("up_proj", "gate_up_proj") for name in tower if name.endswith(".up_proj")}
    for folder in (tmp_path / "quark", tmp_path / "back"):
        assert skip_list(folder) == {"lm_head", *tower, *(f"model.{name}" for name in tower)}
    assert ckptkit.diff(source, tmp_path / "back").same


@pytest.mark.parametrize("source", [QWEN_KV, GEMMA])
def test_only_the_language_model_has_a_cache(tmp_path: Path, source: Path) -> None:
    checkpoint = ckptkit.open(source)
    assert checkpoint.kv_cache is not None and len(checkpoint.kv_cache.attention) == 2
    assert all(attention.k and attention.v for attention in checkpoint.kv_cache.attention)
    to = "quark" if checkpoint.format == "compressed-tensors" else "ct"
    ckptkit.convert(source, tmp_path / "out", to=to)
    block = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))["quantization_config"]
    if to == "quark":
        assert block["export"]["kv_cache_group"] == ["*k_proj", "*v_proj"]


def test_a_model_of_one_tower_has_one_name_for_each_module() -> None:
    modules = [f"model.layers.{layer}.mlp.up_proj" for layer in range(3)]
    config = {"architectures": ["Qwen2_5_VLForConditionalGeneration"]}
    assert names.in_memory([*modules, "lm_head"], config) == {}
    assert names.in_memory(["model.visual.blocks.0.qkv", "model.language_model.layers.0.mlp.up_proj"], config) == {}


@pytest.mark.parametrize(
    ("architecture", "more", "stored", "other"),
    [
        ("LlavaForConditionalGeneration", {}, "language_model.lm_head", "lm_head"),
        ("LlavaForConditionalGeneration", {}, "language_model.model.layers.0.q", "model.language_model.layers.0.q"),
        ("LlavaForConditionalGeneration", {}, "vision_tower.layers.0.q", "model.vision_tower.layers.0.q"),
        ("Idefics2ForConditionalGeneration", {}, "model.text_model.layers.0.q", None),
        ("Llama4ForConditionalGeneration", {}, "vision_model.layers.0.q", None),
        ("InternVLChatModel", {"auto_map": {}}, "vision_model.layers.0.q", None),
        ("KimiVLForConditionalGeneration", {"auto_map": {}}, "vision_tower.layers.0.q", None),
    ],
)
def test_names_in_memory(architecture: str, more: dict[str, object], stored: str, other: str | None) -> None:
    modules = [stored, "vision_tower.layers.9.k"]
    assert names.in_memory(modules, {"architectures": [architecture], **more}).get(stored) == other


def test_a_stored_fp8_weight_that_is_excluded_stays_an_error(tmp_path: Path) -> None:
    tower = [f"model.{entry}" for entry in skip_list(QWEN) if entry.startswith("visual.")]
    copy = rewritten(QWEN, tmp_path / "copy", ["lm_head", "model.layers.0.mlp.down_proj", *tower])
    errors = {finding.code for finding in ckptkit.validate(copy).errors}
    assert "CK606" in errors
    with pytest.raises(ckptkit.ConversionRefused):
        ckptkit.plan(copy, to="quark")


def test_a_config_about_the_kv_cache_alone(tmp_path: Path) -> None:
    copy = Path(shutil.copytree(REAL / "llama" / "bf16", tmp_path / "copy"))
    scheme = {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "tensor", "dynamic": False}
    block = {"quant_method": "compressed-tensors", "quantization_status": "compressed", "config_groups": {}}
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    config["quantization_config"] = {**block, "format": "dense", "kv_cache_scheme": scheme}
    (copy / "config.json").write_text(json.dumps(config), encoding="utf-8")
    codes = {finding.code for finding in ckptkit.validate(copy).findings}
    assert not codes & {"CK602", "CK605", "CK618"}
    with pytest.raises(ckptkit.ConversionRefused, match="KV cache alone"):
        ckptkit.plan(copy, to="quark")


@pytest.mark.parametrize(
    ("module", "tower"),
    [
        ("vpm.encoder.layers.0.self_attn.k_proj", "vpm"),
        ("visual_tokenizer.backbone.encoder.layers.0.fc1", "visual_tokenizer"),
        ("model.video_tower.encoder.layers.0.fc1", "video_tower"),
        ("encoder.layers.0.fc1", "encoder"),
        ("transformer.encoder.layers.0.mlp.up_proj", None),
        ("model.layers.0.self_attn.k_proj", None),
    ],
)
def test_towers_are_known_by_their_names(module: str, tower: str | None) -> None:
    assert names.other_tower(module) == tower


def test_outputs_of_a_tower_are_not_those_of_the_kv_cache() -> None:
    """Quark makes up a scale for each output that a pattern matches; the tower's keys enter no cache."""
    checkpoint = ckptkit.open(GEMMA)
    towers = [name for name in checkpoint.linear_modules if name.endswith("k_proj") and "vision_tower" in name]
    assert towers
    draft = registry.by_name("quark").write(checkpoint, WriteOptions())
    assert draft.quantization_config is not None
    for key in ("layer_quant_config", "kv_cache_quant_config"):
        patterns = list(draft.quantization_config[key])
        assert patterns == ["*language_model.*k_proj", "*language_model.*v_proj"] == list(checkpoint.raw[key])
        assert not any(fnmatchcase(name, pattern) for name in towers for pattern in patterns)
