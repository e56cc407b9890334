"""What Python gets is what the command line does: one request, one answer, the same words for both."""

from __future__ import annotations

import inspect
import json
import shutil
from dataclasses import fields
from pathlib import Path

import click
import pytest

import ckptkit
from ckptkit.checks import schema
from ckptkit.cli import convert, validate
from ckptkit.conversion.request import Choices, ConversionRequest
from ckptkit.errors import FormatError, OutputError, UsageError
from ckptkit.validation import Request
from tests.damage import load

from .conftest import REAL, Run

CLEAN = REAL / "llama" / "quark-ptpc"
NOTES = REAL / "llama" / "llmcompressor-dynamic"
BROKEN = REAL / "llama" / "quark-fp8-file2file"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings but those that a test writes."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """Scales in the wrong rank, and the head missing from the skip list."""
    checkpoint = load("llama/llmcompressor-dynamic")
    checkpoint.change(r".*\.weight_scale", lambda tensor: tensor._replace(shape=tensor.shape[:1]))
    checkpoint.block["ignore"] = []
    return checkpoint.write(tmp_path / "damaged")


def codes(report: ckptkit.Report) -> set[str]:
    return {finding.code for finding in report.findings}


def options_of(command: click.Command) -> set[str]:
    """The longest names of a command's options, as Python would spell them."""
    options = [
        parameter for parameter in command.params if isinstance(parameter, click.Option) and not parameter.hidden
    ]
    longs = [max((name for name in option.opts if name.startswith("--")), key=len) for option in options]
    return {name.removeprefix("--").replace("-", "_") for name in longs}


def test_keywords_are_the_options_of_the_command_line() -> None:
    """But one: "for" is a word of Python. An option with two names goes by the longer one."""
    spelled = {"for": "engines"}
    shown = {"output_format", "json", "statistics", "quiet"}
    wanted = {spelled.get(name, name) for name in options_of(validate.command) - shown}
    assert set(inspect.signature(ckptkit.validate).parameters) - {"path"} == wanted
    assert set(inspect.signature(ckptkit.fix).parameters) - {"path"} <= wanted
    converted = {*inspect.signature(ckptkit.convert).parameters, *Choices.__annotations__}
    assert options_of(convert.command) - {"json", "dry_run", "plan"} <= converted


def test_a_request_holds_all_that_can_be_asked_for() -> None:
    assert set(inspect.signature(Request).parameters) - {"offers"} == (
        set(inspect.signature(ckptkit.validate).parameters) - {"path"}
    )
    held = {"scales_from" if item.name == "scales" else item.name for item in fields(ConversionRequest)}
    assert held == {"target", *Choices.__annotations__}
    assert [name for name in ("to", *Choices.__annotations__) if f"``{name}" not in (ckptkit.plan.__doc__ or "")] == []


def test_choices_of_a_conversion_that_make_no_sense_are_refused() -> None:
    """A word that is no choice is the user's mistake, a keyword that is none the program's."""
    with pytest.raises(UsageError, match="modules must be a list of strings, not 7"):
        ckptkit.plan(CLEAN, to="ct", modules=7)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="unknown format 'quartz'"):
        ckptkit.plan(CLEAN, to="ct", expect="quartz")
    with pytest.raises(UsageError, match="has no mode 'fast'"):
        ConversionRequest.of("ct", mode="fast")
    with pytest.raises(UsageError, match="mxfp4 is only read"):
        ConversionRequest.of("mxfp4")
    with pytest.raises(TypeError, match="alow_lossy"):
        ckptkit.plan(CLEAN, to="ct", alow_lossy=True)  # type: ignore[call-arg]
    asked = ConversionRequest.of("ct", modules="a*, b", skip=["c"], max_shard_size="1KB", scales_from=None, mode=None)
    assert asked == ConversionRequest(target=asked.target, modules=("a*", "b"), skip=("c",), max_shard_size=1000)


def test_a_validation_is_a_report() -> None:
    answer = ckptkit.validate(NOTES)
    assert isinstance(answer, ckptkit.Report) and isinstance(answer, ckptkit.Validation)
    assert answer.clean and answer.findings and answer.errors == () and answer.counts["info"] == len(answer.findings)
    assert answer.matrix is None and answer.skip_table is None and answer.fixes is None and not answer.pending
    assert answer.offers == {}
    assert answer.label in repr(answer) and len(repr(ckptkit.validate(BROKEN))) < 300


@pytest.mark.parametrize("words", ["CK301", "ck301,", ["CK301"], ("channel-scale-rank",)])
def test_rules_are_chosen_as_on_the_command_line(damaged: Path, words: str | list[str]) -> None:
    everything = ckptkit.validate(damaged)
    assert {"CK301", "CK605"} <= codes(everything)
    assert codes(ckptkit.validate(damaged, select=words)) == {"CK301"}
    assert codes(ckptkit.validate(damaged, ignore=words)) == codes(everything) - {"CK301"}
    assert codes(ckptkit.validate(damaged, select="CK605", extend_select=words)) == {"CK301", "CK605"}


def test_engines_and_levels(damaged: Path) -> None:
    everything = ckptkit.validate(damaged)
    assert codes(ckptkit.validate(damaged, engines=["trtllm"])) < codes(everything)
    assert ckptkit.validate(damaged, level=ckptkit.Level.HEADERS).level is ckptkit.Level.HEADERS
    assert ckptkit.validate(damaged, level="full").level is ckptkit.Level.FULL


