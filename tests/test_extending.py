"""The package of docs/extending.md, installed as pip would: a format, a rule, an engine and an operation from outside.

Every command works on it, with no line of ckptkit changed. Each runs in a process of its own, as a user's would.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.damage import REAL, load, tensors_of

ROOT = Path(__file__).resolve().parents[1]
CT, QUARK = REAL / "llama" / "llmcompressor-dynamic", REAL / "llama" / "quark-ptpc"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the page's files and the metadata that its entry points make."""
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    folder = tmp_path_factory.mktemp("site")
    info = folder / "acme-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n", encoding="utf-8")
    blocks = re.findall(r"```(?:python|toml)\n# ([^\n]+)\n(.*?)```", page, re.DOTALL)
    entry_points = ""
    for title, text in blocks:
        if title.endswith(".py"):
            (folder / title).write_text(text, encoding="utf-8")
        else:
            table = text.replace('[project.entry-points."', "[").replace('"]', "]")
            entry_points += re.sub(r'= "([^"]+)"', r"= \1", table)
    (info / "entry_points.txt").write_text(entry_points, encoding="utf-8")
    assert {path.name for path in folder.glob("*.py")} == {
        *("acme_operations.py", "acme_format.py", "acme_engine.py", "acme_rules.py")
    }
    return folder


