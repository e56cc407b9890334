"""``ckptkit serve``: the command, and the reason for each of its options."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

import ckptkit
from ckptkit.checks import schema
from ckptkit.errors import UsageError
from tests.damage import load

from .conftest import REAL, Run

QUARK_KV, CT_KV, MODELOPT_KV = (
    REAL / "llama" / name for name in ("quark-fp8-kv", "llmcompressor-fp8-kv", "modelopt-fp8-kv")
)


@pytest.mark.parametrize(
    ("folder", "engine", "kv"),
    [
        (QUARK_KV, "vllm", ("--kv-cache-dtype", "fp8")),
        (QUARK_KV, "sglang", ("--kv-cache-dtype", "fp8_e4m3")),
        (CT_KV, "vllm", ()),
        (CT_KV, "sglang", ("--kv-cache-dtype", "fp8_e4m3")),
        (MODELOPT_KV, "vllm", ()),
        (MODELOPT_KV, "sglang", ()),
        (MODELOPT_KV, "trtllm", ()),
        (REAL / "llama" / "quark-fp8-kv-custom", "trtllm", ("--kv_cache_dtype", "fp8")),
        (REAL / "llama" / "llmcompressor-dynamic", "vllm", ()),
    ],
    ids=lambda value: value.name if isinstance(value, Path) else None,
)
def test_the_cache_is_switched_on_where_the_engine_does_not_do_so(
    folder: Path, engine: str, kv: tuple[str, ...]
) -> None:
    found = ckptkit.serving(folder, engine=engine)
    assert found.works and found.command[-len(kv) or None :] == (kv or (*found.command,))
    assert [option.words for option in found.options] == ([kv] if kv else [])
    program = {"trtllm": "trtllm-serve"}.get(engine, engine)
    assert found.command[:2] == (program, "serve") and str(folder) in found.command
    switched = any("by itself: " in note for note in found.notes)
    assert switched == (not kv and folder.name.endswith("kv"))


def test_sizes_that_cannot_be_are_refused_with_the_reason() -> None:
    two, eight = (ckptkit.serving(QUARK_KV, tensor_parallel=size) for size in (2, 8))
    assert two.command[-2:] == ("--tensor-parallel-size", "2")
    assert not eight.works and eight.refusals == ("over 8 devices: 4 attention heads over 8",)
    assert [(size.size, size.works) for size in eight.parallel] == [(1, True), (2, True), (4, True), (8, False)]


def test_where_more_is_said_is_told_where_more_is_said(run: Run) -> None:
    """Of sizes validate says nothing, and of what one engine refuses nothing to who does not ask for that engine."""
    assert "ckptkit validate" not in run("serve", QUARK_KV, "--tp", "8").out
    told = run("serve", CT_KV, "--for", "trtllm").out
    assert "'ckptkit validate --for trtllm' says more" in told and "tensor parallel" not in told
    assert run("validate", CT_KV, "--for", "trtllm").code == 1


def test_what_the_engine_refuses_has_no_command(run: Run, tmp_path: Path) -> None:
    draft = load("llama/quark-ptpc")
    draft.block["global_quant_config"]["input_tensors"] = None
    folder = draft.write(tmp_path / "weight only")
    found = ckptkit.serving(folder)
    assert found.verdict == "refuses" and not found.works and "NotImplementedError" in found.refusals[0]
    done = run("serve", folder)
    assert done.code == 1 and "does not serve" in done.out and "vllm serve" not in done.out


@pytest.mark.parametrize(
    ("key", "value", "said"), [("quant_method", "awq", "no reader for this"), ("config_groups", 3, "could not be read")]
)
def test_what_nobody_judged_is_not_said_to_be_refused(
    key: str, value: object, said: str, run: Run, tmp_path: Path
) -> None:
    """vLLM serves AWQ: that there is no reader here, or that a config is broken, says nothing of the engine."""
    draft = load("llama/llmcompressor-dynamic")
    draft.block[key] = value
    done = run("serve", draft.write(tmp_path / "model"))
    assert done.code == 1 and "was not judged" in done.out and said in done.out and "does not serve" not in done.out


def test_what_is_silently_wrong_has_no_command(tmp_path: Path) -> None:
    draft = load("llama/llmcompressor-dynamic")
    del draft.config["quantization_config"]
    found = ckptkit.serving(draft.write(tmp_path / "bare"), engine="sglang")
    assert found.verdict == "silently wrong" and not found.works and "CK601" in found.refusals[0]


def test_code_of_the_checkpoint_is_let_run_only_where_the_engine_has_no_class(tmp_path: Path) -> None:
    for name, needed in (("LlamaForCausalLM", False), ("StrangeForCausalLM", True)):
        draft = load("llama/llmcompressor-dynamic")
        draft.config["architectures"] = [name]
        draft.config["auto_map"] = {"AutoModelForCausalLM": f"modeling.{name}"}
        found = ckptkit.serving(draft.write(tmp_path / name))
        assert (("--trust-remote-code",) in [option.words for option in found.options]) is needed


def test_unknown_is_said_and_not_taken_for_no() -> None:
    found = ckptkit.serving(REAL / "qwen2_5_vl" / "llmcompressor-dynamic", engine="sglang")
    assert found.works
    assert (found.verdict == "unknown") is any("nobody has seen" in note for note in found.notes)


def test_the_line_can_be_pasted(run: Run, tmp_path: Path) -> None:
    draft = load("llama/llmcompressor-dynamic")
    folder = draft.write(tmp_path / "it's a model; rm -rf")
    done = run("serve", "-q", folder)
    assert shlex.split(done.out) == ["vllm", "serve", str(folder)]


@pytest.mark.parametrize(
    ("engine", "more", "code"),
    [
        ("vllm", ("--tp", 2), 0),
        ("sglang", ("--tp", 8), 1),
        ("vllm", ("--gpu", "h100"), 0),
        ("vllm", ("--gpu", "a100"), 1),
    ],
)
def test_json_is_as_its_schema_says(run: Run, engine: str, more: tuple[object, ...], code: int) -> None:
    done = run("serve", QUARK_KV, "--for", engine, *more, "--json")
    assert done.code == code and schema.faults("serving", done.json, file="stdout") == []
    assert bool(done.json["command"]) is not bool(code)


def test_engines_without_a_command_are_refused() -> None:
    with pytest.raises(UsageError, match="not known") as refused:
        ckptkit.serving(QUARK_KV, engine="quark")
    assert "vllm" in str(refused.value.help)


def test_a_plain_model_needs_no_option(tmp_path: Path) -> None:
    found = ckptkit.serving(load("llama/bf16").write(tmp_path / "plain"))
    assert found.options == ()
