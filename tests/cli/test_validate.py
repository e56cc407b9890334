"""``ckptkit validate``: exit codes, selection, settings, formats, fixes, and the JSON contract."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from ckptkit import api
from ckptkit.checks import schema
from ckptkit.checks.fixing import find_fixes
from ckptkit.checks.registry import Level
from ckptkit.storage import replace
from ckptkit.validation import write_fixes
from tests.damage import load

from .conftest import REAL, Run, run_process

CLEAN = REAL / "llama" / "quark-ptpc"
NOTES = REAL / "llama" / "llmcompressor-dynamic"
BROKEN = REAL / "llama" / "quark-fp8-file2file"
#: Which vLLM loads and TensorRT-LLM refuses, and which hangs on the hardware there.
REFUSED, BY_CHANNEL = REAL / "llama" / "llmcompressor-fp8", NOTES


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings but those that a test writes."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """Scales in the wrong rank, and the head missing from the skip list."""
    checkpoint = load("llama/llmcompressor-dynamic")
    checkpoint.change(r".*\.weight_scale", lambda t: t._replace(shape=t.shape[:1]))
    checkpoint.block["ignore"] = []
    return checkpoint.write(tmp_path / "damaged")


def test_exit_codes(run: Run, tmp_path: Path) -> None:
    assert run("validate", CLEAN).code == 0
    assert run("validate", NOTES).code == 0, "notes are not findings that fail"
    assert run("validate", BROKEN).code == 1
    assert run("validate", CLEAN, BROKEN).code == 1
    assert run("validate", tmp_path / "nowhere").code == 2
    assert run("validate", CLEAN, "--level", "deep").code == 2


def test_one_of_several_that_cannot_be_read_does_not_hide_the_others(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    outcome = run("validate", tmp_path / "empty", BROKEN)
    assert outcome.code == 2
    assert "no safetensors files" in outcome.err and "CK621" in outcome.out


def test_one_of_several_that_is_missing_is_in_the_document_too(run: Run, damaged: Path, tmp_path: Path) -> None:
    outcome = run("validate", damaged, tmp_path / "nope", "--fix", "--json")
    assert outcome.code == 2
    fixed, missing = outcome.json
    assert fixed["fixes"]["written"] and missing["path"] == str(tmp_path / "nope")
    assert schema.faults("report", outcome.json, file="report") == []
    assert isinstance(run("validate", tmp_path / "nope", tmp_path / "no", "--json").json, list)


def test_an_empty_selection_or_path_is_a_mistake(run: Run) -> None:
    for arguments in (["--select", ""], ["--for", ""], ["--tp", ""], ["--ignore", "ALL"]):
        outcome = run("validate", BROKEN, *arguments)
        assert outcome.code == 2 and outcome.out == "", arguments
    assert "the path is empty" in run("validate", "--fix", "").err


@pytest.mark.parametrize(
    "options",
    [
        ["--json", "--output-format", "sarif"],
        ["--json", "--statistics"],
        ["--output-format", "sarif", "--matrix"],
        ["--output-format", "github", "--tp", "2"],
        ["--output-format", "sarif", "--gpu", "h100"],
        ["--output-format", "concise", "--diff"],
    ],
)
def test_options_of_which_one_would_do_nothing(run: Run, options: list[str]) -> None:
    outcome = run("validate", CLEAN, *options)
    assert outcome.code == 2
    assert outcome.json["kind"] == "UsageError" if "--json" in options else outcome.out == ""


OWN_FILES = ['ignore = ["ALL"]', 'select = ["CK111"]', 'for = ["trtllm"]\nlevel = "headers"']


@pytest.mark.parametrize("text", OWN_FILES)
def test_a_checkpoint_cannot_hide_its_own_errors(run: Run, damaged: Path, text: str) -> None:
    everything = run("validate", damaged, "--json").json
    errors = [finding for finding in everything["findings"] if finding["severity"] == "error"]
    (damaged / ".ckptkit.toml").write_text(text)
    outcome = run("validate", damaged, "--json")
    assert outcome.code == 1
    kept, settings = outcome.json["findings"], outcome.json["settings"]
    assert [finding for finding in kept if finding["severity"] == "error"] == errors != []
    assert settings == {"files": [str(damaged / ".ckptkit.toml")], "hidden": len(everything["findings"]) - len(kept)}
    assert outcome.json["level"] == everything["level"]
    assert schema.faults("report", outcome.json, file="report") == []


def test_what_a_checkpoint_hides_is_said(run: Run, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(NOTES, tmp_path / "copy"))
    (copy / ".ckptkit.toml").write_text('ignore = ["ALL"]')
    said = f"1 finding is hidden by {copy}/.ckptkit.toml"
    outcome = run("validate", copy)
    assert outcome.code == 0 and said in " ".join(outcome.out.split())
    assert said in run("validate", copy, "--output-format", "github").err
    assert "hidden" not in run("validate", copy, "--isolated").out


def test_settings_that_name_no_rule_name_their_file(run: Run, damaged: Path) -> None:
    for text, complaint in (('ignore = ["CK999"]', "no rule fits 'CK999'"), ('for = ["vlm"]', "unknown engine 'vlm'")):
        (damaged / ".ckptkit.toml").write_text(text)
        outcome = run("validate", damaged)
        assert outcome.code == 2 and f".ckptkit.toml: {complaint}" in outcome.err


def test_a_scale_that_was_cut_off_is_a_finding_and_not_a_failure(run: Run, tmp_path: Path) -> None:
    checkpoint = load("llama/quark-ptpc")
    (tensors,) = checkpoint.shards.values()
    last = next(name for name in tensors if name.endswith(".weight_scale"))
    tensors[last] = tensors.pop(last)
    folder = checkpoint.write(tmp_path / "cut")
    shard = folder / "model.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])
    document = run("validate", folder, "--json").json
    assert "CK102" in {finding["code"] for finding in document["findings"]}


def test_selection_by_prefix(run: Run) -> None:
    assert run("validate", BROKEN, "--select", "CK1").code == 0
    assert run("validate", BROKEN, "--ignore", "CK621").code == 0
    chosen = run("validate", BROKEN, "--select", "CK110", "--extend-select", "CK111", "--json").json
    assert {finding["code"] for finding in chosen["findings"]} == {"CK110", "CK111"}
    assert run("validate", BROKEN, "--select", "CK110,CK111", "--json").json == chosen
    assert run("validate", BROKEN, "--select", "XX1").code == 2


def test_settings_of_the_project_and_of_the_checkpoint(run: Run, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.ckptkit]\nselect = ["CK1"]\noutput-format = "concise"\n')
    outcome = run("validate", BROKEN)
    assert outcome.code == 0 and outcome.out.splitlines()[-1] == f"{BROKEN}: 2 info"
    assert run("validate", BROKEN, "--isolated").code == 1
    assert run("validate", BROKEN, "--select", "CK621").code == 1, "the command line starts afresh"
    copy = shutil.copytree(BROKEN, tmp_path / "copy")
    (copy / ".ckptkit.toml").write_text('ignore = ["CK110"]\n')
    assert run("validate", copy).out.splitlines()[-1] == f"{copy}: 1 info"
    (copy / ".ckptkit.toml").write_text("fix = true\n")
    refusal = run("validate", copy)
    assert refusal.code == 2 and ".ckptkit.toml" in refusal.err and "'fix'" in refusal.err


def test_a_settings_file_that_had_a_say_is_named(run: Run, tmp_path: Path) -> None:
    copy = shutil.copytree(BROKEN, tmp_path / "copy")
    (copy / ".ckptkit.toml").write_text('ignore = ["CK621"]\n')
    assert str(copy / ".ckptkit.toml") in run("validate", copy).out


@pytest.mark.parametrize("name", ["text", "concise", "json", "sarif", "github", "junit"])
def test_every_format_prints(run: Run, name: str) -> None:
    outcome = run("validate", CLEAN, BROKEN, "--output-format", name)
    assert outcome.code == 1 and "CK621" in outcome.out and outcome.err == ""
    if name in ("json", "sarif"):
        json.loads(outcome.out)


def test_an_unknown_format_or_engine_is_a_usage_error(run: Run) -> None:
    assert run("validate", CLEAN, "--output-format", "html").code == 2
    outcome = run("validate", CLEAN, "--for", "ollama")
    assert outcome.code == 2 and "vllm" in outcome.err


def test_only_what_hits_an_engine(run: Run, damaged: Path) -> None:
    everything = run("validate", damaged, "--json").json["findings"]
    unread, *for_quark = run("validate", damaged, "--json", "--for", "quark").json["findings"]
    assert (unread["code"], unread["message"]) == (
        "CK198",
        "Quark 0.13 does not read this: Quark reads its own exports",
    )
    assert len(for_quark) < len(everything)
    whole = [{**finding, "engines": None} for finding in everything]
    assert all({**finding, "engines": None} in whole for finding in for_quark)
    for_vllm = run("validate", damaged, "--json", "--for", "vllm").json["findings"]
    assert {effect["engine"] for finding in for_vllm for effect in finding.get("engines", ())} == {"vllm"}


def test_what_an_engine_refuses_is_an_error_for_who_asks_for_it(run: Run) -> None:
    """The table said so, and ``--for`` called the checkpoint clean."""
    assert run("validate", REFUSED).code == 0
    for name, message in (
        ("trtllm", "refuses this: linear layers, fused linear layers with per-tensor weights"),
        ("quark", "does not read this: Quark reads its own exports"),
    ):
        done = run("validate", REFUSED, "--for", name)
        assert done.code == 1 and done.out.startswith("error CK198 ") and message in " ".join(done.out.split())
        assert run("validate", REFUSED, "--for", name, "--select", "CK3").code == 0
    assert run("validate", REFUSED, "--for", "vllm").code == 0
    assert run("validate", REFUSED, "--for", "vllm", "--gpu", "mi300x").code == 0
    on_gpu = run("validate", BY_CHANNEL, "--for", "trtllm", "--gpu", "a100")
    assert on_gpu.code == 1 and "Arch unsupported" in on_gpu.out
    assert run("validate", BY_CHANNEL, "--for", "trtllm", "--gpu", "h100").code == 0


@pytest.mark.parametrize("output_format", ["json", "sarif", "github", "junit", "concise"])
def test_what_no_rule_says_has_every_form(output_format: str, run: Run) -> None:
    done = run("validate", REFUSED, "--for", "trtllm", "--output-format", output_format)
    assert done.code == 1 and "CK198" in done.out
    assert "engine-refuses" in done.out or output_format == "concise"


def test_tables_are_of_the_engines_that_were_asked_about(run: Run, damaged: Path) -> None:
    asked = ("--for", "sglang", "--matrix", "--tp", "2", "--skip-list")
    document = run("validate", damaged, "--json", *asked).json
    assert [row["engine"] for row in document["matrix"]["engines"]] == ["sglang"]
    assert document["skip_lists"]["engines"] == ["sglang"]
    assert all(set(row["decisions"]) == {"sglang"} for row in document["skip_lists"]["modules"])
    text = run("validate", damaged, *asked).out
    assert "SGLang" in text and "vLLM 0" not in text


def test_statistics_and_quiet(run: Run) -> None:
    lines = run("validate", CLEAN, BROKEN, "--statistics").out.splitlines()
    assert lines[0].split() == ["14", "CK621", "error", "input-scale-missing"] and "2 checkpoints" in lines[-1]
    assert run("validate", CLEAN, "--quiet").out == ""


def test_tables_are_added(run: Run) -> None:
    document = run("validate", CLEAN, "--json", "--matrix", "--tp", "1,2", "--skip-list").json
    assert {"matrix", "skip_lists"} <= document.keys()
    assert schema.faults("report", document, file="report") == []
    assert run("validate", CLEAN, "--matrix", "--skip-list").code == 0
    assert run("validate", CLEAN, "--tp", "1,x").code == 2


def test_the_table_is_narrowed_to_hardware(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    document = run("validate", CLEAN, "--json", "--gpu", "A100", "--tp", "1").json
    assert document["matrix"]["gpu"] == "sm_80" and schema.faults("report", document, file="report") == []
    rows = {row["engine"]: row for row in document["matrix"]["engines"]}
    assert rows["vllm"]["verdict"] == "refuses" and "Min capability: 89" in rows["vllm"]["parts"]["refused"][0]
    assert rows["sglang"]["verdict"] == "refuses" and not rows["vllm"]["parallel"][0]["works"]
    hopper = run("validate", CLEAN, "--json", "--gpu", "H100").json
    assert schema.faults("report", hopper, file="report") == []
    assert "CUTLASS" in hopper["matrix"]["engines"][0]["kernels"][0]
    refused = run("validate", CLEAN, "--gpu", "h10")
    assert refused.code == 2 and "did you mean 'h100'?" in refused.err
    monkeypatch.setenv("CKPTKIT_GPU", "h100")
    assert "on sm_90 (h100, h200)" in " ".join(run("validate", CLEAN, "--matrix").out.split())


def test_diff_shows_and_writes_nothing(run: Run, damaged: Path) -> None:
    before = contents(damaged)
    outcome = run("validate", damaged, "--diff", "--ignore", "CK619")
    assert outcome.code == 1 and contents(damaged) == before
    lines = outcome.out.splitlines()
    assert f"--- {damaged}/config.json" in lines and '+      "lm_head"' in lines
    assert len([line for line in lines if line.startswith("CK301 reshape ")]) == 14
    assert lines[-1] == "would fix 15 findings of 2 rules"


def test_fix_in_place(run: Run, damaged: Path) -> None:
    outcome = run("validate", damaged, "--fix")
    assert outcome.code == 0 and f"written: {damaged}" in outcome.out
    assert run("validate", damaged).code == 0
    assert run("validate", damaged, "--diff").code == 0, "nothing is left to do"
    assert sorted(path.name for path in damaged.parent.iterdir()) == ["damaged"]


def test_a_clean_checkpoint_is_not_rewritten_unless_its_notes_are_asked_for(run: Run, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(REAL / "llama/llmcompressor-dynamic", tmp_path / "copy"))
    before = contents(copy)
    assert run("validate", copy, "--diff").code == 0
    assert run("validate", copy, "--fix").code == 0 and contents(copy) == before
    assert run("validate", copy, "--diff", "--select", "CK619").code == 1


@pytest.fixture
def half_changed(damaged: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint whose --fix met a power cut after the first rename."""
    real, done = os.replace, list[Path]()

    def once(source: Path, target: Path) -> None:
        if done:
            raise KeyboardInterrupt
        done.append(target)
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(replace.os, "replace", once)
        result = find_fixes(api.open_files(damaged), Level.SCALES)
        with pytest.raises(KeyboardInterrupt):
            write_fixes(result, damaged)
    assert sorted(path.name for path in damaged.parent.iterdir()) == [".damaged.ckptkit-replace", "damaged"]
    return damaged


