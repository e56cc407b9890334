"""Pages whose commands need a Hub, hub.md and tutorial.md, are played on one on loopback, after "make demo"."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from fixtures import demo
from tests.hub.replica import llama_8b
from tests.hub.server import TOKEN, FakeHub
from tests.pages import ROOT, blocks, play

DOCS = ROOT / "docs"


class Model:
    """A model of whatever library, whose ``push_to_hub`` ends in the hub library, as they all do."""

    def push_to_hub(self, repo_id: str) -> None:
        from huggingface_hub import HfApi

        HfApi().upload_folder(repo_id=repo_id, folder_path="Llama-3.1-8B-FP8")


@pytest.fixture
def workplace(hub: FakeHub, login: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that "make demo" leaves behind, in a process that is logged in."""
    demo.build(tmp_path / "demo")
    monkeypatch.chdir(tmp_path / "demo")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path / "demo"


def test_the_page_of_the_hub(workplace: Path, hub: FakeHub, environment: dict[str, str]) -> None:
    hub.add("org/some-public-FP8-model", llama_8b("quark-fp8-kv"))
    own = {"HF_ENDPOINT", "HF_HOME", "HF_TOKEN", "HOME", "NO_COLOR", "HF_HUB_DISABLE_XET"}
    assert list(play(DOCS / "hub.md", {name: environment[name] for name in own}, {"model": Model()})) == []
    assert "refs/pr/1" in hub.repos["org/model-FP8"].refs and hub.repos["YOU/scratch"].private
    assert (workplace / "Llama-3.1-8B-FP8" / "README.md").exists()
    assert not (workplace / "clone" / ".git" / "hooks" / "pre-push").exists(), "installed, and removed again"


def test_the_tutorial(workplace: Path, hub: FakeHub, environment: dict[str, str]) -> None:
    own = {"HF_ENDPOINT", "HF_HOME", "HF_TOKEN", "HOME", "NO_COLOR", "HF_HUB_DISABLE_XET"}
    assert list(play(DOCS / "tutorial.md", {name: environment[name] for name in own})) == []
    assert "model.safetensors" in hub.repos["you/Llama-3.1-8B-FP8"].head().files
    assert (workplace / "report.html").exists()


def test_what_others_are_to_configure_exists() -> None:
    """The pre-commit hook and the inputs of the GitHub Action that the page names."""
    hook, action = (yaml.safe_load(code)[0] for _, code in blocks(DOCS / "hub.md", "yaml"))
    hooks: list[dict[str, Any]] = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    assert [own["id"] for own in hook["hooks"]] == [own["id"] for own in hooks]
    inputs = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))["inputs"]
    assert action["with"] and set(action["with"]) <= set(inputs)
    from ckptkit import __version__

    assert hook["rev"] == action["uses"].partition("@")[2] == f"v{__version__}"
    assert re.fullmatch(r"ckptkit/ckptkit@v[\d.]+", action["uses"]) and TOKEN not in str(hook)
