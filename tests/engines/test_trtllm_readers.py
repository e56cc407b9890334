"""TensorRT-LLM's decisions against configs whose answers its public tests and threads give.

It runs on a GPU alone, so that nothing here was loaded: ``test_quant_config_utils.py``, ``test_modelopt_config.py``
and the tests of ``load_hf_quant_config`` (2026) say what comes of each config, its table of experts' algorithms and
what its operators dispatch to what runs where. The configs are ours, the answers theirs. Threads are named where they
are asked about.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from ckptkit.checks import runner
from ckptkit.checks.level import Level
from ckptkit.checks.skip_lists import builds_quantized, readings_of
from ckptkit.engines import gpus
from ckptkit.engines.judging import judge
from ckptkit.engines.layers import Layer
from ckptkit.engines.registry import by_name, effects_of
from ckptkit.engines.support import Answer, Part, Support
from ckptkit.engines.trtllm.sources import CONFIGS, SAFETENSORS, SOURCES
from ckptkit.formats.compressed_tensors.other import other_scheme
from ckptkit.formats.modelopt import config as modelopt
from ckptkit.model.granularity import PerBlock, PerGroup, PerTensor
from ckptkit.model.scheme import OtherScheme, Quantization
from ckptkit.views.matrix import build_matrix
from tests.accuracy.reports import quantize
from tests.damage import (
    BLOCK,
    CT,
    GROUPS,
    QUARK_CUSTOM,
    Damage,
    MutableCheckpoint,
    f32,
    high_precision,
    load,
    put,
    set_block,
)
from tests.engines.hardware import Question
from tests.engines.test_support import matrix_of
from tests.formats.fp8_files import groups_of_32
from tests.rules.case import context_of

DYNAMIC_KV = "llama/llmcompressor-dynamic-kv"
_TENSOR_GROUP = {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16}


def answers(checkpoint: MutableCheckpoint) -> dict[Answer, set[str]]:
    """What is said of the parts of a checkpoint -> its words."""
    context = context_of(checkpoint)
    assert context.checkpoint is not None, "the config is read"
    found: dict[Answer, set[str]] = {}
    for judgement in judge(by_name("trtllm"), context.checkpoint, context.dialect_key, "LlamaForCausalLM"):
        found.setdefault(judgement.answer, set()).add(judgement.words)
    return found


def group(weights: dict[str, Any], inputs: dict[str, Any] | None, **body: Any) -> dict[Answer, set[str]]:
    checkpoint = load(CT)
    checkpoint.group["weights"] = {"num_bits": 8, "type": "float", "symmetric": True, **weights}
    checkpoint.group["input_activations"] = inputs and {"num_bits": 8, "type": "float", "dynamic": True, **inputs}
    checkpoint.group.update(body)
    return answers(checkpoint)


_BLOCKS = {"strategy": "block", "block_structure": [128, 128]}


@pytest.mark.parametrize(
    ("weights", "inputs", "answer", "words"),
    [
        ({"strategy": "channel"}, {"strategy": "token"}, Answer.SUPPORTED, ""),
        (_BLOCKS, {"strategy": "group", "group_size": 128}, Answer.SUPPORTED, ""),
        (_BLOCKS, {"strategy": "group", "group_size": 64}, Answer.REFUSED, "Supported: 128"),
        (_BLOCKS, {"strategy": "token"}, Answer.REFUSED, "Unsupported inputs_quant_strategy"),
        ({"strategy": "channel"}, {"strategy": "tensor"}, Answer.REFUSED, "Unsupported inputs_quant_strategy"),
        ({"strategy": "tensor"}, {"strategy": "token"}, Answer.REFUSED, "Unsupported weights_quant_strategy"),
        ({"strategy": "channel"}, None, Answer.REFUSED, "'NoneType' object is not subscriptable"),
    ],
)
def test_one_group_of_fp8(weights: Any, inputs: Any, answer: Answer, words: str) -> None:
    found = group(weights, inputs)
    assert set(found) == {answer}
    assert all(words in said for said in found[answer])


@pytest.mark.parametrize(
    ("storage", "weights", "inputs", "layer", "answer", "words"),
    [
        ("nvfp4-pack-quantized", _TENSOR_GROUP, _TENSOR_GROUP, Layer.FUSED, Answer.SUPPORTED, ""),
        ("nvfp4-pack-quantized", _TENSOR_GROUP, None, Layer.LINEAR, Answer.UNKNOWN, "a reader of it was merged"),
        ("pack-quantized", {"num_bits": 4, "type": "int"}, None, Layer.LINEAR, Answer.REFUSED, "'NoneType'"),
        ("mxfp4-pack-quantized", {"num_bits": 4, "type": "float"}, None, Layer.EXPERT, Answer.SUPPORTED, ""),
        (
            "mxfp8-quantized",
            {"num_bits": 8},
            {"num_bits": 8},
            Layer.LINEAR,
            Answer.REFUSED,
            "Unsupported weights_quant",
        ),
        ("int-quantized", {"num_bits": 8}, {"num_bits": 8}, Layer.LINEAR, Answer.UNKNOWN, "8 bits for FP8"),
    ],
)
def test_one_group_of_another_storage(
    storage: str, weights: Any, inputs: Any, layer: Layer, answer: Answer, words: str
) -> None:
    declared = other_scheme(storage, {"weights": weights, "input_activations": inputs})
    part = Part(layer, Quantization(PerTensor()), None, "x", declared)
    row = next(row for row in by_name("trtllm").support() if row.fits(part, "compressed-tensors", "LlamaForCausalLM"))
    assert row.answer is answer
    assert words in row.words


def test_a_group_may_have_any_name() -> None:
    checkpoint = load(CT)
    groups = checkpoint.block["config_groups"]
    groups["FP8_DYNAMIC"] = groups.pop("group_0")
    assert set(answers(checkpoint)) == {Answer.SUPPORTED}


def _without_first(checkpoint: MutableCheckpoint) -> None:
    groups = checkpoint.block["config_groups"]
    groups["attention"] = groups.pop("group_0")


def _says(code: str, *changes: Damage) -> set[tuple[str, str]]:
    checkpoint = load(GROUPS)
    for change in changes:
        change(checkpoint)
    found = runner.run(context_of(checkpoint), Level.SCALES).findings
    effects = [effect for finding in found if finding.code == code for effect in finding.engines]
    return {(e.outcome.value, e.note) for e in effects if e.engine == "trtllm" and e.current}


def test_of_several_groups_the_first_by_name_counts() -> None:
    """test_update_quant_config_from_compressed_tensors_rejects_ambiguous_groups, and pull request 15415."""
    assert _says("CK616") == {("silent", "applies group_0 to every module")}
    ((outcome, words),) = _says("CK616", _without_first)
    assert outcome == "error" and "exactly one config group" in words
    assert _verdict(GROUPS) != "loads" and _verdict(GROUPS, _without_first) == "refuses"


def _in_blocks(checkpoint: MutableCheckpoint) -> None:
    """A second group, of another scheme, for some layers."""
    groups = checkpoint.block["config_groups"]
    groups["group_0"]["targets"] = [r"re:.*self_attn.*"]
    groups["group_1"] = json.loads(json.dumps(groups["group_0"])) | {"targets": [r"re:.*mlp.*"]}


def _of_another_scheme(checkpoint: MutableCheckpoint) -> None:
    _in_blocks(checkpoint)
    inputs = checkpoint.block["config_groups"]["group_1"]["input_activations"]
    inputs.update(strategy="tensor", dynamic=True)


def test_several_groups_of_one_scheme_are_one() -> None:
    """Which of them counts is no matter; of two schemes it is, and validate says so to who asks."""
    assert _verdict(CT, _in_blocks) == "loads"
    assert _verdict(CT, _in_blocks, _without_first) == "refuses"
    found = load(CT)
    _of_another_scheme(found)
    said = answers(found)
    assert any("group_0 to every module" in words for words in said[Answer.SILENT])


def test_targets_are_not_looked_at() -> None:
    """What no list names is built quantized, whatever a target says."""
    checkpoint = load(CT)
    checkpoint.group["targets"] = [r"re:.*mlp\..*"]
    high_precision(r"model\.layers\.\d+\.self_attn\.\w+_proj")(checkpoint)
    rows = {row.engine: row for row in matrix_of(checkpoint).rows}
    assert (rows["vllm"].verdict, rows["trtllm"].verdict) == ("loads", "silently wrong")
    assert rows["trtllm"].codes == {"silent": ("CK608",)}


def test_blocks_of_other_sizes_do_not_fit_its_grid() -> None:
    """Its reader looks at the groups of inputs alone; the parameter for scales is one for 128x128."""
    found = group({"strategy": "block", "block_structure": [64, 64]}, {"strategy": "group", "group_size": 128})
    assert set(found) == {Answer.REFUSED} and all("other blocks" in words for words in found[Answer.REFUSED])


@pytest.mark.parametrize(
    ("change", "answer", "words"),
    [
        ({}, Answer.SUPPORTED, ""),
        ({"weight_block_size": [64, 128]}, Answer.REFUSED, "only supports block_size=(128,128)"),
    ],
)
def test_blocks_of_the_method_fp8(change: dict[str, Any], answer: Answer, words: str) -> None:
    checkpoint = load("llama-block-aligned/transformers-block")
    set_block(**change)(checkpoint)
    found = answers(checkpoint)
    assert set(found) == {answer}
    assert all(words in said for said in found[answer])


@pytest.mark.parametrize(
    ("fixture", "answer"),
    [
        ("llama/modelopt-fp8", Answer.SUPPORTED),
        ("llama/modelopt-fp8-kv", Answer.SUPPORTED),
        ("llama/modelopt-channel", Answer.SUPPORTED),
        ("llama-block-aligned/modelopt-nvfp4", Answer.SUPPORTED),
        ("llama-block-aligned/modelopt-block", Answer.SUPPORTED),
        ("llama-block-wide/modelopt-block", Answer.SUPPORTED),
        ("llama-block-aligned/modelopt-mxfp8", Answer.UNKNOWN),
    ],
)
def test_exports_of_modelopt(fixture: str, answer: Answer) -> None:
    """Blocks: its reader knows ``fp8_pb_wo``, which exports say."""
    assert set(answers(load(fixture))) == {answer}


@pytest.mark.parametrize("fixture", ["llama-block-aligned/modelopt-block", "llama-block-wide/modelopt-block"])
def test_grids_of_modelopt_fit_linear_layers(fixture: str) -> None:
    """linear.py squeezes what has four dimensions, and copies one value over all blocks; experts are not known to."""
    assert _verdict(fixture) == "loads"
    rows = {layer: effects_of("CK305", only=["trtllm"], layer=layer) for layer in (Layer.FUSED, Layer.EXPERT)}
    assert {layer: row[0].outcome.value for layer, row in rows.items()} == {Layer.FUSED: "ok", Layer.EXPERT: "error"}


def left_alone(listed: dict[str, list[str]]) -> set[str]:
    """The modules that a config's lists leave alone."""
    checkpoint = load(CT)
    set_block(**listed)(checkpoint)
    context = context_of(checkpoint)
    quantized = builds_quantized(context, readings_of(context)["trtllm"])
    modules = [name.removesuffix(".weight") for name in checkpoint.names(r".*_proj\.weight")]
    return {name for name in modules if not quantized(name)}