def test_fix_first_finishes_what_was_interrupted(run: Run, half_changed: Path) -> None:
    outcome = run("validate", half_changed, "--fix")
    assert outcome.code == 0 and f"finished an interrupted --fix of {half_changed}: 1 file" in outcome.err
    assert [path.name for path in half_changed.parent.iterdir()] == ["damaged"]
    assert run("validate", half_changed).code == 0


@pytest.mark.parametrize("command", [["validate"], ["inspect"], ["validate", "--fix", "--output", "fixed"]])
def test_nobody_reads_a_half_changed_checkpoint(
    run: Run, half_changed: Path, command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = contents(half_changed)
    outcome = run(*command, half_changed)
    assert outcome.code == 2 and f"finish it: ckptkit validate --fix {half_changed}" in " ".join(outcome.err.split())
    assert contents(half_changed) == before and not Path("fixed").exists()


def test_fix_into_a_new_folder(run: Run, damaged: Path, tmp_path: Path) -> None:
    before = contents(damaged)
    document = run("validate", damaged, "--fix", "--output", tmp_path / "fixed", "--json").json
    assert contents(damaged) == before
    assert schema.faults("report", document, file="report") == []
    assert document["clean"] and document["fixes"]["written"]
    assert {fix["code"] for fix in document["fixes"]["applied"]} >= {"CK301", "CK605"}
    assert run("validate", tmp_path / "fixed").code == 0


def test_only_selected_rules_are_fixed(run: Run, damaged: Path) -> None:
    document = run("validate", damaged, "--fix", "--select", "CK301", "--json").json
    assert [fix["code"] for fix in document["fixes"]["applied"]] == ["CK301"]
    assert run("validate", damaged, "--select", "CK605").code == 1


def test_unsafe_fixes_are_asked_for(run: Run, tmp_path: Path) -> None:
    checkpoint = load("llama/llmcompressor-fp8-kv")
    checkpoint.drop(r".*\.[kv]_scale")
    folder = checkpoint.write(tmp_path / "no-scales")
    assert run("validate", folder, "--fix", "--select", "CK901").code == 1
    assert run("validate", folder, "--fix", "--unsafe-fixes", "--select", "CK901").code == 0


@pytest.mark.parametrize("arguments", [["--fix", "--diff"], ["--output", "x"], ["--fix", "--output", "x", "second"]])
def test_contradictions_are_refused(run: Run, arguments: list[str]) -> None:
    assert run("validate", BROKEN, *arguments).code == 2


def test_json_of_every_command_fits_its_schema(run: Run, tmp_path: Path) -> None:
    made = {
        "summary": run("inspect", CLEAN, "--json", "--tensors").json,
        "plan": run("convert", "quark→ct", CLEAN, "--dry-run", "--json").json,
        "result": run("convert", "quark→ct", CLEAN, tmp_path / "out", "--json").json,
        "comparison": run("diff", CLEAN, tmp_path / "out", "--json").json,
        "report": run("validate", CLEAN, BROKEN, "--json").json,
        "rules": run("rule", "CK301", "--json").json,
    }
    for name, document in made.items():
        assert schema.faults(name, document, file=name) == []
    assert schema.faults("plan", made["result"]["plan"], file="plan") == []


def test_validating_a_small_folder_is_quick_and_light() -> None:
    code = "import sys, ckptkit.cli.main as m; sys.argv = ['ckptkit', 'validate', sys.argv[1]]\n"
    code += "try: m.main()\nexcept SystemExit: pass\n"
    code += "print(sorted({'numpy', 'jsonschema', 'huggingface_hub', 'torch', 'tomllib'} & set(sys.modules)))"
    times = []
    for _ in range(4):
        begin = time.perf_counter()
        outcome = run_process(NOTES, code=code, COLUMNS="100")
        times.append(time.perf_counter() - begin)
        assert outcome.stdout.splitlines()[-1] == "[]", outcome.stderr
    if os.environ.get("CKPTKIT_TIMING"):
        assert min(times) < 0.25


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
