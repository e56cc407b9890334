"""ModelOpt: every layout and algorithm, real exports there and back, and what is told when the two files disagree."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import ckptkit
from ckptkit.conversion.plan import CostKind, Verdict
from ckptkit.errors import ConversionRefused, FormatError, UnsupportedFormat
from ckptkit.model.granularity import PerBlock, PerChannel, PerGroup, PerTensor, PerToken
from ckptkit.model.scheme import Quantization, Scheme
from tests.damage import CONFIG, CT, REAL, MutableCheckpoint, f32, load, tensors_of
from tests.raw import RawTensor

convert = partial(ckptkit.convert, fsync=False)

FP8, FP8_KV, CHANNEL = "llama/modelopt-fp8", "llama/modelopt-fp8-kv", "llama/modelopt-channel"
BLOCK, ONE_BLOCK = "llama-block-wide/modelopt-block", "llama-block-aligned/modelopt-block"
MXFP8, NVFP4 = "llama-block-aligned/modelopt-mxfp8", "llama-block-aligned/modelopt-nvfp4"
EXPERTS = "qwen3_moe/modelopt-fp8"
EXPORTS = (FP8, FP8_KV, CHANNEL, BLOCK, "llama-tied/modelopt-fp8", EXPERTS, "qwen3_moe/modelopt-channel")
SIDE_FILE = "hf_quant_config.json"

STATIC = Scheme(Quantization(PerTensor()), Quantization(PerTensor()))
TOKENS = Scheme(Quantization(PerChannel()), Quantization(PerToken(), dynamic=True))
BLOCKS = Scheme(Quantization(PerBlock(128, 128)), Quantization(PerGroup(128), dynamic=True))


def written(fixture: str, folder: Path, change: Callable[[MutableCheckpoint], None] = lambda draft: None) -> Path:
    draft = load(fixture)
    change(draft)
    return draft.write(folder)


def side_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / SIDE_FILE).read_text(encoding="utf-8"))
    return found


def config_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    return found


def codes(folder: Path, *severities: str) -> set[str]:
    wanted = severities or ("error", "warning")
    return {finding.code for finding in ckptkit.validate(folder).findings if finding.severity.value in wanted}


def nested(draft: MutableCheckpoint) -> None:
    """The layout of older exports, in config.json."""
    side = json.loads(draft.files.pop(SIDE_FILE))
    draft.config["quantization_config"] = {"quant_method": "modelopt", **side}


def side_only(draft: MutableCheckpoint) -> None:
    """The oldest exports: config.json says nothing."""
    del draft.config["quantization_config"]


# -- reading -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fixture", "scheme"),
    [(FP8, STATIC), (FP8_KV, STATIC), (CHANNEL, TOKENS), (BLOCK, BLOCKS), (EXPERTS, STATIC)],
)
@pytest.mark.parametrize("layout", [lambda draft: None, nested, side_only], ids=["flat", "nested", "side file"])
def test_layouts(fixture: str, scheme: Scheme, layout: Callable[[MutableCheckpoint], None], tmp_path: Path) -> None:
    source = written(fixture, tmp_path / "source", layout)
    found = ckptkit.open(source)
    assert (found.format, list(found.schemes)) == ("modelopt", [scheme])
    assert not (found.foreign or found.orphans or found.stored_only or found.declared_only)
    assert (found.kv_cache is not None and found.kv_cache.scheme is not None) == (fixture == FP8_KV)
    plan = convert(source, tmp_path / "ct", to="ct").plan
    assert (plan.verdict, plan.cost.kind) == (Verdict.LOSSLESS, CostKind.HEADER_ONLY)
    assert not (tmp_path / "ct" / SIDE_FILE).exists()
    assert tensors_of(tmp_path / "ct").keys() >= {"model.embed_tokens.weight", "lm_head.weight"}


@pytest.mark.parametrize("fixture", EXPORTS)
def test_real_exports_are_sound(fixture: str) -> None:
    assert codes(REAL / fixture) == set()


@pytest.mark.parametrize("fixture", [MXFP8, NVFP4])
def test_what_is_not_fp8_is_named_and_carried_where_the_layout_is_known(fixture: str, tmp_path: Path) -> None:
    found = ckptkit.open(REAL / fixture)
    assert not found.modules and len(found.opaque) == 7 and set(found.unquantized) == {"lm_head"}
    assert not (found.foreign or found.orphans or found.stored_only)
    assert fixture.rpartition("-")[2].upper() in ckptkit.inspect(REAL / fixture).scheme
    assert codes(REAL / fixture) == set()
    for to in ("quark", "fp8", *(("ct",) if fixture == NVFP4 else ())):
        why = "cannot hold the NVFP4 modules" if fixture == NVFP4 else "blocks of 7 MXFP8 modules would be rounded"
        with pytest.raises(ConversionRefused, match=why):
            ckptkit.plan(REAL / fixture, to=to)
    plan = convert(REAL / fixture, tmp_path / "again", to="modelopt").plan
    assert (plan.verdict, plan.cost.computed) == (Verdict.LOSSLESS, 0)
    assert tensors_of(tmp_path / "again") == tensors_of(REAL / fixture)
    assert config_of(tmp_path / "again") == config_of(REAL / fixture)
    assert side_of(tmp_path / "again") == side_of(REAL / fixture)


def _in_mxfp8(draft: MutableCheckpoint) -> None:
    """FP8 with one scale for a tensor, and gates in MXFP8, each module with its own algorithm."""
    layers = {}
    for name in draft.names(r".*_proj\.weight"):
        module = name.removesuffix(".weight")
        layers[module] = {"quant_algo": "FP8"}
        if module.endswith(("gate_proj", "up_proj")):
            layers[module] = {"quant_algo": "MXFP8", "group_size": 32}
            draft.drop(rf"{module}\.(weight_scale|input_scale)")
            rows, columns = draft.get(name).shape
            draft.put(f"{module}.weight_scale", "U8", (rows, columns // 32), bytes([118]) * (rows * columns // 32))
    keys = {"quant_algo": "MIXED_PRECISION", "quantized_layers": layers}
    draft.config["quantization_config"] = {"quant_method": "modelopt", "ignore": ["lm_head"], **keys}
    del draft.files[SIDE_FILE]


@pytest.mark.parametrize("change", [None, _in_mxfp8], ids=["whole", "mixed"])
def test_mxfp8_goes_to_compressed_tensors_and_back(
    change: Callable[[MutableCheckpoint], None] | None, tmp_path: Path
) -> None:
    """The layout is the same there, byte for byte: only the config is another."""
    source = written(FP8, tmp_path / "source", change) if change else REAL / MXFP8
    plan = convert(source, tmp_path / "ct", to="ct").plan
    assert (plan.verdict, plan.cost.kind) == (Verdict.LOSSLESS, CostKind.HEADER_ONLY)
    # One reader takes ModelOpt's mixed precision without NVFP4 for another quantization.
    assert codes(tmp_path / "ct") == codes(source) - {"CK604"} == set()
    before, there = ckptkit.open(source), ckptkit.open(tmp_path / "ct")
    assert there.format == "compressed-tensors" and there.opaque.keys() == before.opaque.keys() != set()
    assert {str(scheme) for scheme in there.other_schemes} == {str(scheme) for scheme in before.other_schemes}
    formats = {group["format"] for group in config_of(tmp_path / "ct")["quantization_config"]["config_groups"].values()}
    assert formats == ({"mxfp8-quantized", "float-quantized"} if change else {"mxfp8-quantized"})
    assert ckptkit.diff(source, tmp_path / "ct").same
    convert(tmp_path / "ct", tmp_path / "back", to="modelopt")
    assert tensors_of(tmp_path / "back") == tensors_of(source)
    convert(tmp_path / "ct", tmp_path / "again", to="ct")
    assert config_of(tmp_path / "again") == config_of(tmp_path / "ct")
    if change is None:
        assert config_of(tmp_path / "back") == config_of(source) and side_of(tmp_path / "back") == side_of(source)
    else:
        layers = config_of(tmp_path / "back")["quantization_config"]["quantized_layers"]
        assert layers == config_of(source)["quantization_config"]["quantized_layers"]


def test_mxfp8_weights_alone_have_no_word_in_modelopt(tmp_path: Path) -> None:
    convert(REAL / MXFP8, tmp_path / "ct", to="ct")
    config = config_of(tmp_path / "ct")
    config["quantization_config"]["config_groups"]["group_0"]["input_activations"] = None
    (tmp_path / "ct" / CONFIG).write_text(json.dumps(config), encoding="utf-8")
    assert "MXFP8A16" in ckptkit.inspect(tmp_path / "ct").scheme
    with pytest.raises(ConversionRefused, match="7 MXFP8A16 modules would be rounded"):
        ckptkit.plan(tmp_path / "ct", to="modelopt")


def _mixed_nvfp4(draft: MutableCheckpoint) -> None:
    """MLPs in NVFP4 beside FP8, with all that ModelOpt says of a layer."""
    layers: dict[str, Any] = {}
    for name in draft.names(r".*_proj\.weight"):
        module = name.removesuffix(".weight")
        layers[module] = {"quant_algo": "FP8"}
        if ".mlp." in module:
            layers[module] = {"quant_algo": "NVFP4", "group_size": 16}
            rows, columns = draft.get(name).shape
            draft.drop(rf"{module}\.(weight|weight_scale)")
            draft.put(name, "U8", (rows, columns // 2), bytes([0x21]) * (rows * columns // 2))
            draft.put(f"{module}.weight_scale", "F8_E4M3", (rows, columns // 16), b"\x38" * (rows * columns // 16))
            draft.put(f"{module}.weight_scale_2", "F32", (), f32(0.01))
    keys = {"quant_algo": "MIXED_PRECISION", "quantized_layers": layers}
    draft.config["quantization_config"] = {"quant_method": "modelopt", "ignore": ["lm_head"], **keys}
    del draft.files[SIDE_FILE]


def test_layers_of_another_quantization_keep_what_is_said_of_them(tmp_path: Path) -> None:
    source = written(FP8, tmp_path / "source", _mixed_nvfp4)
    plan = convert(source, tmp_path / "out", to="modelopt").plan
    assert (plan.verdict, plan.cost.computed) == (Verdict.LOSSLESS, 0)
    assert tensors_of(tmp_path / "out") == tensors_of(source)
    before = config_of(source)["quantization_config"]["quantized_layers"]
    assert config_of(tmp_path / "out")["quantization_config"]["quantized_layers"] == before
    assert side_of(tmp_path / "out")["quantization"]["quantized_layers"] == before
    with pytest.raises(ConversionRefused, match="cannot hold the NVFP4 modules"):
        ckptkit.plan(source, to="ct")


def test_one_block_without_axes_stops_vllm_and_is_found_and_fixed(tmp_path: Path) -> None:
    """ModelOpt drops the axes of a scale that has one block only, and vLLM's loader wants to narrow it."""
    report = ckptkit.validate(REAL / ONE_BLOCK)
    found = [finding for finding in report.findings if finding.severity.value == "error"]
    assert {finding.code for finding in found} == {"CK305"} and len(found) == 4
    assert all("vllm" in {effect.engine for effect in finding.engines} for finding in found)
    ckptkit.fix(written(ONE_BLOCK, tmp_path / "fixed"))
    assert codes(tmp_path / "fixed") == set()
    for to in ("ct", "fp8", "modelopt"):
        convert(REAL / ONE_BLOCK, tmp_path / to, to=to)
        assert codes(tmp_path / to) == set()
    assert tensors_of(tmp_path / "modelopt") == tensors_of(tmp_path / "fixed")