_MLP = {f"model.layers.0.mlp.{part}_proj" for part in ("gate", "up", "down")}


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        ({"ignore": ["model.layers.0.mlp"]}, _MLP),
        ({"ignore": ["model.layers.0.mlp.*"]}, _MLP),
        ({"ignore": [r"re:model\.layers\.0\.mlp"]}, _MLP),
        ({"ignore": [r"re:.*layers\.0\.mlp\.d"]}, set()),
        ({"ignore": [r"re:.*layers\.0\.mlp\.down_proj$"]}, {"model.layers.0.mlp.down_proj"}),
        ({"ignore": ["model.layers.0.ml"]}, set()),
        (
            {"ignore": ["model.layers.0.mlp.gate_up_proj"]},
            {f"model.layers.0.mlp.{part}_proj" for part in ("gate", "up")},
        ),
        (
            {"modules_to_not_convert": ["model.layers.0.mlp.down_proj"], "ignore": ["*layers.0.self_attn.o_proj"]},
            {"model.layers.0.mlp.down_proj", "model.layers.0.self_attn.o_proj"},
        ),
    ],
)
def test_skip_lists_of_one_group(listed: dict[str, list[str]], expected: set[str]) -> None:
    """A module is left alone with everything in it, by a shell pattern or a regular expression for its whole name."""
    assert left_alone({"modules_to_not_convert": [], "ignore": [], **listed}) == expected


