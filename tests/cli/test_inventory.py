"""``ckptkit inspect`` of whatever it is given, and what the other commands make of what is not FP8."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

import ckptkit
from ckptkit.checks import schema
from ckptkit.checks.finding import Severity
from ckptkit.errors import UnsupportedFormat
from ckptkit.model.inventory import Inventory, Kind
from ckptkit.model.summary import Summary
from ckptkit.report import inventory_text, text
from tests.cli.conftest import REAL, Run
from tests.formats import others
from tests.raw import write_files

BF16 = REAL / "llama/bf16"
#: The rules that may speak of what has no reader: those of files, and those that say what it is.
ABOUT_FILES = "CK1"
WHAT_IT_IS = {"CK600", "CK623"}


def parts_of(found: Inventory) -> dict[str, str]:
    return {part.name: part.what for part in found.parts}


@pytest.mark.parametrize("name", others.METHODS)
def test_methods_are_named_and_counted(name: str, run: Run, tmp_path: Path) -> None:
    files, words, parameters = others.METHODS[name]
    folder = write_files(tmp_path / "model", files)
    found = ckptkit.inspect(folder)
    assert words in found.quantization
    assert found.parameters == parameters
    assert found.tensors == sum(kind.tensors for kind in found.tally.kinds)
    sizes = {kind.kind: kind.parameters for kind in found.tally.kinds}
    assert (sizes[Kind.EMBEDDING], sizes[Kind.NORM], sizes[Kind.BIAS]) == (64 * 32, 32, 64)
    outcome = run("inspect", folder, "--json")
    assert outcome.code == 0
    assert schema.faults("summary", outcome.json, file="summary") == []
    assert (outcome.json["format"], outcome.json["parameters"]) == (None, parameters)
    shown = run("inspect", folder)
    assert shown.code == 0 and words in shown.out and ("unknown number" in shown.out) == (parameters is None)


@pytest.mark.parametrize("name", others.READ)
def test_floats_with_scales_of_groups_are_read_and_judged(name: str, run: Run, tmp_path: Path) -> None:
    files, words, parameters = others.READ[name]
    folder = write_files(tmp_path / "model", files)
    outcome = run("inspect", folder, "--json")
    assert outcome.code == 0 and outcome.json["format"] is not None and outcome.json["parameters"] == parameters
    assert words in run("inspect", folder).out
    assert not {finding.code for finding in ckptkit.validate(folder, level="full").findings} & WHAT_IT_IS
    assert run("convert", folder, tmp_path / "out", "--to", "bf16").code == 0
    assert run("diff", folder, folder).code == 0


@pytest.mark.parametrize("name", others.METHODS)
def test_no_rule_about_fp8_and_no_fix_runs_on_them(name: str, run: Run, tmp_path: Path) -> None:
    files, *_ = others.METHODS[name]
    folder = write_files(tmp_path / "model", files)
    report = ckptkit.validate(folder, level="full")
    codes = {finding.code for finding in report.findings}
    assert {code for code in codes if not code.startswith(ABOUT_FILES)} <= WHAT_IT_IS
    assert not report.clean, "what was not judged is not called valid"
    assert codes & WHAT_IT_IS
    before = {path: path.read_bytes() for path in folder.iterdir()}
    fixes = ckptkit.fix(folder, unsafe_fixes=True).fixes
    assert fixes is not None and fixes.applied == () and not fixes.changes
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    errors = {finding.code for finding in report.errors}
    assert errors == {"unheard of": {"CK623"}, "no config": {"CK116"}}.get(name, set())


def test_every_command_has_one_exit_code_for_what_is_not_fp8(run: Run, tmp_path: Path) -> None:
    for name in ("gptq", "packed integers", "mlx", "not quantized", "gptq undeclared"):
        folder = write_files(tmp_path / name, others.METHODS[name][0])
        codes = {
            "inspect": run("inspect", folder).code,
            "validate": run("validate", folder).code,
            "matrix": run("validate", folder, "--matrix").code,
            "convert": run("convert", folder, tmp_path / "out", "--to", "ct").code,
            "card": run("card", folder).code,
            "diff": run("diff", folder, folder).code,
        }
        diff = 0 if name == "not quantized" else 2  # it may be the base of a quantization; nothing is read of others
        assert codes == {"inspect": 0, "validate": 1, "matrix": 1, "convert": 2, "card": 2, "diff": diff}, name
        (finding,) = [f for f in ckptkit.validate(folder).findings if f.code == "CK600"]
        assert finding.severity is Severity.WARNING and "only its files were judged" in finding.message
    assert run("validate", BF16).code == 1
    assert run("validate", BF16, "--ignore", "CK600").code == 0


def test_an_adapter_is_one(tmp_path: Path) -> None:
    found = ckptkit.inspect(write_files(tmp_path / "lora", others.LORA))
    assert found.what == "LoRA adapter of rank 8 for org/base"
    assert (found.tensors, found.parameters) == (2, 8 * 32 + 64 * 8)
    report = ckptkit.validate(tmp_path / "lora")
    assert "LoRA adapter" in str([finding.help for finding in report.findings]) and report.errors == ()


def test_mistrals_own_format(tmp_path: Path) -> None:
    found = ckptkit.inspect(write_files(tmp_path / "plain", others.MISTRAL))
    assert (found.what, found.quantization) == ("model in Mistral's own format", "not quantized (BF16)")
    folder = write_files(tmp_path / "fp8", others.MISTRAL_FP8)
    found = ckptkit.inspect(folder)
    assert found.quantization == "qformat_weight fp8_e4m3, qscheme_act TENSOR (params.json)"
    assert {finding.code for finding in ckptkit.validate(folder).errors} == set()
    with pytest.raises(UnsupportedFormat, match=r"params\.json"):
        ckptkit.open(folder)


def test_mistrals_files_beside_a_model_are_said(tmp_path: Path) -> None:
    files = {**others.METHODS["not quantized"][0], "params.json": others.MISTRAL["params.json"]}
    found = ckptkit.inspect(write_files(tmp_path / "model", files))
    assert found.what == "model" and found.notes == ("beside it lies params.json",)


def test_a_pipeline_is_the_sum_of_its_components(run: Run, tmp_path: Path) -> None:
    folder = write_files(tmp_path / "sd", others.DIFFUSERS)
    found = ckptkit.inspect(folder)
    assert found.what == "diffusers pipeline, StableDiffusionPipeline"
    assert parts_of(found) == {"text_encoder": "CLIPTextModel", "unet": "UNet2DConditionModel"}
    assert (found.shards, found.tensors, found.parameters) == (2, 3, 4 * 4 * 9 + 32 + 64)
    assert schema.faults("summary", run("inspect", folder, "--json").json, file="summary") == []
    outcome = run("validate", folder)
    assert outcome.code == 1 and f"{folder}/text_encoder: 1 warning" in outcome.out
    assert outcome.out.endswith("2 checkpoints: 0 clean, 2 with 2 warnings\n")


def test_models_below_a_model_are_parts_of_it(tmp_path: Path) -> None:
    found = ckptkit.inspect(write_files(tmp_path / "st", others.SENTENCES))
    assert (found.what, parts_of(found)) == ("sentence-transformers model", {"2_Dense": "checkpoint"})
    assert found.parameters == others.PARAMETERS
    assert [part.tally.parameters for part in found.parts if part.tally] == [16 * 32]


def test_gguf_alone_and_beside(run: Run, tmp_path: Path) -> None:
    alone = write_files(tmp_path / "alone", others.GGUF)
    outcome = run("inspect", alone)
    assert outcome.code == 0 and "GGUF file" in outcome.out and "model-Q4_K_M.gguf" in outcome.out
    beside = write_files(tmp_path / "beside", {**others.METHODS["not quantized"][0], **others.GGUF})
    (part,) = ckptkit.inspect(beside).parts
    assert (part.name, part.what, part.nbytes) == ("model-Q4_K_M.gguf", "GGUF file", 1000)
    empty = write_files(tmp_path / "empty", {"README.md": b""})
    assert run("inspect", empty).code == 2


def test_a_folder_of_checkpoints_is_a_list_with_a_hint(run: Run, tmp_path: Path) -> None:
    for name in ("gptq", "awq"):
        write_files(tmp_path / "all" / name, others.METHODS[name][0])
    found = ckptkit.inspect(tmp_path / "all")
    assert found.what == "folder of 2 checkpoints" and found.tensors == 0
    assert [part.name for part in found.parts] == ["awq", "gptq"]
    assert "AWQ, 4-bit" in str(found.parts[0].quantization)
    assert f"give one of them, {tmp_path / 'all' / 'awq'}" in found.notes[0]
    outcome = run("convert", "quark:ct", tmp_path / "all", tmp_path / "out")
    assert outcome.code == 2 and "2 checkpoints lie in it (awq, gptq): give one of them" in outcome.err


def test_the_cache_of_the_hub_stands_for_its_snapshot(run: Run, tmp_path: Path) -> None:
    home = tmp_path / "models--org--name"
    write_files(home / "snapshots" / "aaa", others.METHODS["gptq"][0])
    assert "GPTQ" in ckptkit.inspect(home).quantization
    write_files(home / "snapshots" / "bbb", others.METHODS["awq"][0])
    outcome = run("inspect", home)
    assert outcome.code == 2 and "2 snapshots" in outcome.err and f"{home}/snapshots/aaa" in outcome.err
    write_files(home, {"refs/main": b"bbb"})
    assert "AWQ" in ckptkit.inspect(home).quantization
    assert run("validate", home).code == 1
    assert run("inspect", write_files(tmp_path / "models--org--none", {"snapshots/x": b""})).code == 2


def test_fp8_weights_without_a_config_are_counted(run: Run, tmp_path: Path) -> None:
    data = (REAL / "llama/quark-ptpc/model.safetensors").read_bytes()
    folder = write_files(tmp_path / "model", {"model.safetensors": data})
    outcome = run("inspect", folder)
    assert outcome.code == 0 and "FP8 weights, but the folder has no config.json" in outcome.out
    assert ckptkit.inspect(folder).parameters == ckptkit.inspect(REAL / "llama/quark-ptpc").parameters
    assert {finding.code for finding in ckptkit.validate(folder).errors} == {"CK116", "CK601"}


def test_a_config_that_cannot_be_understood_hides_no_tensor(run: Run, tmp_path: Path) -> None:
    files = {path.name: path.read_bytes() for path in (REAL / "llama/llmcompressor-dynamic").iterdir()}
    files["config.json"] = files["config.json"].replace(b'"strategy": "channel"', b'"strategy": "rows"')
    found = ckptkit.inspect(write_files(tmp_path / "model", files))
    assert not isinstance(found, Summary) and "cannot be understood" in found.quantization
    assert found.tensors == 35 and "ckptkit validate says what is wrong" in found.notes


def test_scales_experts_and_packed_groups_of_what_is_read() -> None:
    found = ckptkit.inspect(REAL / "qwen3_moe/quark-ptpc")
    kinds = {kind.kind: kind for kind in found.tally.kinds}
    assert kinds[Kind.SCALE].parameters == 0 and kinds[Kind.EXPERT].tensors and kinds[Kind.NORM].tensors
    packed = ckptkit.inspect(REAL / "llama-block-aligned/modelopt-nvfp4")
    plain = ckptkit.inspect(REAL / "llama-block-aligned/modelopt-block")
    assert packed.parameters == plain.parameters
    base = ckptkit.inspect(BF16)
    assert base.parameters == ckptkit.inspect(REAL / "llama/quark-ptpc").parameters


@pytest.mark.parametrize("folder", [REAL / "llama/quark-fp8-kv", REAL / "gemma3/quark-fp8-kv", BF16])
def test_terminals_of_sixty_columns_are_not_overrun(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    out = Console(file=io.StringIO(), force_terminal=True, width=60, color_system=None, soft_wrap=True)
    monkeypatch.setattr(inventory_text, "console", lambda: out)
    found = ckptkit.inspect(folder)
    inventory_text.show_inventory(found)
    assert isinstance(out.file, io.StringIO)
    lines = out.file.getvalue().splitlines()
    prose = [line for line in lines[1:] if not line.lstrip()[:1].isdigit() and not line.startswith(" count")]
    long = [line for line in prose if len(line) > 60]
    assert prose and long == []
    text.console.cache_clear()