@pytest.mark.parametrize(
    ("entry", "left"),
    [("lm_head", True), ("lm", True), ("*head", True), ("model.lm_head", False), ("head*", False), ("", False)],
)
def test_a_part_of_a_name_excludes(entry: str, left: bool, tmp_path: Path) -> None:
    def change(draft: MutableCheckpoint) -> None:
        draft.block["ignore"] = [entry]

    found = ckptkit.open(written(FP8, tmp_path / "source", change))
    assert ("lm_head" in found.declared_only) is not left


def test_the_head_is_quantized_unless_it_is_excluded(tmp_path: Path) -> None:
    def change(draft: MutableCheckpoint) -> None:
        draft.block["ignore"] = ["model.embed_tokens"]

    source = written(FP8, tmp_path / "source", change)
    (finding,) = [f for f in ckptkit.validate(source).findings if f.code == "CK605"]
    assert finding.tensor == "lm_head.weight" and "vllm" in {effect.engine for effect in finding.engines}


def test_mixed_precision_by_module(tmp_path: Path) -> None:
    """Two FP8 schemes: what vLLM takes module by module; what is not listed stays as it is."""

    def change(draft: MutableCheckpoint) -> None:
        channel = load(CHANNEL)
        for name in channel.names(r".*self_attn.*_proj\.weight(_scale)?"):
            tensor = channel.get(name)
            draft.put(name, tensor.dtype, tensor.shape, tensor.data)
        draft.drop(r".*self_attn.*input_scale")
        layers = {
            name.removesuffix(".weight"): {"quant_algo": "FP8_PER_CHANNEL_PER_TOKEN" if "self_attn" in name else "FP8"}
            for name in draft.names(r".*layers.*_proj\.weight")
        }
        draft.block.update(quant_algo="MIXED_PRECISION", quantized_layers=layers)
        draft.block.pop("config_groups")
        side = {"quant_algo": "MIXED_PRECISION", "quantized_layers": layers, "exclude_modules": draft.block["ignore"]}
        draft.files[SIDE_FILE] = json.dumps({"quantization": side}).encode()

    source = written(FP8, tmp_path / "source", change)
    found = ckptkit.open(source)
    assert {scheme: len(members) for scheme, members in found.schemes.items()} == {TOKENS: 8, STATIC: 6}
    assert codes(source) == {"CK604"}
    convert(source, tmp_path / "ct", to="ct")
    back = convert(tmp_path / "ct", tmp_path / "back", to="modelopt").plan
    assert back.cost.kind is CostKind.HEADER_ONLY
    assert tensors_of(tmp_path / "back") == tensors_of(source)
    for section in (config_of(tmp_path / "back")["quantization_config"], side_of(tmp_path / "back")["quantization"]):
        assert section["quant_algo"] == "MIXED_PRECISION"
        assert section["quantized_layers"]["model.layers.0.mlp.up_proj"] == {"quant_algo": "FP8"}
        assert len(section["quantized_layers"]) == 14