def _verdict(base: str, *changes: Damage) -> str:
    checkpoint = load(base)
    for change in changes:
        change(checkpoint)
    return next(row.verdict for row in matrix_of(checkpoint).rows if row.engine == "trtllm")


def test_plain_fp8_by_tensor() -> None:
    """Static inputs are read as blocks with one scale; with dynamic ones layers are built plain."""
    assert _verdict(QUARK_CUSTOM) == "loads"
    plain = high_precision(r"model\.layers\.\d+\.\w+\.\w+_proj")
    assert _verdict(QUARK_CUSTOM, plain) == "silently wrong"
    assert _verdict(QUARK_CUSTOM, plain, set_block(activation_scheme="dynamic")) == "loads"


def test_of_plain_fp8_one_list_counts() -> None:
    """Pull request 17551 (2026-08) would have had ``ignored_layers`` read too, and was closed."""
    down = high_precision(r"model\.layers\.0\.mlp\.down_proj")
    assert _verdict(QUARK_CUSTOM, down, set_block(modules_to_not_convert=["model.layers.0.mlp.down_proj"])) == "loads"
    listed = set_block(ignored_layers=["lm_head", "model.layers.0.mlp.down_proj"])
    assert _verdict(QUARK_CUSTOM, down, listed) == "silently wrong"


