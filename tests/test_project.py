"""What lies around the code: dependencies, the docs' index, the checks of a commit."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import yaml

from ckptkit.errors import DISTRIBUTION

ROOT = Path(__file__).resolve().parents[1]
PROJECT = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli").loads(
    (ROOT / "pyproject.toml").read_text(encoding="utf-8")
)
#: Import name -> the name under which it is installed, where the two differ.
INSTALLED_AS = {"yaml": "pyyaml", "huggingface_hub": "huggingface-hub"}
#: Part of every type checker, for which alone it is imported.
FOR_CHECKERS = {"typing_extensions"}
#: Imported by name from a string, and an fsspec package that fsspec imports itself.
BY_NAME = {"tomli", "s3fs", "gcsfs"}
#: Extras of tools: nothing of them is imported by the package.
TOOLS = ("dev", "mutation", "fuzz", "site")


def declared(requirements: list[str]) -> set[str]:
    """The names of requirements without versions and markers."""
    names = (re.match(r"[\w.-]+", text) for text in requirements)
    return {name[0] for name in names if name}


def imported() -> set[str]:
    """What the package imports anywhere beside itself and Python."""
    found: set[str] = set()
    for path in (ROOT / "ckptkit").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                found.add((node.module or "").partition(".")[0])
    return {INSTALLED_AS.get(name, name) for name in found - set(sys.stdlib_module_names) - {"ckptkit"} - FOR_CHECKERS}


def test_what_is_imported_is_declared_and_what_is_declared_is_imported() -> None:
    project = PROJECT["project"]
    extras = {name: declared(listed) for name, listed in project["optional-dependencies"].items() if name not in TOOLS}
    assert declared(project["dependencies"]).union(*extras.values()) - BY_NAME == imported()


def test_what_the_index_of_packages_shows() -> None:
    project = PROJECT["project"]
    assert project["name"] == DISTRIBUTION != "ckptkit"
    assert set(project["scripts"]) == {"ckptkit", DISTRIBUTION, "hf-ckptkit"}
    assert len(set(project["scripts"].values())) == 1
    assert {"Homepage", "Documentation", "Source", "Issues", "Changelog"} <= set(project["urls"])
    lowest = project["requires-python"].removeprefix(">=3.")
    shown = {
        c.rpartition(".")[2] for c in project["classifiers"] if c.startswith("Programming Language :: Python :: 3.")
    }
    assert shown == {str(minor) for minor in range(int(lowest), 15)}


def test_the_index_leads_to_every_page_and_nowhere_else() -> None:
    text = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    links = set(re.findall(r"\]\(([^)#]+)\)", text))
    assert {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"} <= links
    assert [link for link in links if not (ROOT / "docs" / link).is_file()] == []


def test_a_commit_is_checked_as_the_whole_is() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    hooks = [hook for repo in config["repos"] for hook in repo["hooks"]]
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\nquality:")[2].partition("\n\n")[0]
    assert len(hooks) >= 4
    for hook in hooks:
        assert f"\t{hook['entry'].replace('.venv/bin', '$(BIN)')}\n" in recipe, hook["id"]


def test_every_data_file_of_the_package_is_in_the_wheel() -> None:
    package = ROOT / "ckptkit"
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["ckptkit"]
    shipped = {path for pattern in patterns for path in package.glob(pattern)}
    files = (path for path in package.rglob("*") if path.is_file() and path.parent.name != "__pycache__")
    present = {path for path in files if path.suffix != ".py"}
    assert present == shipped
    assert package / "kernels" / "golden" / "hashes.json" in shipped


def test_weights_are_kept_among_the_fixtures_alone() -> None:
    """A command that writes where its first argument says, asked for help, once wrote 28 MB that were committed."""
    listed = subprocess.run(["git", "ls-files", "*.safetensors"], cwd=ROOT, capture_output=True, text=True, check=True)
    places = {path.partition("/")[0] for path in listed.stdout.splitlines()}
    assert places == {"fixtures"}
