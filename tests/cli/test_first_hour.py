"""What a new user types in the first hour, and what was once answered wrongly or in confusing words: each tested."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import ckptkit
from fixtures.terminal import on_screen
from tests.damage import MutableCheckpoint, load
from tests.formats import others
from tests.raw import write_files

from .conftest import REAL, Outcome, Run, on_terminal, run_process

CLEAN = REAL / "llama" / "quark-ptpc"
NOTES = REAL / "llama" / "quark-fp8-custom"
LAYERS = 80


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings but those that a test writes."""
    monkeypatch.chdir(tmp_path)


def broken_checkpoint() -> MutableCheckpoint:
    """Scales in the wrong rank in every layer: an error that --fix takes away."""
    checkpoint = load("llama/llmcompressor-dynamic")
    checkpoint.change(r".*\.weight_scale", lambda t: t._replace(shape=t.shape[:1]))
    return checkpoint


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    return broken_checkpoint().write(tmp_path / "broken")


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    """80 layers, each with the same fault in each of its 7 modules."""
    checkpoint = broken_checkpoint()
    (tensors,) = checkpoint.shards.values()
    pattern = re.compile(r"(model\.layers\.)0(\..*)")
    for name in [name for name in tensors if pattern.fullmatch(name)]:
        for layer in range(2, LAYERS):
            tensors[pattern.sub(rf"\g<1>{layer}\2", name)] = tensors[name]
    checkpoint.config["num_hidden_layers"] = LAYERS
    return checkpoint.write(tmp_path / "deep")


@pytest.mark.parametrize("name", ["packed integers", "gptq", "awq", "bitsandbytes"])
def test_converting_what_is_not_fp8_says_what_it_is(name: str, run: Run, tmp_path: Path) -> None:
    folder = write_files(tmp_path / "model", others.METHODS[name][0])
    outcome = run("convert", folder, tmp_path / "out", "--to", "ct")
    assert outcome.code == 2 and "not supported" in outcome.err and others.METHODS[name][1].split(",")[0] in outcome.err
    assert "not sound" not in outcome.err and "0 errors" not in outcome.err