@pytest.mark.parametrize("key", ["ignore", "exclude_modules"])
def test_both_layouts_of_modelopt_are_read(key: str) -> None:
    """test_parse_legacy_and_flat_produce_equal_structs."""
    reading = by_name("trtllm").skip_list("modelopt")
    assert reading is not None
    listed = ["lm_head", "model.embed_tokens"]
    block = {"ignore": listed} if key == "ignore" else {"quantization": {"exclude_modules": listed}}
    assert list(reading.entries(block)) == listed


def test_what_is_built_plain_whatever_the_config_says() -> None:
    router = quantize(r"model\.layers\.0\.mlp\.gate", lambda rows: ())
    inputs = put("model.layers.0.mlp.gate.input_scale", "F32", (), f32(0.01))

    def declared(checkpoint: MutableCheckpoint) -> None:
        checkpoint.files.pop("hf_quant_config.json")
        checkpoint.block["ignore"].remove("model.layers.0.mlp.gate")

    assert _verdict("qwen3_moe/modelopt-fp8", router, inputs, declared) == "silently wrong"


@pytest.mark.parametrize("layer", [Layer.EMBEDDING, Layer.ROUTER])
def test_what_is_built_plain_is_so_in_blocks_too(layer: Layer) -> None:
    """embedding.py and modeling_qwen3_moe.py look at no block size; unknown is what they leave open."""

    def said(kind: Layer) -> Support:
        inputs = Quantization(PerGroup(128), dynamic=True)
        part = Part(kind, Quantization(PerBlock(128, 128)), inputs, "x")
        return next(r for r in by_name("trtllm").support() if r.fits(part, "fp8-block", "Qwen3MoeForCausalLM"))

    assert said(layer).answer is Answer.SILENT
    assert said(Layer.TOWER).answer is Answer.UNKNOWN and said(Layer.TOWER).words


