"""What other packages add, each in a process: it is found, blamed where it breaks, and free where it is absent."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ckptkit.checks import schema

FIXTURE = Path(__file__).resolve().parents[1] / "fixtures" / "real" / "llama" / "quark-ptpc"
MODULE = '''
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import fix, rule
from ckptkit.edits.changes import SetKey
from ckptkit.errors import Fault


@rule("ACME001", "owner-missing", Severity.WARNING, unreported="a house rule")
def owner_missing(context):
    """config.json names no owner.

    Why it hurts: nobody knows whom to ask.

    Example: no ``owner``.

    Fix: name one.
    """
    if "owner" not in context.config:
        yield Fault("owner-missing", "no owner is named", "config.json", None, "an owner", "nothing")


@fix("safe", "ACME001")
def name_owner(context, finding):
    """Name the team."""
    yield SetKey(("owner",), "team")
'''
METADATA = "Metadata-Version: 2.1\nName: acme-rules\nVersion: 1.0\n"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with a package that adds a rule, as pip would leave it."""
    info = tmp_path / "site" / "acme_rules-1.0.dist-info"
    info.mkdir(parents=True)
    (info.parent / "acme_rules.py").write_text(MODULE, encoding="utf-8")
    (info / "METADATA").write_text(METADATA, encoding="utf-8")
    (info / "entry_points.txt").write_text("[ckptkit.rules]\nacme = acme_rules\n", encoding="utf-8")
    return info.parent


def python(*arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(path or "")}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment)


def codes(folder: Path, *arguments: str, path: Path) -> list[str]:
    result = python("-m", "ckptkit", "validate", str(folder), "--json", *arguments, path=path)
    report = json.loads(result.stdout)
    assert schema.faults("report", [report], file="report") == []
    return [finding["code"] for finding in report["findings"]]


def test_a_rule_from_outside_is_checked_selected_explained_and_fixed(site: Path, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(FIXTURE, folder)
    assert "ACME001" in codes(folder, path=site)
    for word in ("ACME001", "acme", "owner-missing"):
        assert codes(folder, "--select", word, path=site) == ["ACME001"]
    explained = json.loads(python("-m", "ckptkit", "rule", "ACME001", "--json", path=site).stdout)
    assert schema.faults("rules", [explained], file="rules") == []
    assert (explained["name"], explained["family"], explained["fix"]) == ("owner-missing", "ACME", "safe")
    fixed = python("-m", "ckptkit", "validate", str(folder), "--fix", path=site)
    assert fixed.returncode == 0, fixed.stderr
    assert json.loads((folder / "config.json").read_text(encoding="utf-8"))["owner"] == "team"
    assert "ACME001" not in codes(folder, path=site)


def test_packages_in_zip_files_are_found(site: Path, tmp_path: Path) -> None:
    archive = tmp_path / "acme.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in (path for path in site.rglob("*") if path.is_file()):
            file.write(path, path.relative_to(site))
    assert codes(FIXTURE, "--select", "ACME", path=archive) == ["ACME001"]


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (MODULE.replace("ACME001", "acme-1"), "cannot be loaded: ValueError: 'acme-1' is no code of a rule"),
        (MODULE.replace("ACME001", "CK301"), "cannot be loaded: ValueError: CK301 is taken by channel-scale-rank"),
        ("import not_installed", "cannot be loaded: ModuleNotFoundError: No module named 'not_installed'"),
    ],
)
def test_a_broken_package_is_blamed_by_name(module: str, message: str, site: Path) -> None:
    (site / "acme_rules.py").write_text(module, encoding="utf-8")
    result = python("-m", "ckptkit", "rule", "--all", path=site)
    assert result.returncode == 2
    shown = " ".join(result.stderr.split())
    assert f"entry point 'acme' (acme_rules) of acme-rules {message}" in shown
    assert "repair or uninstall acme-rules" in shown and "Traceback" not in shown


def test_where_nobody_adds_anything_nobody_asks_for_it() -> None:
    """Importing what reads the metadata of packages takes longer than importing all rules."""
    work = "import sys; from ckptkit.checks.registry import all_rules; all_rules()"
    code = f"{work}; print('importlib.metadata' in sys.modules)"
    assert python("-c", code).stdout.strip() == "False"
