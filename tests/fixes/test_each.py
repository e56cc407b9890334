"""Every fix: a real fixture is damaged, the rule fires, the fix clears it, and the weights are what they were."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ckptkit import api
from ckptkit.checks import registry
from ckptkit.checks.fixing import find_fixes
from ckptkit.checks.registry import Level, all_fixers
from ckptkit.storage.container import CONFIG_FILE
from ckptkit.validation import write_fixes
from tests.damage import MutableCheckpoint, load, plain_fp8, tensors_of
from tests.raw import RawTensor

CT, CT_KV = "llama/llmcompressor-dynamic", "llama/llmcompressor-fp8-kv"
QUARK, QUARK_KV, CUSTOM_KV = "llama/quark-ptpc", "llama/quark-fp8-kv", "llama/quark-fp8-kv-custom"
SHARDED = "llama/quark-ptpc-sharded"
HEADS = "llama/llmcompressor-dynamic-kv-heads"
MOE = "qwen3_moe/llmcompressor-dynamic"
BLOCK = "llama-block-aligned/llmcompressor-block"
BF16_ONE = bytes.fromhex("803f")
LAYER = r"model\.layers\.\d+"


@dataclass(frozen=True)
class Case:
    """One damage. ``restores`` says that the result must hold the same tensors as the undamaged fixture."""

    code: str
    name: str
    fixture: str
    damage: Callable[[MutableCheckpoint], None]
    restores: bool = True
    config: bool = True
    unsafe: bool = False


def _set(*path: str, to: Any) -> Callable[[MutableCheckpoint], None]:
    def damage(checkpoint: MutableCheckpoint) -> None:
        target: Any = checkpoint.config
        for part in path[:-1]:
            target = target[part]
        target[path[-1]] = to

    return damage


def _in_block(change: Callable[[dict[str, Any]], Any]) -> Callable[[MutableCheckpoint], None]:
    return lambda checkpoint: change(checkpoint.block) and None


def _rope_by_type(checkpoint: MutableCheckpoint) -> None:
    flat = checkpoint.config["rope_parameters"]
    checkpoint.config["layer_types"] = ["full_attention"] * checkpoint.config["num_hidden_layers"]
    checkpoint.config["rope_parameters"] = {"full_attention": flat, **flat}


def _wrong_place(checkpoint: MutableCheckpoint) -> None:
    assert checkpoint.index is not None
    first, *_ = checkpoint.index["weight_map"]
    shards = list(checkpoint.shards)
    now = checkpoint.index["weight_map"][first]
    checkpoint.index["weight_map"][first] = next(shard for shard in shards if shard != now)


def _unlisted(checkpoint: MutableCheckpoint) -> None:
    assert checkpoint.index is not None
    del checkpoint.index["weight_map"]["model.norm.weight"]


def _no_index(checkpoint: MutableCheckpoint) -> None:
    checkpoint.index = None


def _total_size(checkpoint: MutableCheckpoint) -> None:
    assert checkpoint.index is not None
    checkpoint.index["metadata"]["total_size"] = 1


def _no_metadata(checkpoint: MutableCheckpoint) -> None:
    checkpoint.metadata = None


def _twice(checkpoint: MutableCheckpoint) -> None:
    first, *_, last = checkpoint.shards.values()
    name = next(iter(first))
    last[name] = first[name]


def _apart(checkpoint: MutableCheckpoint) -> None:
    first, *_, last = checkpoint.shards.values()
    name = next(name for name in first if name.endswith(".weight_scale"))
    last[name] = first.pop(name)
    checkpoint.true_index()


def _orphan(checkpoint: MutableCheckpoint) -> None:
    checkpoint.put("lm_head.weight_scale", "BF16", (1,), BF16_ONE)


def _input_scale(checkpoint: MutableCheckpoint) -> None:
    checkpoint.put("model.layers.0.mlp.up_proj.input_scale", "BF16", (1,), BF16_ONE)


def _ignored(checkpoint: MutableCheckpoint) -> None:
    checkpoint.block["ignore"] += ["model.layers.0.mlp.up_proj", "model.layers.0.mlp.gate_proj"]


def _legacy_key(checkpoint: MutableCheckpoint) -> None:
    checkpoint.config["compression_config"] = checkpoint.config.pop("quantization_config")


def _no_block_size(checkpoint: MutableCheckpoint) -> None:
    plain_fp8(checkpoint)
    del checkpoint.block["weight_block_size"]


def _no_type(checkpoint: MutableCheckpoint) -> None:
    for group in checkpoint.block["config_groups"].values():
        del group["weights"]["type"]
        del group["input_activations"]["type"]


def _preset(checkpoint: MutableCheckpoint) -> None:
    checkpoint.block["config_groups"] = {"FP8_DYNAMIC": ["Linear"]}


def _no_format(checkpoint: MutableCheckpoint) -> None:
    del checkpoint.block["format"]
    for group in checkpoint.block["config_groups"].values():
        del group["format"]


def _old_spelling(checkpoint: MutableCheckpoint) -> None:
    for role in ("weight", "input_tensors"):
        spec = checkpoint.block["global_quant_config"][role]
        spec["dynamic"] = spec.pop("is_dynamic")


def _no_kv_scales(checkpoint: MutableCheckpoint) -> None:
    checkpoint.drop(r".*(k_scale|v_scale|output_scale)")


def _no_kv_scheme(checkpoint: MutableCheckpoint) -> None:
    checkpoint.block["kv_cache_scheme"] = None


def _no_quark_kv_scheme(checkpoint: MutableCheckpoint) -> None:
    checkpoint.block["export"]["kv_cache_group"] = []
    checkpoint.block["kv_cache_quant_config"] = {}
    checkpoint.block["layer_quant_config"] = {}


def _no_kv_entries(checkpoint: MutableCheckpoint) -> None:
    checkpoint.block["layer_quant_config"] = {}


def _early_kv_names(checkpoint: MutableCheckpoint) -> None:
    for role in ("k", "v"):
        checkpoint.rename(rf"({LAYER}\.self_attn)\.{role}_scale", rf"\1.{role}_proj.output_scale")


def _two_lists(checkpoint: MutableCheckpoint) -> None:
    checkpoint.block["modules_to_not_convert"] = []


def _unnamed_group(checkpoint: MutableCheckpoint) -> None:
    checkpoint.block["config_groups"] = {"everything": checkpoint.block["config_groups"]["group_0"]}


def _nested(checkpoint: MutableCheckpoint) -> None:
    checkpoint.config["text_config"] = {"quantization_config": checkpoint.config.pop("quantization_config")}


def _no_dtype(checkpoint: MutableCheckpoint) -> None:
    checkpoint.config.pop("dtype", None)
    checkpoint.config.pop("torch_dtype", None)


def _qkv_in_high_precision(checkpoint: MutableCheckpoint) -> None:
    """q, k and v of layer 0 in BF16, excluded under the fused name."""
    for shard, name in checkpoint.places(r"model\.layers\.0\.self_attn\.[qkv]_proj\.weight"):
        rows, columns = shard[name].shape
        shard[name] = RawTensor("BF16", (rows, columns), BF16_ONE * rows * columns)
    checkpoint.drop(r"model\.layers\.0\.self_attn\.[qkv]_proj\.weight_scale")


def _fused_name(checkpoint: MutableCheckpoint) -> None:
    _qkv_in_high_precision(checkpoint)
    checkpoint.block["exclude"].append("model.layers.0.self_attn.qkv_proj")


def _glob(checkpoint: MutableCheckpoint) -> None:
    _qkv_in_high_precision(checkpoint)
    checkpoint.block["exclude"].append("model.layers.0.self_attn.[qkv]_proj")


def _prediction_layer(checkpoint: MutableCheckpoint) -> None:
    checkpoint.config["num_nextn_predict_layers"] = 1
    checkpoint.put("model.layers.2.eh_proj.weight", "BF16", (2, 2), BF16_ONE * 4)


def _four_dimensions(tensor: RawTensor) -> RawTensor:
    rows, columns = tensor.shape
    return tensor._replace(shape=(rows, 1, columns, 1))


def _uneven_inputs(checkpoint: MutableCheckpoint) -> None:
    for shard, name in checkpoint.places(r".*k_proj\.input_scale"):
        shard[name] = shard[name]._replace(data=BF16_ONE)


def _lost_config(checkpoint: MutableCheckpoint) -> None:
    del checkpoint.config["quantization_config"]


def _latent(checkpoint: MutableCheckpoint) -> None:
    checkpoint.config["kv_lora_rank"] = 16


def _uncalibrated_expert(checkpoint: MutableCheckpoint) -> None:
    """Static inputs for experts, of which one was never reached."""
    for group in checkpoint.block["config_groups"].values():
        group["input_activations"].update(strategy="tensor", dynamic=False)
    for _, name in list(checkpoint.places(r".*\.weight_scale")):
        data = BF16_ONE if ".experts.1." in name else bytes.fromhex("003d")
        checkpoint.put(name.replace("weight_scale", "input_scale"), "BF16", (1,), data)


CASES = [
    Case("CK105", "in another shard", SHARDED, _wrong_place),
    Case("CK106", "not listed", SHARDED, _unlisted),
    Case("CK107", "two copies", SHARDED, _twice, unsafe=True),
    Case("CK109", "no index", SHARDED, _no_index),
    Case("CK110", "wrong sum", SHARDED, _total_size),
    Case("CK111", "no format", QUARK, _no_metadata),
    Case("CK112", "apart", SHARDED, _apart, unsafe=True),
    Case("CK113", "tied, head stored", CT, _set("tie_word_embeddings", to=True)),
    Case("CK202", "of a BF16 head", CT, _orphan, unsafe=True),
    Case("CK203", "weight_scale_inv", CT, lambda b: b.rename(r"(.*)\.weight_scale", r"\1.weight_scale_inv")),
    Case("CK204", "raw dump", QUARK, lambda b: b.rename(r"(.*)\.weight_scale", r"\1.weight_quantizer.scale")),
    Case("CK208", "act_scale", CT_KV, lambda b: b.rename(r"(.*)\.input_scale", r"\1.act_scale"), unsafe=True),
    Case("CK301", "flat", CT, lambda b: b.change(r".*\.weight_scale", lambda t: t._replace(shape=t.shape[:1]))),
    Case("CK301", "column", QUARK, lambda b: b.change(r".*\.weight_scale", lambda t: t._replace(shape=(*t.shape, 1)))),
    Case("CK302", "two ranks", CT_KV, lambda b: b.change(r".*\.weight_scale", lambda t: t._replace(shape=(1, 1)))),
    Case("CK305", "ModelOpt's", BLOCK, lambda b: b.change(r".*\.weight_scale", _four_dimensions)),
    Case("CK408", "none", CT, _no_dtype),
    Case("CK506", "one expert", MOE, _uncalibrated_expert, restores=False, config=False, unsafe=True),
    Case("CK601", "no config", CT, _lost_config, config=False, unsafe=True),
    Case("CK636", "by type of layers", CT, _rope_by_type, config=False),
    Case("CK605", "head not ignored", CT, _in_block(lambda block: block["ignore"].clear())),
    Case("CK605", "head not excluded", QUARK, _in_block(lambda block: block["exclude"].clear())),
    Case("CK605", "head not in list", CUSTOM_KV, _in_block(lambda block: block["ignored_layers"].clear())),
    Case("CK606", "ignored", CT, _ignored, unsafe=True),
    Case("CK607", "nobody", QUARK, _in_block(lambda block: block["exclude"].append("model.layers.9.mlp.gate"))),
    Case("CK608", "glob", QUARK, _glob, restores=False, config=False),
    Case("CK609", "two lists", CUSTOM_KV, _two_lists, config=False, unsafe=True),
    Case("CK610", "fused name", QUARK, _fused_name, restores=False, config=False),
    Case("CK614", "not skipped", QUARK, _prediction_layer, restores=False, config=False),
    Case("CK616", "named", CT, _unnamed_group),
    Case("CK618", "type", CT, _no_type),
    Case("CK618", "status", CT, _in_block(lambda block: block.pop("quantization_status"))),
    Case("CK618", "preset", CT, _preset, config=False),
    Case("CK618", "format", CT, _no_format, config=False),
    Case("CK619", "null", CT, _in_block(lambda block: block["config_groups"]["group_0"]["weights"].update(new=None))),
    Case("CK620", "legacy key", CT, _legacy_key),
    Case("CK622", "not needed", CT, _input_scale, unsafe=True),
    Case("CK624", "no block size", BLOCK, _no_block_size, restores=False, config=False),
    Case("CK625", "nested", CT, _nested, config=False),
    Case("CK627", "null", QUARK, _in_block(lambda block: block.update(layer_type_quant_config=None))),
    Case("CK627", "old spelling", QUARK, _old_spelling),
    Case("CK627", "no entries", QUARK_KV, _no_kv_entries, config=False),
    Case("CK705", "k differs", CT_KV, _uneven_inputs, restores=False, unsafe=True),
    Case("CK901", "CT", CT_KV, _no_kv_scales, restores=False, config=False, unsafe=True),
    Case("CK901", "Quark", QUARK_KV, _no_kv_scales, restores=False, config=False, unsafe=True),
    Case("CK901", "fp8 mode", CUSTOM_KV, _no_kv_scales, restores=False, config=False, unsafe=True),
    Case("CK902", "CT", CT_KV, _no_kv_scheme, config=False),
    Case("CK902", "Quark", QUARK_KV, _no_quark_kv_scheme, config=False),
    Case("CK902", "fp8 mode", CUSTOM_KV, _no_kv_scheme),
    Case("CK903", "early names", CT_KV, _early_kv_names),
    Case("CK904", "k alone", CT_KV, lambda b: b.drop(r".*v_scale"), restores=False, unsafe=True),
    Case("CK907", "flat heads", HEADS, lambda b: b.change(r".*\.[kv]_scale", lambda t: t._replace(shape=t.shape[:1]))),
    Case("CK909", "k and v", CT_KV, _latent, restores=False, config=False, unsafe=True),
    Case("CK912", "no strategy", CT_KV, _in_block(lambda b: b["kv_cache_scheme"].pop("strategy")), True, False, True),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.code}-{case.name.replace(' ', '-')}")
def test_a_fix_clears_its_finding_and_nothing_else(case: Case, tmp_path: Path) -> None:
    checkpoint = load(case.fixture)
    whole = checkpoint.everything()
    undamaged = load(case.fixture).write(tmp_path / "whole")
    known = codes(undamaged)
    case.damage(checkpoint)
    damaged = checkpoint.everything()
    source = checkpoint.write(tmp_path / "damaged")
    assert times(source, case.code) > times(undamaged, case.code)

    result = find_fixes(api.open_files(source), Level.SCALES, unsafe=case.unsafe)
    assert [item for item in result.reverted if item.code not in known] == []
    target = tmp_path / "fixed"
    write_fixes(result, source, target)

    assert codes(target) <= known - {fix.code for fix in result.applied}
    fixed = tensors_of(target)
    assert weights(fixed) == weights(damaged)
    if case.restores:
        assert fixed == whole
    if case.config:
        wanted = find_fixes(api.open_files(undamaged), Level.SCALES, unsafe=case.unsafe).workspace.documents[
            CONFIG_FILE
        ]
        assert json.loads((target / "config.json").read_text()) == wanted


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.code}-{case.name.replace(' ', '-')}")
def test_in_place_the_result_is_the_same(case: Case, tmp_path: Path) -> None:
    checkpoint = load(case.fixture)
    case.damage(checkpoint)
    elsewhere, here = checkpoint.write(tmp_path / "elsewhere"), checkpoint.write(tmp_path / "here")
    write_fixes(find_fixes(api.open_files(elsewhere), Level.SCALES, unsafe=case.unsafe), elsewhere, tmp_path / "copy")
    write_fixes(find_fixes(api.open_files(here), Level.SCALES, unsafe=case.unsafe), here)
    assert {path.name: path.read_bytes() for path in here.iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / "copy").iterdir()
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "elsewhere", "here"]


@pytest.mark.parametrize("case", [case for case in CASES if case.unsafe], ids=lambda case: case.code)
def test_judgement_calls_are_not_made_unasked(case: Case, tmp_path: Path) -> None:
    checkpoint = load(case.fixture)
    case.damage(checkpoint)
    result = find_fixes(api.open_files(checkpoint.write(tmp_path / "damaged")), Level.SCALES)
    assert case.code not in {fix.code for fix in result.applied}


def test_rules_and_fixes_agree_on_what_can_be_fixed() -> None:
    promised = {rule.code: rule.fix for rule in registry.all_rules() if rule.fix is not None}
    kept = {code: {fixer.safety for fixer in fixers} for code, fixers in all_fixers().items()}
    assert {code: {safety} for code, safety in promised.items()} == kept


def test_every_fix_has_a_case_and_says_what_it_does() -> None:
    assert set(all_fixers()) == {case.code for case in CASES}
    assert all(fixer.function.__doc__ for fixers in all_fixers().values() for fixer in fixers)


def codes(folder: Path) -> set[str]:
    """The rules that fire on a folder."""
    return {finding.code for finding in api.validate(folder).findings}


def times(folder: Path, code: str) -> int:
    """How often a rule fires on a folder."""
    return sum(finding.code == code for finding in api.validate(folder).findings)


def weights(tensors: dict[str, RawTensor]) -> dict[str, RawTensor]:
    """What no fix may touch."""
    return {name: tensor for name, tensor in tensors.items() if name.endswith(".weight")}