def test_a_source_that_is_not_sound_says_so_with_its_errors_and_the_way_out(run: Run, tmp_path: Path) -> None:
    checkpoint = load("llama/llmcompressor-dynamic")
    checkpoint.change(r".*\.weight_scale", lambda t: t._replace(data=b"\xc0\x7f" * (len(t.data) // 2)))
    outcome = run("convert", checkpoint.write(tmp_path / "nan"), tmp_path / "out", "--to", "quark")
    assert outcome.code == 2 and "not sound (14 errors)" in outcome.err
    assert f"ckptkit validate {tmp_path / 'nan'}" in outcome.err and outcome.err.count("\n") < 40


@pytest.mark.parametrize(
    "name", ["not quantized", "gptq", "awq", "packed integers", "mxfp4 undeclared", "bitsandbytes"]
)
def test_anything_is_inspected_and_no_answer_contradicts_itself(name: str, run: Run, tmp_path: Path) -> None:
    folder = write_files(tmp_path / "model", others.METHODS[name][0])
    outcome = run("inspect", folder)
    assert outcome.code == 0 and others.METHODS[name][1] in outcome.out and "tensors" in outcome.out
    outcome = run("validate", folder, "--matrix")
    assert outcome.code == 1 and "CK600" in outcome.out
    assert "unknown format" not in outcome.out and "could not be read" not in outcome.out
    assert "no FP8 format" in outcome.out and "not understood" not in outcome.out


def test_a_broken_config_is_told_from_one_without_a_reader(run: Run, tmp_path: Path) -> None:
    draft = load("llama/llmcompressor-dynamic")
    draft.group["weights"]["strategy"] = "chanel"
    outcome = run("validate", draft.write(tmp_path / "model"), "--matrix")
    assert outcome.out.count("compressed-tensors that is not understood") == 2 and "no FP8 format" not in outcome.out


def test_a_fault_of_80_layers_is_said_once_by_whoever_refuses(run: Run, deep: Path, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", str(deep)], check=True)
    refusals = {
        "convert": run("convert", deep, tmp_path / "out", "--to", "fp8"),
        "upload": run("upload", deep, "org/model"),
        "hook": run("hook", "check", deep / "model.safetensors"),
    }
    for name, outcome in refusals.items():
        assert outcome.code == (1 if name == "hook" else 2) and len(outcome.err.splitlines()) < 40, name
    for name in ("upload", "hook"):
        assert f"(and {LAYERS - 1} like it)" in refusals[name].err, name
        assert "--fix fixes CK301" in refusals[name].err, name
    assert "--no-verify" in refusals["hook"].err and "--force REASON" in refusals["upload"].err
    in_full = run("upload", deep, "org/model", "--verbose")
    assert in_full.err.count("CK301") > 7 * LAYERS


def test_of_several_checkpoints_the_name_comes_first_and_a_total_last(run: Run, broken: Path) -> None:
    lines = run("validate", CLEAN, NOTES, broken).out.splitlines()
    first = {str(path): next(n for n, line in enumerate(lines) if str(path) in line) for path in (CLEAN, NOTES, broken)}
    assert lines[first[str(NOTES)] + 1].startswith("info CK704") and lines[first[str(broken)] + 1].startswith("error")
    assert lines[-1] == "3 checkpoints: 2 clean, 1 with 14 errors"
    quiet = run("validate", CLEAN, NOTES, broken, "-q").out
    assert str(NOTES) in quiet and str(CLEAN) not in quiet and "3 checkpoints" not in quiet


def test_a_folder_of_checkpoints_stands_for_all_in_it(run: Run, tmp_path: Path, broken: Path) -> None:
    shutil.copytree(CLEAN, tmp_path / "all" / "good")
    shutil.move(broken, tmp_path / "all" / "bad")
    outcome = run("validate", tmp_path / "all")
    assert outcome.code == 1 and outcome.out.splitlines()[-1] == "2 checkpoints: 1 clean, 1 with 14 errors"
    documents = run("validate", tmp_path / "all", "--json").json
    assert [Path(document["path"]).name for document in documents] == ["bad", "good"]
    assert run("validate", tmp_path / "all" / "good").out.startswith("clean:")


def test_a_repository_in_the_hubs_cache_is_its_snapshot(run: Run, tmp_path: Path) -> None:
    home = tmp_path / "models--org--name"
    shutil.copytree(CLEAN, home / "snapshots" / "0123abc")
    for command in ("inspect", "validate"):
        assert run(command, home).code == 0
    assert "quark (native)" in run("inspect", home).out


def test_what_is_no_checkpoint_is_recognised(run: Run, tmp_path: Path) -> None:
    lora = write_files(tmp_path / "lora", others.LORA)
    assert "LoRA adapter of rank 8" in run("validate", lora).out
    pipeline = write_files(tmp_path / "sd", others.DIFFUSERS)
    assert "diffusers pipeline" in run("inspect", pipeline).out
    page = Path(shutil.copytree(CLEAN, tmp_path / "page"))
    for text in ("<!DOCTYPE html><html><head>", "\n<html>", "<?xml version='1.0'?><Error>"):
        (page / "model.safetensors").write_text(text * 9)
        outcome = run("validate", page)
        assert outcome.code == 1 and "not the shard itself" in outcome.out and "CK101" in outcome.out
    (page / "model.safetensors").write_text('{"error":"Repository not found"}')
    assert "a server's error message" in run("inspect", page).err


def test_a_cut_config_is_one_finding(run: Run, tmp_path: Path) -> None:
    cut = Path(shutil.copytree(CLEAN, tmp_path / "cut"))
    (cut / "config.json").write_bytes((CLEAN / "config.json").read_bytes()[:100])
    outcome = run("validate", cut, "--json")
    assert [finding["code"] for finding in outcome.json["findings"]] == ["CK116"]
    outcome = run("upload", cut, "org/model")
    assert outcome.code == 2 and "CK116" in outcome.err, "and it is still kept from the Hub"


@pytest.mark.parametrize("fixture", ["quark-ptpc", "bf16", "llmcompressor-fp8"])
@pytest.mark.parametrize("text", ['{"model_type": "lla', "", "[]", "<html>", '{"a": 1,}', "\xff"])
def test_a_config_that_is_no_json_says_nothing_about_the_checkpoint(
    fixture: str, text: str, run: Run, tmp_path: Path
) -> None:
    cut = Path(shutil.copytree(REAL / "llama" / fixture, tmp_path / "cut"))
    (cut / "config.json").write_bytes(text.encode("latin-1"))
    codes = [finding["code"] for finding in run("validate", cut, "--json").json["findings"]]
    assert "CK116" in codes and not {"CK600", "CK601", "CK602"} & {*codes}
    assert "this looks like" not in run("validate", cut).out


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("inspekt", "inspect"), ("check", "validate"), ("valdate", "validate"), ("explain", "rule"), ("push", "upload")],
)
def test_a_command_that_is_nearly_right(typed: str, meant: str, run: Run) -> None:
    outcome = run(typed, "model")
    assert outcome.code == 2 and f"did you mean '{meant}'?" in outcome.err


def test_help_and_version_in_every_spelling(run: Run) -> None:
    assert run("version").out == run("--version").out == run("-V").out
    whole = run("--help").out
    assert run("help").out == run("-h").out == run().out == whole
    assert run().code == 0
    assert run("help", "validate").out == run("validate", "--help").out
    assert run("help", "hook", "install").out == run("hook", "install", "--help").out
    assert "did you mean 'golden'" in run("help", "goldn").err


@pytest.mark.parametrize("arrow", ["→", "->", "=>", "-to-", "_to_", " to ", ":", "2", " → "])
def test_every_arrow(arrow: str, run: Run) -> None:
    outcome = run("convert", f"quark{arrow}ct", CLEAN, "--dry-run", "-q")
    assert outcome.code == 0 and outcome.out.startswith("quark (native) → compressed-tensors")


@pytest.mark.parametrize("locale", [{"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}, {"LC_ALL": "C"}])
def test_the_arrow_in_any_locale(locale: dict[str, str]) -> None:
    done = run_process("convert", "quark→ct", CLEAN, "--dry-run", **locale)
    assert done.returncode == 0, done.stderr


def test_an_arrow_that_is_none_is_quoted_back(run: Run) -> None:
    for typed in ("quark/ct", "quark >> ct", "quark~ct"):
        outcome = run("convert", typed, CLEAN, "out")
        assert outcome.code == 2 and f"'{typed}' is not FROM→TO" in outcome.err
        assert "did you mean quark→ct?" in outcome.err
    assert "the target format is not given" in run("convert", CLEAN, "out").err


@pytest.mark.parametrize(
    "options",
    ["--level FULL", "--for vLLM", "--for TensorRT-LLM", "--output-format JSON", "--select ck3", "--color NEVER"],
)
def test_values_in_any_case(options: str, run: Run) -> None:
    assert run("validate", CLEAN, *options.split()).code == int("TensorRT" in options)  # which reads no Quark


def test_formats_and_schemes_in_any_case(run: Run) -> None:
    for options in (["--to", "CT"], ["--to", "Quark"], ["--to", "ct", "--granularity", "Channel"]):
        assert run("convert", CLEAN, "--dry-run", *options).code == 0
    bf16 = REAL / "llama" / "bf16"
    assert run("convert", bf16, "--dry-run", "--to", "ct", "--scheme", "fp8_dynamic").code == 0
    kv = REAL / "llama" / "llmcompressor-fp8-kv"
    assert run("convert", kv, "--dry-run", "--to", "quark", "--mode", "FP8").code == 0


@pytest.mark.parametrize(
    ("arguments", "question"),
    [
        (["validate", CLEAN, "--for", "vlm"], "did you mean 'vllm'?"),
        (["validate", CLEAN, "--level", "ful"], "did you mean 'full'?"),
        (["validate", CLEAN, "--select", "chanel-scale-rank"], "did you mean 'channel-scale-rank'?"),
        (["rule", "chanel-scale-rank"], "did you mean 'channel-scale-rank'?"),
        (["validate", CLEAN, "--output-format", "sarrif"], "did you mean 'sarif'?"),
        (["convert", CLEAN, "--dry-run", "--to", "compresed-tensors"], "did you mean 'compressed-tensors'?"),
        (["convert", CLEAN, "--dry-run", "--to", "quark", "--mode", "fp9"], "did you mean 'fp8'?"),
        (["convert", CLEAN, "--dry-run", "--to", "ct", "--scheme", "FP8_DYNAMC"], "did you mean 'FP8_DYNAMIC'?"),
        (["validate", CLEAN, "--matrx"], "did you mean"),
        (["inspect", "brokem"], "did you mean broken?"),
        (["validate", "broken", "--levle", "full"], "--level"),
    ],
)
def test_a_word_that_is_nearly_right(arguments: list[str | Path], question: str, run: Run, broken: Path) -> None:
    outcome = run(*arguments)
    assert outcome.code == 2 and question.lower() in outcome.err.lower()


def test_a_destination_that_is_no_folder(run: Run) -> None:
    outcome = run("convert", CLEAN, "hf://org/new", "--to", "ct")
    assert outcome.code == 2 and "hf://org/new is no folder on this machine" in outcome.err
    assert "ckptkit upload" in outcome.err
    assert "no folder" in run("validate", CLEAN, "--fix", "--output", "s3://bucket/x").err


@pytest.fixture
def dead_hub() -> str:
    """The address of a port on which nobody answers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def test_a_hub_that_does_not_answer_is_no_silence(dead_hub: str) -> None:
    shown = on_terminal("inspect", "org/nowhere", HF_ENDPOINT=dead_hub, HF_HUB_OFFLINE="0")
    assert "reading org/nowhere: " in shown and "cannot be reached" in " ".join(shown.split())
    logged = run_process("inspect", "org/nowhere", HF_ENDPOINT=dead_hub, HF_HUB_OFFLINE="0")
    assert re.search(r"^reading org/nowhere: \d", logged.stderr, re.MULTILINE), "a log is told too"


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_prose_is_cut_between_words(columns: int, broken: Path) -> None:
    base = REAL / "llama" / "bf16"
    for arguments in (
        ["validate", "broken", "--matrix", "--tp", "1,2", "--skip-list"],
        ["inspect", CLEAN],
        ["convert", REAL / "llama" / "quark-fp8-kv", "--dry-run", "--to", "ct"],
        ["convert", CLEAN, "out", "--to", "fp8"],
        ["diff", base, CLEAN],
        ["rule", "CK301"],
        ["doctor"],
        ["validate", "--help"],
    ):
        for line in on_screen(on_terminal(*arguments, columns=columns)).splitlines():
            # What is longer than the terminal is one word, such as a path, behind the blanks that set it in.
            assert len(line) <= columns or len(line.split()) <= 4 or line.startswith("    fix: "), line


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["validate", "nope", "--json"], "UsageError"),
        (["validate", "nope", "--output-format", "json"], "UsageError"),
        (["inspect", "nope", "--json"], "UsageError"),
        (["diff", "nope", CLEAN, "--json"], "UsageError"),
        (["convert", CLEAN, "broken", "--to", "ct", "--json"], "OutputError"),
        (["convert", CLEAN, "out", "--to", "fp8", "--json"], "ConversionRefused"),
        (["rule", "CK9999", "--json"], "UsageError"),
        (["validate", CLEAN, "--no-such-option", "--json"], "UsageError"),
        (["upload", "broken", "org/model", "--json"], "UploadRefused"),
    ],
)
def test_who_asks_for_json_gets_it_for_refusals_too(
    arguments: list[str | Path], kind: str, run: Run, broken: Path
) -> None:
    outcome = run(*arguments)
    assert outcome.code == 2
    document = outcome.json
    assert document["$schema"] == "urn:ckptkit:schema:error" and document["ckptkit"] == ckptkit.__version__
    assert document["kind"] == kind and document["error"] in outcome.err
    from ckptkit.checks import schema

    assert schema.faults("error", document, file="error") == []


def test_every_finding_says_what_it_is_about(run: Run, tmp_path: Path) -> None:
    checkpoint = load("llama/llmcompressor-dynamic")
    dead = ["model.layers.0.mlp.gat", "model.layers.7.x", "re:vision.*"]
    checkpoint.block["ignore"] = ["lm_head", *dead]
    checkpoint.block.update(first_new_key=1, second_new_key=2)
    folder = checkpoint.write(tmp_path / "model")
    for output_format in ("text", "concise"):
        lines = run("validate", folder, "--output-format", output_format).out.splitlines()
        for word in (*dead, "first_new_key", "second_new_key"):
            assert sum(word in line for line in lines) == 1, (output_format, word)
        assert len(set(lines)) == len(lines)


def test_an_engine_that_refuses_has_no_sizes_that_work(run: Run, broken: Path) -> None:
    lines = run("validate", broken, "--matrix", "--tp", "1,2").out.splitlines()
    refusing = [line for line in lines if " refuses " in line]
    assert refusing and not [line for line in refusing if "1 2" in line]
    assert any("loads" in line and "1 2" in line for line in lines)


def test_what_a_format_cannot_say_is_said(run: Run, tmp_path: Path) -> None:
    kv = REAL / "llama" / "quark-fp8-kv"
    assert run("convert", "quark→ct", kv, tmp_path / "ct").code == 0
    outcome = run("convert", "ct→quark", tmp_path / "ct", tmp_path / "back")
    assert outcome.code == 0 and "kv_cache_post_rope" in outcome.out
    config = json.loads((tmp_path / "back" / "config.json").read_text())
    assert config["quantization_config"]["kv_cache_post_rope"] is True


def test_a_list_that_nobody_reads_to_its_end() -> None:
    command = [sys.executable, "-m", "ckptkit", "inspect", "--tensors", str(REAL / "qwen3_moe/llmcompressor-dynamic")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as reader:
        assert reader.stdout is not None and reader.stderr is not None
        reader.stdout.close()
        assert reader.stderr.read() == b""
    assert reader.returncode == 141, "what a shell gives to every command whose pipe was closed"


def test_many_paths_are_inspected(run: Run, tmp_path: Path) -> None:
    outcome = run("inspect", CLEAN, NOTES, tmp_path / "nope")
    assert outcome.code == 2 and str(CLEAN) in outcome.out and str(NOTES) in outcome.out and "nope" in outcome.err
    documents = run("inspect", CLEAN, NOTES, tmp_path / "nope", "--json").json
    assert [document.get("format") for document in documents] == ["quark", "quark", None]
    quiet: Outcome = run("inspect", CLEAN, NOTES, "-q")
    assert [line.split(": ")[0] for line in quiet.out.splitlines()] == [str(CLEAN), str(NOTES)]