@pytest.mark.parametrize(
    ("keys", "error"),
    [
        ({"quant_algo": None}, FormatError),
        ({"quant_algo": "FP9"}, UnsupportedFormat),
        ({"quant_algo": "MIXED_PRECISION"}, FormatError),
        ({"quant_algo": "MIXED_PRECISION", "quantized_layers": {"a": "FP8"}}, FormatError),
        ({"ignore": "lm_head"}, FormatError),
        ({"kv_cache_scheme": {"type": "float", "num_bits": 4}}, UnsupportedFormat),
        ({"kv_cache_scheme": "FP8"}, FormatError),
    ],
)
def test_configs_that_are_none(keys: dict[str, Any], error: type[Exception], tmp_path: Path) -> None:
    source = written(FP8, tmp_path / "source", lambda draft: draft.block.update(keys))
    with pytest.raises(error) as caught:
        ckptkit.open(source)
    assert isinstance(caught.value, UnsupportedFormat) == (error is UnsupportedFormat)


def test_a_cache_in_another_type_is_no_fp8_cache(tmp_path: Path) -> None:
    def change(draft: MutableCheckpoint) -> None:
        nested(draft)
        draft.block["quantization"]["kv_cache_quant_algo"] = "NVFP4"

    with pytest.raises(UnsupportedFormat, match="NVFP4"):
        ckptkit.open(written(FP8, tmp_path / "source", change))


