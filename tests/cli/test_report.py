"""``ckptkit report`` and ``inspect --plot``."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ckptkit.checks import schema
from tests.cli.conftest import REAL, Run, run_process
from tests.damage import load

FP8_KV, BASE = REAL / "llama" / "quark-fp8-kv", REAL / "llama" / "bf16"


def test_a_page_is_written(run: Run, tmp_path: Path) -> None:
    page = tmp_path / "out.html"
    outcome = run("report", FP8_KV, "--html", page, "--to", "ct", "--tp", "1,2")
    assert outcome.code == 0 and outcome.out.startswith(f"written: {page} (")
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert [path.name for path in tmp_path.iterdir()] == ["out.html"]


def test_a_page_is_written_whatever_it_says(run: Run, tmp_path: Path) -> None:
    broken = load("llama/llmcompressor-dynamic")
    broken.drop(r"model\.layers\.0\.mlp\.up_proj\.weight_scale")
    outcome = run("report", broken.write(tmp_path / "broken"), "--html", tmp_path / "out.html")
    assert outcome.code == 0 and (tmp_path / "out.html").exists()


def test_json_is_the_same_document(run: Run, tmp_path: Path) -> None:
    from tests.report.test_html import data_of

    outcome = run("report", FP8_KV, BASE, "--json", "--html", tmp_path / "out.html", "--level", "full")
    assert schema.faults("page", outcome.json, file="page") == []
    assert data_of((tmp_path / "out.html").read_text(encoding="utf-8")) == outcome.json
    assert outcome.json["comparison"]["left"] == str(BASE) and outcome.json["level"] == "full"


def test_a_page_is_written_anew_and_never_over_a_checkpoints_file(run: Run, tmp_path: Path) -> None:
    page = tmp_path / "out.html"
    page.write_text("an older page")
    assert run("report", "nowhere", "--html", page).code == 2 and page.read_text() == "an older page"
    assert run("report", FP8_KV, "--html", page).code == 0 and page.read_text().startswith("<!doctype html>")
    folder = load("llama/quark-fp8-kv").write(tmp_path / "checkpoint")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for name in before:
        outcome = run("report", "nowhere", "--html", folder / name)
        assert outcome.code == 2 and "lies in a checkpoint" in outcome.err, "this is said before anything is read"
    assert run("report", folder, "--html", folder / "new.html").code == 0
    assert run("report", folder, "--html", folder / "new.html").code == 2, "it belongs to the folder now"
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "new.html"} == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "give --html FILE, or --json"),
        (("--html", "@/missing/out.html"), "missing does not exist"),
        (("--html", ""), "the path is empty"),
        (("--html", "@/out.html", "--to", "nothing"), "nothing"),
        (("--html", "@/out.html", "--level", "all"), "all"),
        (("--html", "@/out.html", "--tp", "0"), "--tp must be"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: tuple[str, ...], words: str, run: Run, tmp_path: Path) -> None:
    outcome = run("report", FP8_KV, *(argument.replace("@", str(tmp_path)) for argument in arguments))
    assert outcome.code == 2 and words in outcome.err and outcome.out == ""
    assert [*tmp_path.iterdir()] == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(run: Run, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    outcome = run("report", FP8_KV, "--html", tmp_path / "out.html")
    assert outcome.code == 2 and "cannot be written" in outcome.err


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_disk_that_fails_leaves_nothing(call: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(f"ckptkit.storage.beside.os.{call}", fail)
    outcome = run("report", FP8_KV, "--html", tmp_path / "out.html")
    monkeypatch.undo()
    assert outcome.code == 2 and "the disk is full" in outcome.err
    assert [*tmp_path.iterdir()] == []


def test_other_is_the_base(run: Run) -> None:
    document = run("report", FP8_KV, BASE, "--json").json
    assert document["comparison"]["errors"]["base"] == "left"
    assert document["charts"][0]["measure"] == "relative error"
    headers = run("report", FP8_KV, BASE, "--json", "--level", "headers").json
    assert headers["comparison"]["level"] == "headers" and headers["comparison"]["errors"] is None


def test_settings_count_unless_isolated(run: Run, tmp_path: Path) -> None:
    folder = load("llama/quark-fp8-kv").write(tmp_path / "checkpoint")
    (folder / ".ckptkit.toml").write_text('ignore = ["CK704"]\n')
    found = run("report", folder, "--json").json
    assert found["findings"] == [] and found["hidden"] == 2 and len(found["settings"]) == 1
    assert len(run("report", folder, "--json", "--isolated").json["findings"]) == 2


def test_a_plot_of_scales(run: Run) -> None:
    outcome = run("inspect", FP8_KV, "--plot")
    assert outcome.code == 0
    for measure in ("weight scale", "input scale", "KV-cache scale"):
        assert f"{measure} by layer, logarithmic" in outcome.out
    assert "model.layers.*.mlp.up_proj" in outcome.out and "layers 0 to 1: " in outcome.out


def test_a_plot_of_nothing(run: Run) -> None:
    outcome = run("inspect", BASE, "--plot")
    assert outcome.code == 0 and "no scales by layer that ckptkit reads are stored here" in outcome.out


@pytest.mark.parametrize(
    ("other", "words"), [("--json", "ckptkit report --json"), ("--no-scales", "the values of scales")]
)
def test_a_plot_is_drawn_for_people_from_scales(other: str, words: str, run: Run) -> None:
    outcome = run("inspect", FP8_KV, "--plot", other)
    assert outcome.code == 2 and words in outcome.err


def test_a_plot_on_a_stream_without_braille() -> None:
    done = run_process("inspect", FP8_KV, "--plot", PYTHONIOENCODING="latin-1")
    assert done.returncode == 0 and "\\u28" not in done.stdout and "|####" in done.stdout
