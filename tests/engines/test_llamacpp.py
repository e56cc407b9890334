"""llama.cpp's converter: configs whose answers public threads give, what changed between builds, and that nobody hears
of it who did not ask. ``tests/accuracy`` holds what two builds did with the whole corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import ckptkit
from ckptkit.checks import runner
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import Level
from ckptkit.checks.runner import Report
from ckptkit.engines.gpus import GPUS
from ckptkit.engines.gpus import by_name as gpu_by_name
from ckptkit.engines.registry import asked_about, by_name, effects_of, engines, judged_codes
from ckptkit.errors import UsageError
from ckptkit.views.matrix import MatrixRow, build_matrix
from tests.accuracy.verdicts import at_release
from tests.damage import (
    BLOCK,
    CT,
    CT_FP8,
    CT_KV,
    GROUPS,
    MOE,
    QUARK,
    REAL,
    Damage,
    MutableCheckpoint,
    drop,
    load,
    plain_fp8,
    put,
    rename,
    set_block,
    set_config,
    shape,
    steps,
    values,
)
from tests.rules.case import context_of

ASKED = ("llamacpp",)
MODELOPT, NVFP4, TRANSFORMERS = (
    "llama/modelopt-fp8",
    "llama-block-aligned/modelopt-nvfp4",
    "llama-block-aligned/transformers-block",
)
_Q = r"model\.layers\.0\.self_attn\.q_proj"


def _same(checkpoint: MutableCheckpoint) -> None:
    return


def judged(checkpoint: MutableCheckpoint, **more: Any) -> tuple[Report, MatrixRow]:
    context = context_of(checkpoint)
    report = runner.run(context, Level.SCALES, engines=ASKED)
    (row,) = build_matrix(context, report, engines=ASKED, **more).rows
    return report, row


def changed(fixture: str, change: Damage) -> MutableCheckpoint:
    checkpoint = load(fixture)
    change(checkpoint)
    return checkpoint


@pytest.mark.parametrize(
    ("fixture", "change", "verdict", "words"),
    [
        # ggml-org/llama.cpp#17069: float-quantized by channel and in blocks, and plain fp8 in blocks.
        (CT, _same, "loads", ""),
        (BLOCK, _same, "loads", ""),
        (BLOCK, plain_fp8, "loads", ""),
        (TRANSFORMERS, _same, "loads", ""),
        (MOE, _same, "loads", ""),
        # #23124: FP8 by tensor, with the names of vLLM, was asked for and is not there.
        (CT_FP8, _same, "refuses", 'assert strategy == "channel"'),
        # #22356: static inputs of ModelOpt.
        (MODELOPT, _same, "loads", ""),
        ("llama/modelopt-fp8-kv", _same, "loads", ""),
        (NVFP4, _same, "loads", ""),
        ("llama-block-aligned/modelopt-mxfp8", _same, "refuses", "Attempting to broadcast"),
        (GROUPS, _same, "refuses", "CK616"),
        (QUARK, _same, "does not read", "Quant method is not yet supported: 'quark'"),
        (CT_KV, _same, "refuses", "assert strategy"),
        ("llama/llmcompressor-dynamic-kv", _same, "refuses", "k_scale"),
        ("llama/llmcompressor-dynamic-kv", drop(r".*\.[kv]_scale"), "loads", ""),
        (CT, set_config(architectures=["MadeUpForCausalLM"]), "refuses", "Model MadeUpForCausalLM is not supported"),
        (CT, lambda c: c.block.pop("format"), "refuses", "KeyError: 'format'"),
        (CT, lambda c: c.config.pop("quantization_config"), "refuses", "Can not map tensor"),
        ("llama/bf16", _same, "loads", ""),
        (CT, rename(r"model\.(.*)", r"language_model.model.\1"), "loads", ""),
        (CT, rename(r"(.*)", r"base_model.model.\1"), "refuses", "Can not map tensor 'base_model.model"),
        (CT, drop(r"model\.layers\.1\.mlp\.up_proj\..*"), "silently wrong", "nothing fills model.layers.1.mlp.up_proj"),
        (
            CT,
            rename(r"(.*)\.gate_proj\.(.*)", r"\1.gate_up_proj.\2"),
            "silently wrong",
            "nothing fills model.layers.0.mlp.gate_proj",
        ),
        (CT, drop(rf"{_Q}\.weight_scale"), "silently wrong", "CK201"),
        (CT, shape(rf"{_Q}\.weight_scale", -1), "loads", ""),
        (CT, shape(rf"{_Q}\.weight_scale", 1, -1), "refuses", "CK301"),
        (CT, put(f"{_Q}.scale".replace("\\", ""), "BF16", (1,), bytes(2)), "refuses", "q_proj.scale"),
        (CT, put("model.layers.0.mlp.router.scale", "BF16", (1,), bytes(2)), "refuses", "router.scale"),
    ],
)
def test_what_it_makes_of_a_checkpoint(fixture: str, change: Damage, verdict: str, words: str) -> None:
    _, row = judged(changed(fixture, change))
    assert row.verdict == verdict, row.why
    assert any(words in reason for reason in row.why) or not words


@pytest.mark.parametrize(
    ("fixture", "change", "older", "newer"),
    [
        (MODELOPT, _same, "refuses", "loads"),
        (MODELOPT, drop(r".*\.input_scale"), "loads", "loads"),
        (NVFP4, _same, "silently wrong", "loads"),
        ("llama-block-aligned/transformers-block-ue8m0", _same, "refuses", "loads"),
        (MODELOPT, steps(drop(r".*\.input_scale"), drop(rf"{_Q}\.weight")), "refuses", "silently wrong"),
        (CT, _same, "loads", "loads"),
    ],
)
def test_builds_differ(fixture: str, change: Damage, older: str, newer: str) -> None:
    checkpoint = changed(fixture, change)
    with at_release("llamacpp", "b8643", {}):
        assert judged(checkpoint)[1].verdict == older
    assert judged(checkpoint)[1].verdict == newer


def test_what_is_thrown_away_may_have_any_defect() -> None:
    checkpoint = changed(MODELOPT, values(rf"{_Q}\.input_scale", -1.0))
    report, row = judged(checkpoint)
    (found,) = (finding for finding in report.findings if finding.code == "CK502")
    assert {effect.engine for effect in found.engines} >= {"vllm"}
    assert "llamacpp" not in {effect.engine for effect in found.engines} and row.verdict == "loads"
    report, row = judged(changed(MODELOPT, values(rf"{_Q}\.weight_scale", float("inf"))))
    assert row.verdict == "silently wrong"


@pytest.mark.parametrize("gpu", [gpu.capability for gpu in GPUS])
def test_hardware_changes_nothing(gpu: str) -> None:
    _, row = judged(load(MODELOPT), gpu=gpu_by_name(gpu))
    assert row.verdict == "loads" and row.parallel == ()
    assert row.kernels and all("by the converter, on a CPU" in kernel for kernel in row.kernels)


@pytest.mark.parametrize("word", ["llama.cpp", "llamacpp", "Llama.CPP"])
def test_it_goes_by_two_names(word: str) -> None:
    assert by_name(word).name == "llamacpp"


def test_nobody_hears_of_it_who_did_not_ask() -> None:
    assert "llamacpp" in engines() and "llamacpp" not in asked_about()
    assert list(asked_about({"llamacpp", "vllm"})) == ["vllm", "llamacpp"]
    for fixture in (CT_FP8, GROUPS, QUARK):
        context = context_of(load(fixture))
        report = runner.run(context, Level.SCALES)
        assert not [e for finding in report.findings for e in finding.engines if e.engine == "llamacpp"]
        assert "llamacpp" not in {row.engine for row in build_matrix(context, report).rows}


def test_what_it_refuses_breaks_no_checkpoint_for_others(tmp_path: Path) -> None:
    folder = REAL / GROUPS
    others, vllm, asked = (ckptkit.validate(folder, engines=names) for names in (None, "vllm", "llama.cpp"))
    assert others.clean and vllm.clean and not asked.clean
    (found,) = (finding for finding in others.findings if finding.code == "CK616")
    assert found.severity is Severity.INFO
    (found,) = (finding for finding in asked.findings if finding.code == "CK616")
    assert found.severity is Severity.WARNING and {e.engine for e in found.engines} == {"llamacpp"}


def test_its_table_makes_no_code_unknown_to_others_and_lacks_none_of_theirs() -> None:
    assert judged_codes() == frozenset[str]().union(*(engine.codes for engine in asked_about().values()))
    assert judged_codes() <= by_name("llama.cpp").codes


def test_a_rule_says_what_its_defect_does_there_too() -> None:
    assert "llamacpp" in {effect.engine for effect in effects_of("CK203")}


def test_serving_gives_the_command_that_converts() -> None:
    found = ckptkit.serving(REAL / CT, engine="llama.cpp")
    name = f"{Path(CT).name}.gguf"
    assert found.command == ("python", "convert_hf_to_gguf.py", str(REAL / CT), "--outfile", name)
    assert f"llama-server -m {name} serves what it writes" in found.notes


@pytest.mark.parametrize(
    ("fixture", "size", "words"),
    [(CT, 2, "converts, and splits nothing"), (CT_FP8, None, "AssertionError"), (QUARK, None, "'quark'")],
)
def test_what_it_does_not_convert_has_no_command(fixture: str, size: int | None, words: str) -> None:
    found = ckptkit.serving(REAL / fixture, engine="llamacpp", tensor_parallel=size)
    assert not found.works and any(words in reason for reason in found.refusals)
    assert not any("llama-server" in note for note in found.notes)


def test_from_the_hub_it_reads_by_itself_and_knows_no_revision() -> None:
    from ckptkit.views.serving import serving

    context = context_of(load(CT))
    report = runner.run(context, Level.HEADERS, engines=ASKED)
    found = serving(context, report, by_name("llama.cpp"), "hf://org/model")
    assert found.command[2:] == ("org/model", "--outfile", "model.gguf", "--remote")
    found = serving(context, report, by_name("llama.cpp"), "hf://org/model@abc")
    assert found.refusals == ("llama.cpp takes no revision of a repository: download org/model at abc first",)


def test_engines_that_are_not_started_are_still_refused() -> None:
    with pytest.raises(UsageError, match="how Quark is started is not known") as caught:
        ckptkit.serving(REAL / QUARK, engine="quark")
    assert caught.value.help == "--for takes vllm, sglang, trtllm, llamacpp"


def test_a_block_that_names_no_method_leaves_scales_over() -> None:
    _, row = judged(changed(CT, set_block(quant_method=None)))
    assert row.verdict == "refuses" and any("weight_scale" in reason for reason in row.why)