@pytest.mark.parametrize(
    "keys", [{"quant_algo": "NVFP4"}, {"kv_cache_quant_algo": "FP8"}, {"exclude_modules": ["lm_head"]}]
)
def test_two_files_that_disagree(keys: dict[str, Any], tmp_path: Path) -> None:
    def change(draft: MutableCheckpoint) -> None:
        side = json.loads(draft.files[SIDE_FILE])
        side["quantization"].update(keys)
        draft.files[SIDE_FILE] = json.dumps(side).encode()

    assert "CK603" in codes(written(FP8, tmp_path / "source", change))


def test_a_flat_grid_stops_vllm(tmp_path: Path) -> None:
    def change(draft: MutableCheckpoint) -> None:
        draft.change(r".*\.weight_scale", lambda t: t._replace(shape=t.shape[::2]))

    source = written(BLOCK, tmp_path / "source", change)
    assert codes(source) == {"CK305"}
    ckptkit.fix(source)
    assert codes(source) == set() and tensors_of(source) == tensors_of(REAL / BLOCK)


def test_a_missing_input_scale_is_found(tmp_path: Path) -> None:
    """Inputs of this algorithm are always static: without a scale vLLM serves garbage."""
    source = written(FP8, tmp_path / "source", lambda draft: draft.drop(r".*input_scale"))
    assert "CK621" in codes(source)