def test_tables() -> None:
    answer = ckptkit.validate(CLEAN, tensor_parallel=[1, 2], skip_list=True)
    assert answer.matrix is not None and answer.skip_table is not None
    assert (1, 2) in {tuple(size.size for size in row.parallel) for row in answer.matrix.rows}
    assert ckptkit.validate(CLEAN, matrix=True).matrix is not None
    narrowed = ckptkit.validate(CLEAN, gpu="9.0").matrix
    assert narrowed is not None and str(narrowed.gpu) == "sm_90 (h100, h200)"
    assert schema.faults("report", answer.to_json(), file="report") == []


def test_diff_writes_nothing_and_says_what_is_pending(damaged: Path) -> None:
    before = {path.name: path.read_bytes() for path in damaged.iterdir()}
    answer = ckptkit.validate(damaged, diff=True)
    assert answer.fixes is not None and answer.pending and answer.clean and not answer.written
    assert {fix.code for fix in answer.fixes.applied} == {"CK301", "CK605"}
    assert {path.name: path.read_bytes() for path in damaged.iterdir()} == before


def test_fix_into_a_new_folder_and_in_place(damaged: Path, tmp_path: Path) -> None:
    answer = ckptkit.fix(damaged, output=tmp_path / "fixed")
    assert answer.written and answer.clean and not answer.pending and answer.destination == str(tmp_path / "fixed")
    assert ckptkit.validate(tmp_path / "fixed").clean and not ckptkit.validate(damaged).clean
    assert ckptkit.fix(damaged, select="CK301").written
    left = codes(ckptkit.validate(damaged))
    assert "CK605" in left and "CK301" not in left
    assert ckptkit.fix(damaged).written and ckptkit.validate(damaged).clean
    again = ckptkit.fix(damaged)
    assert not again.written and again.fixes is not None and not again.fixes.changes


def test_the_command_line_prints_what_python_gets(run: Run, damaged: Path) -> None:
    wanted = ckptkit.validate(damaged, diff=True, matrix=True, skip_list=True, ignore="CK605").to_json()
    printed = run("validate", damaged, "--diff", "--matrix", "--skip-list", "--ignore", "CK605", "--json").document
    assert json.loads(json.dumps(wanted)) == printed


def test_settings_files_are_read_for_who_asks(damaged: Path) -> None:
    (damaged / ".ckptkit.toml").write_text('level = "full"\nignore = ["CK111"]\n')
    Path("pyproject.toml").write_text('[tool.ckptkit]\nignore = ["CK605"]\n')
    assert ckptkit.validate(damaged).level is ckptkit.Level.SCALES and "CK605" in codes(ckptkit.validate(damaged))
    answer = ckptkit.validate(damaged, isolated=False)
    assert answer.level is ckptkit.Level.FULL and "CK605" not in codes(answer)
    assert answer.settings.files[-1] == str(damaged / ".ckptkit.toml")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"level": "deep"}, "level must be one of headers, scales, full"),
        ({"select": []}, "select must be one word at least"),
        ({"engines": 7}, "engines must be a list of strings"),
        ({"engines": "vlm"}, "unknown engine 'vlm'"),
        ({"ignore": "CK99x"}, "no rule fits 'CK99x'"),
        ({"ignore": "ALL"}, "no rule is left"),
        ({"tensor_parallel": [0]}, "tensor_parallel must be a list of whole numbers above zero"),
        ({"gpu": "h10"}, "gpu must be one of a100"),
        ({"output": "x"}, "an output goes with a fix"),
        ({"fix": True, "diff": True}, "give one of them"),
    ],
)
def test_arguments_that_make_no_sense(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        ckptkit.validate(CLEAN, **options)  # type: ignore[arg-type]


def test_rules_explain_themselves() -> None:
    rule = ckptkit.rule("CK301")
    assert rule is ckptkit.rule("channel-scale-rank") and rule.documentation
    assert rule in ckptkit.all_rules()
    with pytest.raises(UsageError, match="unknown rule"):
        ckptkit.rule("CK3x")


def test_a_card_is_made_and_then_written(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(CLEAN, tmp_path / "model"))
    (folder / "README.md").write_text("---\ntags: [int4]\n---\n# Mine\n")
    card = ckptkit.model_card(folder, repo="org/model", base_model="org/base")
    assert card.changed and "org/base" in card.after and (folder / "README.md").read_text().endswith("# Mine\n")
    assert [fault.found for fault in card.untrue] == ["int4"]
    ckptkit.write_card(card)
    again = ckptkit.model_card(folder)
    assert not again.changed and again.untrue == ()


def test_an_opened_checkpoint_is_taken_for_its_path() -> None:
    checkpoint = ckptkit.open(CLEAN)
    assert ckptkit.inspect(checkpoint) == ckptkit.inspect(CLEAN)
    assert ckptkit.diff(checkpoint, CLEAN).same
    with pytest.raises(FormatError):
        ckptkit.open(REAL / "llama" / "bf16")


def test_a_plan_says_whether_its_destination_could_be_written(tmp_path: Path) -> None:
    assert ckptkit.plan(CLEAN, tmp_path / "out", to="ct").steps
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    with pytest.raises(OutputError):
        ckptkit.plan(CLEAN, tmp_path / "full", to="ct")


@pytest.mark.parametrize("option", ["--mode", "--quark-mode"])
def test_a_mode_has_one_word_and_one_older_spelling(run: Run, option: str) -> None:
    source = REAL / "llama" / "llmcompressor-fp8-kv"
    printed = run("convert", "ct→quark", source, "--dry-run", "--json", option, "fp8").document
    assert printed == json.loads(json.dumps(ckptkit.plan(source, to="quark", mode="fp8").to_json()))
    outcome = run("convert", "ct→quark", source, "--dry-run", option, "fast")
    assert outcome.code == 2 and "no mode 'fast'" in outcome.err and "quark, fp8" in outcome.err