def _mxfp8(checkpoint: MutableCheckpoint) -> None:
    groups_of_32(checkpoint, ["lm_head"])


def test_groups_of_32_have_a_method_of_their_own() -> None:
    """test_load_mxfp8_hf_quant_config, and pull request 14962: scales are called weight_scale_inv."""
    checkpoint = load(BLOCK)
    _mxfp8(checkpoint)
    assert answers(checkpoint) == {Answer.SUPPORTED: {""}}
    assert _verdict(BLOCK, _mxfp8) == "loads"


def test_lists_of_groups_of_32_are_those_of_plain_fp8() -> None:
    """The same test: ignored_layers are left alone."""
    checkpoint = load(BLOCK)
    groups_of_32(checkpoint, ["lm_head", "model.layers.0.mlp.down_proj"])
    context = context_of(checkpoint)
    quantized = builds_quantized(context, readings_of(context)["trtllm"])
    assert [quantized(f"model.layers.{number}.mlp.down_proj") for number in (0, 1)] == [False, True]


def _modelopt_rows(entry: dict[str, Any], layer: Layer = Layer.LINEAR) -> list[Support]:
    """The rows for what a module is declared to be, those of later releases left out."""
    section = {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "quantized_layers": {"x": entry}}
    config = modelopt.parse(section, "config.json", "config.json")
    (declared,) = config.layers.values()
    assert isinstance(declared, OtherScheme)
    part, engine = Part(layer, Quantization(PerTensor()), None, "x", declared), by_name("trtllm")
    rows = [row for row in engine.support() if row.fits(part, "modelopt", "LlamaForCausalLM")]
    return [row for row in rows if row.versions is None or row.versions.holds(engine.release)]


@pytest.mark.parametrize(
    ("algorithm", "size", "answer"),
    [
        ("NVFP4", None, Answer.SUPPORTED),
        ("NVFP4", 16, Answer.SUPPORTED),
        ("NVFP4", 32, Answer.REFUSED),
        ("W4A16_NVFP4", None, Answer.SUPPORTED),
        ("W4A16_NVFP4", 16, Answer.SUPPORTED),
        ("W4A16_NVFP4", 32, Answer.REFUSED),
        ("W4A16_NVFP4", 64, Answer.REFUSED),
        ("W4A16_NVFP4", 128, Answer.REFUSED),
        ("W4A8_NVFP4_FP8", None, Answer.SUPPORTED),
        ("W4A8_NVFP4_FP8", 32, Answer.SUPPORTED),
        ("W4A8_NVFP4_FP8", 128, Answer.SUPPORTED),
        ("W8A16", None, Answer.UNKNOWN),
    ],
)
def test_modelopt_in_four_bits(algorithm: str, size: int | None, answer: Answer) -> None:
    """test_modelopt_quant_config_accepts_supported_nvfp4_group_sizes, ..._rejects_unsupported_nvfp4_group_size and
    ..._preserves_w4a8_nvfp4_fp8_group_size; W4A16 is of pull request 16511, groups of 32 of 19091 (2026-09)."""
    rows = _modelopt_rows({"quant_algo": algorithm} | ({"group_size": size} if size else {}))
    assert (rows[0].answer if rows else Answer.UNKNOWN) is answer


def test_groups_of_32_come_with_a_later_release() -> None:
    later = [row for row in by_name("trtllm").support() if row.groups == (32,)]
    assert [(row.answer, row.since) for row in later] == [(Answer.SUPPORTED, ("2026-09",))]