def test_a_channel_scale_of_two_axes_is_found(tmp_path: Path) -> None:
    def change(draft: MutableCheckpoint) -> None:
        draft.change(r".*\.weight_scale", lambda t: t._replace(shape=(*t.shape, 1)))

    source = written(CHANNEL, tmp_path / "source", change)
    assert codes(source) == {"CK301"}
    ckptkit.fix(source)
    assert tensors_of(source) == tensors_of(REAL / CHANNEL)


def test_no_fix_writes_a_config_where_there_is_none(tmp_path: Path) -> None:
    """Only the side file describes it: an edit of config.json would make a second, broken config."""

    def change(draft: MutableCheckpoint) -> None:
        side = json.loads(draft.files[SIDE_FILE])
        side["quantization"]["exclude_modules"] = []
        draft.files[SIDE_FILE] = json.dumps(side).encode()
        side_only(draft)

    source = written(FP8, tmp_path / "source", change)
    assert "CK605" in codes(source)
    before = (source / CONFIG).read_bytes()
    ckptkit.fix(source, unsafe_fixes=True)
    assert (source / CONFIG).read_bytes() == before


# -- writing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", ["ct", "quark", "fp8"])
@pytest.mark.parametrize("fixture", [FP8, FP8_KV, CHANNEL, BLOCK, "llama-tied/modelopt-fp8", EXPERTS])
def test_there_and_back_is_the_same_to_the_byte(fixture: str, to: str, tmp_path: Path) -> None:
    if to == "fp8" and fixture == CHANNEL:
        with pytest.raises(ConversionRefused, match="cannot express the scheme"):
            ckptkit.plan(REAL / fixture, to=to)
        return
    there = convert(REAL / fixture, tmp_path / "there", to=to).plan
    back = convert(tmp_path / "there", tmp_path / "back", to="modelopt").plan
    assert {there.cost.kind, back.cost.kind} == {CostKind.HEADER_ONLY}
    assert {there.verdict, back.verdict} == {Verdict.LOSSLESS}
    weights = "model.safetensors"
    assert (tmp_path / "back" / weights).read_bytes() == (REAL / fixture / weights).read_bytes()
    assert config_of(tmp_path / "back") == config_of(REAL / fixture)
    assert side_of(tmp_path / "back") == side_of(REAL / fixture)


def test_of_compressed_tensors(tmp_path: Path) -> None:
    """[N, 1] becomes [N], BF16 scales stay as they are, the head is excluded and the two files agree."""
    plan = convert(REAL / CT, tmp_path / "out", to="modelopt").plan
    assert plan.cost.kind is CostKind.HEADER_ONLY and codes(tmp_path / "out", "error", "warning") == set()
    block, side = config_of(tmp_path / "out")["quantization_config"], side_of(tmp_path / "out")["quantization"]
    assert block["quant_algo"] == side["quant_algo"] == "FP8_PER_CHANNEL_PER_TOKEN"
    assert block["ignore"] == side["exclude_modules"] == ["lm_head", "model.embed_tokens"]
    scales = {name: t for name, t in tensors_of(tmp_path / "out").items() if name.endswith("weight_scale")}
    assert {(t.dtype, len(t.shape)) for t in scales.values()} == {("BF16", 1)}


def test_inputs_by_tensor_while_running_become_channels(tmp_path: Path) -> None:
    """No algorithm has them beside one scale: the scale stands for every channel."""

    def change(draft: MutableCheckpoint) -> None:
        draft.change(r".*\.weight_scale", lambda t: RawTensor("F32", (1,), f32(0.5)))
        draft.group["weights"]["strategy"] = "tensor"
        draft.group["input_activations"]["strategy"] = "tensor"

    source = written(CT, tmp_path / "source", change)
    plan = convert(source, tmp_path / "out", to="modelopt").plan
    assert (plan.verdict, plan.cost.kind) == (Verdict.LOSSLESS, CostKind.RECOMPUTE)
    assert list(ckptkit.open(tmp_path / "out").schemes) == [TOKENS]
    assert ckptkit.diff(source, tmp_path / "out", plan=plan).same


def test_columns_that_are_no_whole_blocks_are_refused(tmp_path: Path) -> None:
    """vLLM raises for them."""
    with pytest.raises(ConversionRefused):
        ckptkit.plan(REAL / "llama-block-ragged/llmcompressor-block", to="modelopt")


def test_a_scale_for_each_head_has_no_place(tmp_path: Path) -> None:
    with pytest.raises(ConversionRefused, match="KV-cache scheme"):
        ckptkit.plan(REAL / "llama/llmcompressor-dynamic-kv-heads", to="modelopt")
