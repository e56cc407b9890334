"""``ckptkit golden`` without a GPU: what it says, what it exits with, and what it says without torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from ckptkit.cli.golden import command
from ckptkit.errors import UsageError
from ckptkit.kernels.golden import cases, derive

ROOT = Path(__file__).resolve().parents[2]
REAL = ROOT / "fixtures" / "real"
#: Makes the import of these modules fail, as where they are not installed, and then runs the command line.
BLOCKED = """
import sys
for name in sys.argv.pop(1).split(","):
    sys.modules[name] = None
from ckptkit.cli.main import main
main()
"""


def run(*arguments: str | Path, without: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *(["-c", BLOCKED, without] if without else ["-m", "ckptkit"]), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    environment.pop("TRITON_INTERPRET", None)
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_check_of_two_checkpoints_as_json() -> None:
    paths = REAL / "llama/quark-ptpc", REAL / "llama/llmcompressor-dynamic"
    done = run("golden", "check", paths[0], "--against", paths[1], "--module", "*.0.*.k_proj", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["passed"] is True
    assert document["mode"] == "interpreter"
    assert document["machine"]["gpu"] is None
    assert document["machine"]["triton"] and document["machine"]["torch"]
    (layer,), (other,) = document["layers"], document["against"]
    assert layer["verdict"] == "pass"
    assert layer["sha256"] == other["sha256"]
    assert layer["errors"]["used"] <= 1


def test_a_difference_exits_with_1_and_says_so_plainly() -> None:
    paths = REAL / "llama/quark-fp8", REAL / "llama/quark-ptpc"
    done = run("golden", "check", paths[0], "--against", paths[1], "--module", "*.0.*.k_proj")
    assert done.returncode == 1, done.stderr
    assert "NO GPU" in done.stdout and "not a chip" in done.stdout
    assert "outputs differ" in done.stdout
    assert done.stdout.endswith("\n1 of 1 layers does not give the same bits\n")


def test_every_line_says_whose_it_is_and_the_last_how_many_layers_agree() -> None:
    paths = REAL / "llama/quark-ptpc-kv", REAL / "llama/llmcompressor-dynamic"
    done = run("golden", "check", paths[0], "--against", paths[1], "--module", "*.0.*.[kv]_proj")
    lines = done.stdout.splitlines()
    labelled = [line for line in lines if line.startswith("pass  against: model.layers.0.self_attn.")]
    assert [line.split()[2].rstrip(",") for line in labelled] == [f"model.layers.0.self_attn.{x}_proj" for x in "kv"]
    assert all(line.replace("against: ", "") in lines for line in labelled)
    assert done.returncode == 1  # only one of the two has KV scales
    assert lines[-1] == "2 of 4 layers do not give the same bits"
    done = run("golden", "check", REAL / "llama/quark-ptpc", "--against", paths[1], "--module", "*.0.*.[kv]_proj")
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "2 layers give the same bits"


def test_nothing_to_compare_is_not_the_same_bits() -> None:
    path = REAL / "llama/llmcompressor-weight-only"
    done = run("golden", "check", path, "--against", path)
    assert done.returncode == 1
    assert "no layer of the two was compared" in done.stdout
    assert "0 layers" not in done.stdout


@pytest.mark.parametrize("command", [["check", "--require-gpu"], ["bench"]], ids=["check", "bench"])
def test_what_needs_a_gpu_exits_with_2(command: list[str]) -> None:
    done = run("golden", *command)
    assert done.returncode == 2
    assert "torch sees no GPU" in done.stderr


@pytest.mark.parametrize("missing", ["torch", "triton"])
def test_without_torch_or_triton_one_clear_error(missing: str) -> None:
    done = run("golden", "check", without=missing)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "not installed" in done.stderr and "ckptkit-fp8[gpu]" in done.stderr
    assert "Traceback" not in done.stderr


def test_modules_of_nothing_are_a_usage_error() -> None:
    done = run("golden", "check", "--module", "x")
    assert done.returncode == 2
    assert "--module are about a checkpoint" in done.stderr


def test_record_refuses_a_folder_that_is_not_there(tmp_path: Path) -> None:
    done = run("golden", "record", "--output", tmp_path / "no")
    assert done.returncode == 2
    assert "does not exist" in done.stderr


def test_record_does_not_replace_what_an_installed_package_is_checked_against(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "ckptkit" / "kernels" / "golden"
    folder.mkdir(parents=True)
    monkeypatch.setattr(cases, "RECORD", folder / "hashes.json")
    with pytest.raises(UsageError, match="installed package"):
        CliRunner().invoke(command, ["record"], catch_exceptions=False, standalone_mode=False)
    assert list(folder.iterdir()) == []


def test_record_and_check_in_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cases, "CASES", cases.CASES[:1])
    monkeypatch.setattr(derive, "DEPTHS", {128: 1})
    path = tmp_path
    invoke = CliRunner().invoke
    assert invoke(command, ["record", "--output", str(path), "--check"]).exit_code == 1
    assert invoke(command, ["record", "--output", str(path)]).exit_code == 0
    assert invoke(command, ["record", "--output", str(path), "--check"]).exit_code == 0
    limits = json.loads((path / "tolerances.json").read_text(encoding="utf-8"))
    (path / "tolerances.json").write_text(json.dumps({**limits, "margin": 3}), encoding="utf-8")
    stale = invoke(command, ["record", "--output", str(path), "--check"])
    assert stale.exit_code == 1 and "tolerances.json would change" in stale.output
    assert "hashes.json would change" not in stale.output
    checked = invoke(command, ["check"])
    assert checked.exit_code == 0, checked.output
    assert "pass  token-channel" in checked.output
    assert "on the interpreter: all pass" in checked.output
    shown = invoke(command, ["check", str(REAL / "llama/quark-ptpc"), "--module", "*.0.*.v_proj"])
    assert shown.exit_code == 0 and "1 results on the interpreter: all pass" in shown.output