@pytest.mark.parametrize(("size", "answer"), [(16, Answer.UNKNOWN), (32, Answer.REFUSED)])
def test_experts_have_no_weight_only_groups_of_32(size: int, answer: Answer) -> None:
    """test_modelopt_rejects_32_element_nvfp4_experts_before_backend_selection."""
    rows = _modelopt_rows({"quant_algo": "W4A16_NVFP4", "group_size": size}, Layer.EXPERT)
    assert (rows[0].answer if rows else Answer.UNKNOWN) is answer


@pytest.mark.parametrize("word", ["fp8_pb_wo", "FP8_BLOCK_SCALES"])
def test_blocks_have_two_names(word: str) -> None:
    checkpoint = load("llama-block-aligned/modelopt-block")
    checkpoint.files.pop("hf_quant_config.json", None)
    set_block(quant_algo=word)(checkpoint)
    assert set(answers(checkpoint)) == {Answer.SUPPORTED}


@pytest.mark.parametrize(("fixture", "answer"), [("modelopt-channel", "refuses"), ("modelopt-fp8", "loads")])
def test_experts_by_channel_have_no_method(fixture: str, answer: str) -> None:
    """Its experts know tensors, blocks, NVFP4, MXFP4, MXFP8 and integers: ValueError: unsupported quantization mode."""
    assert _verdict(f"qwen3_moe/{fixture}") == answer


@pytest.mark.parametrize(("key", "value"), [("num_bits", 4), ("type", "int")])
def test_a_cache_of_other_numbers_is_refused(key: str, value: Any) -> None:
    """test_update_quant_config_from_compressed_tensors_rejects_kv_cache_scheme."""

    def other(checkpoint: MutableCheckpoint) -> None:
        checkpoint.block["kv_cache_scheme"][key] = value

    assert _verdict(DYNAMIC_KV) == "loads"
    assert _verdict(DYNAMIC_KV, other) == "refuses"


def _on(base: str, gpu: str) -> str:
    context = context_of(load(base))
    report = runner.run(context, Level.SCALES)
    (row,) = build_matrix(context, report, gpu=gpus.by_name(gpu), engines=("trtllm",)).rows
    return row.verdict


def test_hardware_that_threads_tell_of_is_never_said_to_load() -> None:
    """Issue 3554: the row-wise format is not supported on Blackwell; a kernel came since, of which too little is known.

    Issues 5581 (blocks on sm_120, 2025) and 2229 (by channel on sm_89, of another backend) were answered by operators
    that dispatch to these.
    """
    assert _on(CT, "b200") == "unknown"
    assert _on(BLOCK, "rtx-pro-6000") == _on(CT, "rtx4090") == "loads"


@pytest.mark.parametrize(
    ("question", "has", "refused"),
    [
        (Question(Layer.LINEAR, "modelopt", "per-tensor", "static per-tensor"), {89, 90, 100, 103, 120}, set()),
        (Question(Layer.LINEAR, "modelopt", "per-channel", "dynamic per-token"), {89, 90, 120}, {80, 86}),
        (Question(Layer.LINEAR, "fp8-block", "per-block", "dynamic per-group"), {89, 90, 100, 103, 120}, {80, 86}),
        (Question(Layer.EXPERT, "modelopt", "per-tensor", "static per-tensor"), {89, 90, 100, 103, 120}, set()),
        (Question(Layer.EXPERT, "fp8-block", "per-block", "dynamic per-group"), {90, 100, 103, 120}, set()),
        (Question(Layer.EXPERT, "modelopt", other="NVFP4"), {100, 103, 120}, set()),
        (Question(Layer.EXPERT, "compressed-tensors", other="MXFP4"), {90, 100, 103, 120}, set()),
        (Question(Layer.EXPERT, "mxfp8", other="MXFP8"), {100, 103}, set()),
        (Question(Layer.LINEAR, "mxfp8", other="MXFP8"), {100, 103}, set()),
    ],
    ids=str,
)
def test_what_its_operators_dispatch_to(question: Question, has: set[int], refused: set[int]) -> None:
    """fp8_block_scaling_gemm and CutlassFp8RowwiseGemmRunner name the kinds of hardware, and so do experts' tables.

    Linear layers in groups of 32: pull request 14962, and test_mxfp8_linear.py, whose operator is that of sm_100.
    """
    found: dict[Answer, set[int]] = {}
    for gpu in gpus.GPUS:
        if gpu.capability in gpus.NVIDIA:
            answer = question.judged(by_name("trtllm"), gpu).answer
            found.setdefault(answer, set()).add(int(gpu.capability.removeprefix("sm_")))
    assert found.get(Answer.SUPPORTED, set()) == has and found.get(Answer.REFUSED, set()) == refused


