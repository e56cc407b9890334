"""Reading and writing compressed-tensors: matching rules, old and new configs, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import ckptkit
from ckptkit.errors import ConversionRefused, FormatError
from ckptkit.formats.compressed_tensors import config
from ckptkit.model.granularity import PerBlock, PerChannel, PerGroup, PerHead, PerTensor, PerToken
from ckptkit.model.scheme import Quantization, Scheme
from tests.damage import CONFIG, REAL, load, scalar, tensors_of
from tests.formats.synthetic import GROUPS, args, files, read, reconfigured
from tests.traps.common import block_of, convert

CHANNEL = Scheme(Quantization(PerChannel()), Quantization(PerToken(), dynamic=True))
TENSOR = Scheme(Quantization(PerTensor()), Quantization(PerTensor()))


def block(**changes: Any) -> dict[str, Any]:
    """A whole config with one group for every linear module."""
    group = {**GROUPS["channel"], "targets": ["Linear"], "format": "float-quantized"}
    whole = {
        "quant_method": "compressed-tensors",
        "format": "float-quantized",
        "quantization_status": "compressed",
        "config_groups": {"group_0": group},
        "ignore": [],
    }
    return {**whole, **changes}


def groups(*targets: list[str]) -> dict[str, Any]:
    """Two groups, per channel and per tensor, with these targets."""
    kinds = ("channel", "tensor")
    return {f"any name {kind}": {**GROUPS[kind], "targets": t} for kind, t in zip(kinds, targets, strict=True)}


@pytest.mark.parametrize(
    ("targets", "module", "expected"),
    [
        ((["Linear"], []), "model.layers.0.mlp.up_proj", CHANNEL),
        ((["LinearBase"], []), "lm_head", CHANNEL),
        ((["linear"], []), "lm_head", None),
        ((["Embedding"], ["re:.*up_proj"]), "a.up_proj", TENSOR),
        ((["re:.*up"], []), "model.layers.0.mlp.up_proj_extra", CHANNEL),
        ((["re:mlp"], []), "model.layers.0.mlp.up_proj", None),
        ((["re:.*up_proj"], ["a.up_proj"]), "a.up_proj", TENSOR),
        ((["Linear"], ["re:.*up_proj"]), "a.up_proj", TENSOR),
        ((["re:b.*", "Linear"], ["re:a.*|b.*"]), "b.up_proj", TENSOR),
        ((["a.up_proj"], ["Linear"]), "a.up_proj.inner", TENSOR),
    ],
)
def test_targets(targets: tuple[list[str], list[str]], module: str, expected: Scheme | None) -> None:
    """Exact names, then regular expressions in alphabetical order, then classes; only the start is anchored."""
    assert config.parse(block(config_groups=groups(*targets)), "test").scheme_of(module) == expected


@pytest.mark.parametrize(
    ("ignore", "module", "ignored"),
    [
        (["lm_head"], "lm_head", True),
        (["lm_head"], "model.lm_head", False),
        (["re:.*gate"], "model.layers.0.mlp.gate_proj", True),
        (["re:.*gate$"], "model.layers.0.mlp.gate_proj", False),
        (["re:gate"], "model.gate", False),
        (["model.layers.0"], "model.layers.0.mlp.up_proj", False),
        (["Linear"], "model.layers.0.mlp.up_proj", True),
    ],
)
def test_ignore(ignore: list[str], module: str, ignored: bool) -> None:
    assert (config.parse(block(ignore=ignore), "test").scheme_of(module) is None) == ignored


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"strategy": "tensor"}, PerTensor()),
        ({"strategy": "CHANNEL"}, PerChannel()),
        ({"strategy": None, "group_size": None}, PerTensor()),
        ({"strategy": None, "group_size": -1}, PerChannel()),
        ({"strategy": None, "group_size": 128}, PerGroup(128)),
        ({"strategy": "block", "block_structure": "64x128"}, PerBlock(64, 128)),
        ({"strategy": "block", "block_structure": [128, 128]}, PerBlock(128, 128)),
        ({"strategy": "attn_head"}, PerHead()),
        ({"type": "FLOAT", "strategy": "tensor"}, PerTensor()),
    ],
)
def test_weight_strategies(changes: dict[str, Any], expected: object) -> None:
    whole = block()
    whole["config_groups"]["group_0"]["weights"] = {**args("tensor"), **changes}
    (group,) = config.parse(whole, "test").groups
    assert group.scheme.weight.granularity == expected


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("weights.type", "int", "weights.type is not valid"),
        ("weights.num_bits", 4, "weights.num_bits is not valid"),
        ("weights.symmetric", False, "weights.symmetric is not valid"),
        ("weights.dynamic", "local", "weights.dynamic is not valid"),
        ("weights.strategy", "tensor_group", "weights.strategy is not valid"),
        ("weights", None, "weights is not valid"),
        ("weights", [], "config_groups.group_0"),
        ("format", "float32", "format is not valid"),
        ("format", "pack-quantized", "format is not valid"),
        ("format", "int-quantized", "format 'int-quantized' is not supported"),
        ("targets", "Linear", "targets is not valid"),
    ],
)
def test_a_group_that_is_not_fp8_is_refused(path: str, value: object, message: str) -> None:
    whole = block()
    body = whole["config_groups"]["group_0"] = json.loads(json.dumps(whole["config_groups"]["group_0"]))
    *outer, last = path.split(".")
    for key in outer:
        body = body[key]
    body[last] = value
    with pytest.raises(FormatError, match=message):
        config.parse(whole, "test")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"transform_config": {"config_groups": {"R1": {}}}}, "transform_config"),
        ({"moe_sparsity_config": {"layers": {}}}, "moe_sparsity_config"),
        ({"sparsity_config": {"format": "sparse-24-bitmask"}}, "sparsity_config.format"),
        ({"config_groups": None}, "config_groups"),
        ({"config_groups": {"W4A16": ["Linear"]}}, "config_groups.W4A16"),
        ({"ignore": "lm_head"}, "ignore"),
        ({"ignore": ["re:("]}, "invalid pattern"),
    ],
)
def test_a_config_that_cannot_be_understood_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        config.parse(block(**changes), "test").scheme_of("lm_head")


def test_all_faults_are_told_at_once() -> None:
    whole = block(ignore=3, transform_config={"config_groups": {"R1": {}}})
    weights = {**args("tensor"), "type": "int", "num_bits": 4}
    whole["config_groups"]["group_0"] = {"targets": ["Linear"], "weights": weights}
    with pytest.raises(FormatError) as error:
        config.parse(whole, "test")
    assert len(error.value.faults) == 4


def test_the_smallest_and_the_largest_config_read_alike() -> None:
    """Keys that older versions lack, keys that newer versions add, and keys at their defaults."""
    large = block(sparsity_config={}, transform_config={}, global_compression_ratio=1.5, version="0.21")
    large["kv_cache_scheme"] = None
    nulls = dict.fromkeys(["actorder", "block_structure", "group_size", "scale_dtype", "zp_dtype", "observer"])
    group = large["config_groups"]["group_0"]
    for role in ("weights", "input_activations"):
        group = {**group, role: {**group[role], **nulls, "observer_kwargs": {}}}
    large["config_groups"] = {"group_0": {**group, "output_activations": None}}
    weights, inputs = GROUPS["channel"]["weights"], GROUPS["channel"]["input_activations"]
    small = {"config_groups": {"x": {"targets": ["Linear"], "weights": weights, "input_activations": inputs}}}
    parsed = [config.parse(whole, "test") for whole in (large, small)]
    assert [parse.scheme_of("a.b") for parse in parsed] == [CHANNEL, CHANNEL]
    assert parsed[0].faults == () and parsed[0].provenance == ()


def test_unknown_keys_are_told_and_left_out(tmp_path: Path) -> None:
    bent = load("llama/llmcompressor-dynamic")
    bent.block["kv_cache_schema"] = {}
    bent.block["config_groups"]["group_0"]["weights"]["strategi"] = "tensor"
    source = bent.write(tmp_path / "source")
    found = [fault.found for fault in ckptkit.open(source).faults if fault.kind == "config-unknown-key"]
    assert sorted(text or "" for text in found) == ["config_groups.group_0.weights.strategi", "kv_cache_schema"]
    plan = convert(source, tmp_path / "out", to="ct").plan
    assert any("kv_cache_schema" in note for note in plan.notes)


@pytest.mark.parametrize("where", ["compression_config", "text_config", "text_config.compression_config"])
def test_where_a_config_may_sit(where: str, tmp_path: Path) -> None:
    bent = load("llama/llmcompressor-dynamic")
    config_block = bent.config.pop("quantization_config")
    if where == "text_config":
        bent.config["text_config"] = {"quantization_config": config_block, "hidden_size": 64}
    elif where == "compression_config":
        bent.config["compression_config"] = config_block
    else:
        bent.config["text_config"] = {"compression_config": config_block, "hidden_size": 64}
    convert(bent.write(tmp_path / "source"), tmp_path / "out", to="quark")
    written = json.loads((tmp_path / "out" / CONFIG).read_text(encoding="utf-8"))
    home = written["text_config"] if where.startswith("text_config") else written
    assert home["quantization_config"]["quant_method"] == "quark"
    assert "compression_config" not in home
    assert ckptkit.diff(REAL / "llama/llmcompressor-dynamic", tmp_path / "out").same


def test_mixed_precision_with_a_format_in_each_group(tmp_path: Path) -> None:
    bent = load("llama/llmcompressor-groups")
    bent.block["format"] = "mixed-precision"
    bent.block["config_groups"]["group_1"]["format"] = "naive-quantized"
    source = bent.write(tmp_path / "source")
    assert "ct-format" not in {fault.kind for fault in ckptkit.open(source).faults}
    convert(source, tmp_path / "out", to="ct")
    assert block_of(tmp_path / "out")["format"] == "float-quantized"
    assert ckptkit.diff(REAL / "llama/llmcompressor-groups", tmp_path / "out").same


def test_naive_quantized_becomes_float_quantized(tmp_path: Path) -> None:
    convert(REAL / "llama/llmcompressor-weight-only", tmp_path / "out", to="ct")
    written = block_of(tmp_path / "out")
    assert written["format"] == written["config_groups"]["group_0"]["format"] == "float-quantized"
    assert written["config_groups"]["group_0"]["input_activations"] is None


def test_attention_groups_are_not_linear_schemes(tmp_path: Path) -> None:
    """vLLM skips such groups; the scales of the KV cache say the same."""
    bent = load("llama/llmcompressor-dynamic-kv")
    bent.block["config_groups"]["attention"] = {"targets": ["LlamaAttention"], "input_activations": args("tensor")}
    for layer in range(2):
        bent.tensors[f"model.layers.{layer}.self_attn.q_scale"] = scalar(0.5, (1,))
    source = bent.write(tmp_path / "source")
    checkpoint = ckptkit.open(source)
    assert list(checkpoint.schemes) == [CHANNEL]
    assert checkpoint.provenance == ("config_groups.attention (attention)",)
    plan = convert(source, tmp_path / "out", to="quark").plan
    assert any("config_groups.attention" in note for note in plan.notes)
    assert tensors_of(tmp_path / "out")["model.layers.1.self_attn.q_proj.output_scale"].shape == ()
    convert(tmp_path / "out", tmp_path / "back", to="ct")
    assert tensors_of(tmp_path / "back") == tensors_of(source)


def test_kv_scales_for_each_head(tmp_path: Path) -> None:
    source = REAL / "llama/llmcompressor-dynamic-kv-heads"
    checkpoint = ckptkit.open(source)
    assert checkpoint.kv_cache is not None and checkpoint.kv_cache.scheme is not None
    assert checkpoint.kv_cache.scheme.quantization == Quantization(PerHead())
    convert(source, tmp_path / "out", to="ct")
    assert block_of(tmp_path / "out")["kv_cache_scheme"]["strategy"] == "attn_head"
    assert tensors_of(tmp_path / "out") == tensors_of(source)


def test_block_sizes_as_text(tmp_path: Path) -> None:
    bent = load("llama-block-ragged/llmcompressor-block")
    bent.block["config_groups"]["group_0"]["weights"]["block_structure"] = "128x128"
    convert(bent.write(tmp_path / "source"), tmp_path / "out", to="ct")
    written = block_of(tmp_path / "out")["config_groups"]["group_0"]
    assert written["weights"]["block_structure"] == [128, 128]
    assert written["input_activations"]["group_size"] == 128


def test_other_block_sizes_stay_in_compressed_tensors(tmp_path: Path) -> None:
    bent = load("llama-block-aligned/llmcompressor-block")
    bent.block["config_groups"]["group_0"]["weights"]["block_structure"] = [128, 64]
    bent.block["config_groups"]["group_0"]["input_activations"]["group_size"] = 64
    for name in [name for name in bent.tensors if name.endswith(".weight_scale")]:
        tensor = bent.tensors[name]
        rows, columns = tensor.shape
        bent.tensors[name] = tensor._replace(shape=(rows, 2 * columns), data=tensor.data * 2)
    source = bent.write(tmp_path / "source")
    convert(source, tmp_path / "out", to="ct")
    assert tensors_of(tmp_path / "out") == tensors_of(source)
    with pytest.raises(ConversionRefused) as error:
        ckptkit.plan(source, to="quark")
    assert {fault.kind for fault in error.value.faults} == {"block-size", "requantize"}


def test_what_is_written_has_no_key_that_an_old_reader_forbids(tmp_path: Path) -> None:
    convert(REAL / "llama/llmcompressor-groups", tmp_path / "out", to="ct")
    for group in block_of(tmp_path / "out")["config_groups"].values():
        for role in ("weights", "input_activations"):
            assert group[role].keys() <= {"num_bits", "type", "symmetric", "strategy", "dynamic", "group_size"}


def test_fused_experts_are_ignored_with_what_is_below_them(tmp_path: Path) -> None:
    convert(REAL / "qwen3_moe/quark-ptpc", tmp_path / "out", to="ct")
    scheme_of = config.parse(block_of(tmp_path / "out"), "test").scheme_of
    owner = "model.layers.0.mlp.experts"
    assert scheme_of(owner) is scheme_of(f"{owner}.0.gate_proj") is None
    assert scheme_of("model.layers.0.self_attn.q_proj") is not None
    assert scheme_of("model.layers.0.mlp.experts_of_another_kind") is not None


def test_several_groups_are_told_apart_by_name_only() -> None:
    schemes: dict[str, str | None] = {"a.0.x": "channel", "a.1.x": "tensor", "a.2.y": "loose", "lm_head": None}
    checkpoint = read(files(schemes))
    again = read(reconfigured(files(schemes), checkpoint.raw))
    assert again.modules.keys() == checkpoint.modules.keys() == {"a.0.x", "a.1.x", "a.2.y"}
