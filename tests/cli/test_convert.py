"""``ckptkit convert``: spellings, dry runs, JSON, refusals."""

from __future__ import annotations

import filecmp
from pathlib import Path

import pytest

import ckptkit
from ckptkit.cli.convert import parse_arguments
from ckptkit.errors import UsageError
from tests.cli.conftest import REAL, Run, run_process

QUARK = REAL / "llama/quark-ptpc"
CT = REAL / "llama/llmcompressor-dynamic"


@pytest.mark.parametrize("spelling", ["quark→ct", "quark->ct", "quark=>ct", "quark:ct", "quark2ct", "quark-to-ct"])
def test_every_spelling_of_a_direction(spelling: str) -> None:
    assert parse_arguments((spelling, "a", "b"), None) == ("quark", "ct", ["a", "b"])


def test_long_names_are_directions_too() -> None:
    expected = ("quark", "compressed-tensors", ["a", "b"])
    assert parse_arguments(("quark→compressed-tensors", "a", "b"), None) == expected
    assert parse_arguments(("compressed-tensors2quark", "a", "b"), None)[:2] == ("compressed-tensors", "quark")


def test_direction_and_to_together_are_refused() -> None:
    with pytest.raises(UsageError, match="twice"):
        parse_arguments(("quark→ct", "a", "b"), "ct")


def test_a_missing_target_is_explained(run: Run, tmp_path: Path) -> None:
    outcome = run("convert", QUARK, tmp_path / "out")
    assert outcome.code == 2
    assert "--to ct" in outcome.err
    assert not (tmp_path / "out").exists()


def test_convert_writes_a_whole_checkpoint(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    outcome = run("convert", "quark→ct", QUARK, out)
    assert outcome.code == 0, outcome.err
    assert "lossless, header-only" in outcome.out
    assert f"written: {out}" in outcome.out
    assert {path.name for path in out.iterdir()} == {path.name for path in QUARK.iterdir()}
    for name in ("generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        assert filecmp.cmp(QUARK / name, out / name, shallow=False)
    assert run("validate", out).code == 0
    assert run("diff", QUARK, out).code == 0


def test_source_format_is_detected_with_to(run: Run, tmp_path: Path) -> None:
    assert run("convert", CT, tmp_path / "out", "--to", "quark").code == 0
    assert run("inspect", tmp_path / "out", "--json").json["format"] == "quark"


def test_wrong_source_format_is_refused(run: Run, tmp_path: Path) -> None:
    outcome = run("convert", "ct→quark", QUARK, tmp_path / "out")
    assert outcome.code == 2
    assert "is a quark checkpoint, not compressed-tensors" in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_unknown_format_names_those_that_exist(run: Run, tmp_path: Path) -> None:
    outcome = run("convert", QUARK, tmp_path / "out", "--to", "gguf")
    assert outcome.code == 2
    assert "compressed-tensors/ct" in outcome.err


def test_dry_run_prints_the_plan_and_writes_nothing(run: Run, tmp_path: Path) -> None:
    outcome = run("convert", "quark→ct", QUARK, tmp_path / "out", "--dry-run")
    assert outcome.code == 0
    assert "copied as they are" in outcome.out
    assert "reshape" in outcome.out
    assert list(tmp_path.iterdir()) == []


def test_dry_run_refuses_the_destinations_that_the_real_run_refuses(run: Run, tmp_path: Path) -> None:
    (tmp_path / "keep.txt").write_text("mine")
    outcome = run("convert", "quark→ct", QUARK, tmp_path, "--dry-run")
    assert (outcome.code, outcome.out) == (2, "")
    assert "is not empty" in outcome.err
    assert "lies inside the source" in run("convert", "quark→ct", QUARK, QUARK / "new", "--dry-run").err


def test_the_arrow_is_spelled_out_where_it_cannot_be_shown() -> None:
    done = run_process("convert", "quark2ct", QUARK, "--dry-run", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.stdout.startswith("quark (native) -> compressed-tensors  lossless"), done.stderr


def test_dry_run_needs_no_destination(run: Run) -> None:
    document = run("convert", "quark→ct", QUARK, "--dry-run", "--json").json
    assert document["cost"]["kind"] == "header-only"
    assert document["verdict"] == "lossless"
    assert sum(step["count"] for step in document["steps"]) == 14


def test_json_of_a_conversion_is_one_document(run: Run, tmp_path: Path) -> None:
    document = run("convert", "quark→ct", QUARK, tmp_path / "out", "--json").json
    assert document["destination"] == str(tmp_path / "out")
    assert sum(document["bytes_by_method"].values()) == document["plan"]["cost"]["bytes_copied"]


def test_either_spelling_of_the_mode_and_not_two_modes(run: Run, tmp_path: Path) -> None:
    for number, option in enumerate(("--mode", "--quark-mode")):
        target = tmp_path / str(number)
        assert run("convert", "ct→quark", REAL / "llama/llmcompressor-fp8", target, option, "fp8").code == 0
        assert ckptkit.open(target).dialect == "fp8 mode"
    given = ("--mode", "quark", "--quark-mode", "fp8")
    outcome = run("convert", "ct→quark", REAL / "llama/llmcompressor-fp8", tmp_path / "out", *given)
    assert outcome.code == 2 and "give one of them" in outcome.err
    assert not (tmp_path / "out").exists()


def test_quark_mode(run: Run, tmp_path: Path) -> None:
    source = REAL / "llama/llmcompressor-fp8-kv"
    assert run("convert", "ct→quark", source, tmp_path / "out", "--quark-mode", "fp8").code == 0
    document = run("inspect", tmp_path / "out", "--json").json
    assert (document["format"], document["dialect"]) == ("quark", "fp8 mode")


def test_quark_mode_for_another_target_is_refused(run: Run, tmp_path: Path) -> None:
    outcome = run("convert", "quark→ct", QUARK, tmp_path / "out", "--quark-mode", "fp8")
    assert outcome.code == 2
    assert "compressed-tensors has no mode 'fp8'" in outcome.err
    assert not (tmp_path / "out").exists()


def test_every_loss_is_listed(run: Run, tmp_path: Path) -> None:
    outcome = run("convert", "ct→quark", REAL / "llama/llmcompressor-groups", tmp_path / "out", "--quark-mode", "fp8")
    assert outcome.code == 2
    assert "one scheme for all modules" in outcome.err
    assert "cannot express the scheme" in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_existing_destination_is_refused_before_the_plan_is_shown(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/keep.txt").write_text("mine")
    outcome = run("convert", "quark→ct", QUARK, tmp_path / "out")
    assert outcome.code == 2
    assert "is not empty" in outcome.err
    assert outcome.out == ""
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["keep.txt"]