@pytest.mark.parametrize(("gpu", "answer"), [("h100", Answer.SLOW), ("l4", Answer.SLOW), ("rtx5090", Answer.UNKNOWN)])
def test_linear_layers_in_groups_of_32_without_their_operator(gpu: str, answer: Answer) -> None:
    """test_mxfp8_linear_reference_matches_dequant wants CUDA alone, and is held against weights that are dequantized;
    on sm_120 its gate differs from one commit to the next."""
    question = Question(Layer.LINEAR, "mxfp8", other="MXFP8")
    assert question.judged(by_name("trtllm"), gpus.by_name(gpu)).answer is answer


def test_why_groups_of_32_of_modelopt_are_not_known() -> None:
    """test_mxfp8_dispatch_returns_mxfp8_method: the algorithm's name is enough for the method. All tests give that
    weight_scale_inv, and ModelOpt's exports have weight_scale."""
    (words,) = answers(load("llama-block-aligned/modelopt-mxfp8"))[Answer.UNKNOWN]
    assert "weight_scale_inv" in words


def test_rows_on_blackwell_are_not_known_for_a_reason() -> None:
    judged = Question(Layer.LINEAR, "modelopt", "per-channel", "dynamic per-token").judged(
        by_name("trtllm"), gpus.by_name("b200")
    )
    assert (judged.answer, "refuses this hardware" in judged.words) == (Answer.UNKNOWN, True)


#: trtllm_serve_cli.yaml, which the command's own test holds against it.
SERVE_OPTIONS = {"--kv_cache_dtype", "--tp_size", "--trust_remote_code", "--revision"}


def test_its_command_has_these_options() -> None:
    launch = by_name("trtllm").launch
    assert launch is not None and launch.kv_cache[1:] == ("fp8",)
    given = {launch.kv_cache[0], launch.tensor_parallel, launch.remote_code, launch.revision}
    assert given == SERVE_OPTIONS and launch.command == ("trtllm-serve", "serve")


@pytest.mark.parametrize(
    ("fixture", "minimum"),
    [
        ("llama/modelopt-fp8", ()),
        ("llama/modelopt-channel", ("1.0, for per-channel weights and dynamic per-token inputs",)),
        ("llama-block-aligned/modelopt-block", ("1.0, for per-block 128x128 weights and dynamic per-group inputs",)),
    ],
)
def test_from_which_release_on(fixture: str, minimum: tuple[str, ...]) -> None:
    """Its release notes of 1.0: row-wise products in the torch flow, and ModelOpt's fp8_pb_wo."""
    context = context_of(load(fixture))
    (row,) = build_matrix(context, runner.run(context, Level.SCALES), engines=("trtllm",)).rows
    assert (row.verdict, row.minimum) == ("loads", minimum)


def test_every_fact_has_a_place_and_a_date() -> None:
    """A commit that is known, a pull request with its month, or the year of a text."""
    engine = by_name("trtllm")
    known = [row for rows in engine.outcomes().values() for row in rows]
    places = {row.where for row in (*known, *engine.support(), *engine.kernels())}
    known_places = (SAFETENSORS, CONFIGS, *(f"at {source.commit} ({source.date})" for source in SOURCES))
    dated = re.compile("|".join((*map(re.escape, known_places), r"pull request \d+ \(20\d\d(-\d\d)?\)", "of 2026")))
    assert {place for place in places if not dated.search(place)} == set()