class Commands:
    """``ckptkit`` with the package installed."""

    def __init__(self, site: Path) -> None:
        self.site = site

    def __call__(self, *arguments: object, code: int = 0) -> str:
        environment = {**os.environ, "PYTHONPATH": str(self.site), "COLUMNS": "160", "NO_COLOR": "1"}
        command = [sys.executable, "-m", "ckptkit", *map(str, arguments)]
        result = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert result.returncode == code, f"{' '.join(command)}\n{result.stdout}\n{result.stderr}"
        return result.stdout + (result.stderr if code == 2 else "")

    def json(self, *arguments: object, code: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", code=code))


@pytest.fixture
def run(site: Path) -> Commands:
    return Commands(site)


@pytest.fixture
def acme(run: Commands, tmp_path: Path) -> Path:
    """A compressed-tensors export in the made-up format."""
    run("convert", "ct→acme", CT, tmp_path / "acme")
    return tmp_path / "acme"


def owned(folder: Path) -> Path:
    """The same with an owner, so that no rule has anything to say."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "owner": "team"}), encoding="utf-8")
    return folder


def test_a_conversion_writes_names_shapes_dtypes_and_the_side_file(run: Commands, acme: Path) -> None:
    tensors = tensors_of(acme)
    factor = tensors["model.layers.0.mlp.up_proj.weight_factor"]
    rows = tensors["model.layers.0.mlp.up_proj.weight"].shape[0]
    assert (factor.dtype, factor.shape) == ("F32", (1, rows))
    assert not any(name.endswith("weight_scale") for name in tensors)
    assert json.loads((acme / "acme_report.json").read_text(encoding="utf-8")) == {"quantized": 14}


def test_there_and_back_is_the_same_model(run: Commands, acme: Path, tmp_path: Path) -> None:
    run("convert", "acme→ct", acme, tmp_path / "ct")
    run("convert", "ac→quark", acme, tmp_path / "quark")
    for other in (acme, tmp_path / "ct", tmp_path / "quark", QUARK):
        assert run.json("diff", CT, other)["same"] is True
    assert not (tmp_path / "ct" / "acme_report.json").exists(), "it would speak of another format"
    changes = run.json("convert", "acme→ct", acme, "--dry-run")["changes"]
    assert changes == [{"subject": "acme_report.json", "aspect": "file", "before": "present", "after": "absent"}]


def test_inspect_says_what_it_is(run: Commands, acme: Path) -> None:
    summary = run.json("inspect", acme)
    assert (summary["format"], summary["dialect"]) == ("acme", "exact scales")
    assert "per-channel" in summary["scheme"]
    assert "acme (exact scales)" in run("inspect", acme)


def test_rules_matrix_and_skip_table_know_it(run: Commands, acme: Path) -> None:
    answer = run.json("validate", acme, "--matrix", "--skip-list", code=1)
    assert [finding["code"] for finding in answer["findings"]] == ["ACME001"]
    rows = {row["engine"]: row for row in answer["matrix"]["engines"]}
    assert rows["acme"]["verdict"] == "warns" and rows["acme"]["version"].startswith("2.2")
    assert rows["vllm"]["verdict"] != "loads", "no built-in engine is known to read it"
    modules = {row["module"]: row["decisions"] for row in answer["skip_lists"]["modules"]}
    assert modules["lm_head"] == {"acme": "left alone"}
    assert modules["model.layers.0.mlp.up_proj"] == {"acme": "quantized"}
    verdicts = {
        row["engine"]: row["verdict"] for row in run.json("validate", owned(acme), "--matrix")["matrix"]["engines"]
    }
    assert verdicts["acme"] == "loads"


def test_rules_speak_its_names(run: Commands, acme: Path) -> None:
    checkpoint = load(str(acme))
    checkpoint.rename(r"(.*layers\.0\.mlp\.up_proj)\.weight_factor", r"\1.weight_scale")
    checkpoint.change(r".*layers\.1\.mlp\.up_proj\.weight_factor", lambda t: t._replace(shape=t.shape[::-1]))
    checkpoint.block["keep_high"] = []
    for path in acme.iterdir():
        path.unlink()
    checkpoint.config["owner"] = "team"
    checkpoint.write(acme)
    answer = run.json("validate", acme, code=1)
    found = {finding["code"]: finding for finding in answer["findings"]}
    assert {"CK301", "CK605"} <= set(found)
    assert "[1, " in found["CK301"]["expected"]
    assert "keep_high" in json.dumps(found["CK605"])
    by_version = [(effect["versions"], effect["outcome"]) for effect in found["CK301"]["engines"]]
    assert by_version == [("before 2.2", "error"), ("since 2.2", "warning")]
    rows = {row["engine"]: row for row in run.json("validate", acme, "--matrix", code=1)["matrix"]["engines"]}
    assert rows["acme"]["codes"]["warning"] == ["CK301"], "the newest release counts"
    run("validate", acme, "--fix", code=1)
    left = {finding["code"] for finding in run.json("validate", acme, code=1)["findings"]}
    assert not left & {"CK301", "CK605"}
    assert json.loads((acme / "config.json").read_text(encoding="utf-8"))["quantization_config"]["keep_high"] == [
        "lm_head"
    ]


def test_its_configs_are_held_to_its_schema(run: Commands, acme: Path) -> None:
    config = json.loads((owned(acme) / "config.json").read_text(encoding="utf-8"))
    config["quantization_config"] |= {"rounded": "no", "keep_high": ["lm_head", "lm_head"]}
    (acme / "config.json").write_text(json.dumps(config), encoding="utf-8")
    findings = run.json("validate", acme, "--select", "CK629", code=1)["findings"]
    assert len(findings) == 2 and {finding["code"] for finding in findings} == {"CK629"}
    assert any("rounded" in finding["message"] and finding["expected"] == "true or false" for finding in findings)


def test_its_rule_is_fixed(run: Commands, acme: Path) -> None:
    assert "owner" in run("validate", acme, "--diff", code=1)
    run("validate", acme, "--fix")
    assert json.loads((acme / "config.json").read_text(encoding="utf-8"))["owner"] == "team"
    assert run.json("validate", acme)["findings"] == []


def test_values_change_only_where_they_are_allowed_to(run: Commands, tmp_path: Path) -> None:
    refused = run("convert", "ct→acme", CT, tmp_path / "no", "--mode", "rounded", code=2)
    assert "acme-power-of-two rounds values" in refused and "--allow-lossy" in refused
    assert not (tmp_path / "no").exists()
    options = ("--mode", "rounded", "--allow-lossy")
    plan = run.json("convert", "ct→acme", CT, "--dry-run", *options)
    assert plan["verdict"] == "lossy as declared"
    assert any("41" in step.get("loss", "") for step in plan["steps"])
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(plan), encoding="utf-8")
    run("convert", "--plan", file, CT, tmp_path / "out")
    factors = [tensor.data for name, tensor in tensors_of(tmp_path / "out").items() if name.endswith("weight_factor")]
    values = [value for data in factors for value in memoryview(data).cast("f")]
    assert values and all(math.frexp(value)[0] == 0.5 for value in values)
    assert run.json("diff", CT, tmp_path / "out", code=1)["same"] is False
    allowed = run.json("diff", CT, tmp_path / "out", "--plan", file)
    assert allowed["same"] is True and len(allowed["declared"]) == 14
    assert run.json("inspect", tmp_path / "out")["dialect"] == "rounded scales"


def test_what_it_cannot_hold_is_refused(run: Commands, tmp_path: Path) -> None:
    refused = run("convert", "ct→acme", REAL / "llama" / "llmcompressor-fp8-kv", tmp_path / "no", code=2)
    assert "acme" in refused and "per-tensor" in refused
    assert not (tmp_path / "no").exists()


def test_the_card_describes_it(run: Commands, acme: Path) -> None:
    run("card", acme)
    text = (acme / "README.md").read_text(encoding="utf-8")
    assert "acme" in text and "F32 `[1, N]`, one per output row" in text
    assert "No engine is known to serve it." in text, "Acme Serve reads it, and nobody says how that is started"
    run("card", acme, "--check")


def test_its_tag_and_its_tool_are_those_of_its_format(run: Commands, acme: Path, tmp_path: Path) -> None:
    config = json.loads((acme / "config.json").read_text(encoding="utf-8"))
    config["quantization_config"]["version"] = "3"
    (acme / "config.json").write_text(json.dumps({**config, "owner": "team"}), encoding="utf-8")
    run("card", acme)
    assert "| Made with | Acme 3 |" in (acme / "README.md").read_text(encoding="utf-8")
    run("convert", "acme→ct", acme, tmp_path / "ct")
    messages = [finding["message"] for finding in run.json("validate", tmp_path / "ct", code=1)["findings"]]
    assert "the tag 'acme' is not true of the tensors" in messages
    run("card", tmp_path / "ct")
    assert run.json("validate", tmp_path / "ct")["findings"] == []
    assert "- acme" not in (tmp_path / "ct" / "README.md").read_text(encoding="utf-8").splitlines()


def test_engines_and_formats_are_named_where_somebody_asks(run: Commands, tmp_path: Path) -> None:
    assert "acme" in run("convert", "ct→nothing", CT, tmp_path / "no", code=2)
    shutil.copytree(CT, tmp_path / "copy")
    assert run.json("validate", tmp_path / "copy", "--for", "acme", code=1)["findings"][0]["code"] == "ACME001"
