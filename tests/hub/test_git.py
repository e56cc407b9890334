"""The hooks, by really running git, git-lfs where it is installed, pre-commit and hf."""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
from pathlib import Path

import pytest
import yaml

from tests.hub.conftest import REAL, Run
from tests.hub.server import FakeHub
from tests.hub.unfit import SOUND, broken_copy, infinite_scale, sound_copy

ROOT = Path(__file__).parents[2]
SHARD = "model.safetensors"


class Clone:
    """A git clone with a bare repository as its remote."""

    def __init__(self, run: Run, root: Path) -> None:
        self.run, self.root = run, root

    def git(self, *arguments: str, ok: bool = True) -> str:
        done = self.run("git", *arguments, cwd=self.root)
        assert (done.returncode == 0) == ok, done.stdout + done.stderr
        return done.stdout + done.stderr

    def commit(self, message: str = "change") -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def pointer(self) -> None:
        """Turn the shard into what git-lfs keeps: a pointer in the tree, the content under .git/lfs."""
        path = self.root / SHARD
        data = path.read_bytes()
        oid = hashlib.sha256(data).hexdigest()
        stored = self.root / ".git" / "lfs" / "objects" / oid[:2] / oid[2:4] / oid
        stored.parent.mkdir(parents=True, exist_ok=True)
        stored.write_bytes(data)
        path.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(data)}\n")

    @property
    def hook(self) -> Path:
        return self.root / ".git" / "hooks" / "pre-push"

    def pushed(self) -> str:
        return self.git("ls-remote", "origin", "refs/heads/main").partition("\t")[0]


@pytest.fixture
def clone(run: Run, tmp_path: Path, environment: dict[str, str]) -> Clone:
    """A clone with one commit that is pushed, and the hook installed."""
    Path(environment["GIT_CONFIG_GLOBAL"]).write_text(
        "[user]\n\tname = Tester\n\temail = tester@example.com\n[init]\n\tdefaultBranch = main\n"
    )
    remote, root = tmp_path / "remote.git", tmp_path / "clone"
    root.mkdir()
    made = Clone(run, root)
    run("git", "init", "--quiet", "--bare", remote)
    made.git("init", "--quiet")
    made.git("remote", "add", "origin", str(remote))
    (root / "README.md").write_text("# model\n")
    made.commit()
    made.git("push", "--quiet", "origin", "main")
    done = run("ckptkit", "hook", "install", root)
    assert done.returncode == 0, done.stderr
    return made


def fill(clone: Clone, folder: Path, place: str = ".") -> None:
    """Copy a checkpoint into the work tree."""
    shutil.copytree(folder, clone.root / place, dirs_exist_ok=True)


@pytest.mark.parametrize(("pointers", "place"), [(False, "."), (False, "models/fp8"), (True, ".")])
def test_a_push_is_judged(clone: Clone, tmp_path: Path, pointers: bool, place: str) -> None:
    before = clone.pushed()
    fill(clone, broken_copy(tmp_path / "broken", infinite_scale), place)
    if pointers:
        clone.pointer()
    clone.commit("broken")
    said = clone.git("push", "origin", "main", ok=False)
    assert "push refused" in said
    assert "CK502" in said
    assert clone.pushed() == before
    fill(clone, SOUND, place)
    if pointers:
        clone.pointer()
    clone.commit("fixed")
    clone.git("push", "origin", "main")
    assert clone.pushed() != before


def test_what_counts_is_the_commit_not_the_work_tree(clone: Clone, tmp_path: Path) -> None:
    fill(clone, SOUND)
    clone.commit()
    fill(clone, broken_copy(tmp_path / "broken", infinite_scale))
    clone.git("push", "origin", "main")
    clone.commit("broken")
    fill(clone, SOUND)
    assert "push refused" in clone.git("push", "origin", "main", ok=False)
    clone.git("push", "--no-verify", "origin", "main")


def test_pointers_without_content_are_no_false_alarm(clone: Clone) -> None:
    """A clone made with GIT_LFS_SKIP_SMUDGE: the shards are on the Hub already."""
    fill(clone, SOUND)
    clone.pointer()
    clone.commit()
    clone.git("push", "origin", "main")
    shutil.rmtree(clone.root / ".git" / "lfs")
    config = clone.root / "config.json"
    config.write_text(config.read_text() + "\n")
    clone.commit()
    said = clone.git("push", "origin", "main")
    assert f"not on this machine: {SHARD}" in said


def test_pushes_that_change_no_checkpoint_are_not_judged(clone: Clone, tmp_path: Path) -> None:
    fill(clone, broken_copy(tmp_path / "broken", infinite_scale))
    clone.commit("broken")
    clone.git("push", "--no-verify", "origin", "main")
    (clone.root / "README.md").write_text("# a better card\n")
    clone.commit()
    clone.git("push", "origin", "main")
    clone.git("push", "origin", "main:other")
    clone.git("push", "origin", "--delete", "other")


def test_an_existing_hook_is_kept_and_put_back(clone: Clone, run: Run, tmp_path: Path) -> None:
    run("ckptkit", "hook", "uninstall", clone.root)
    assert not clone.hook.exists()
    log = tmp_path / "log"
    clone.hook.write_text(f'#!/bin/sh\necho "$1" >> {log}\ncat >> {log}\n')
    clone.hook.chmod(0o755)
    own = clone.hook.read_text()
    for _ in range(2):
        assert run("ckptkit", "hook", "install", clone.root).returncode == 0
    fill(clone, broken_copy(tmp_path / "broken", infinite_scale))
    clone.commit("broken")
    clone.git("push", "origin", "main", ok=False)
    assert not log.exists()
    fill(clone, SOUND)
    clone.commit("fixed")
    clone.git("push", "origin", "main")
    lines = log.read_text().splitlines()
    assert lines[0] == "origin"
    assert lines[1].startswith("refs/heads/main ")
    assert run("ckptkit", "hook", "uninstall", clone.root).returncode == 0
    assert clone.hook.read_text() == own
    assert clone.hook.stat().st_mode & stat.S_IXUSR
    assert run("ckptkit", "hook", "uninstall", clone.root).returncode == 2


def test_hooks_that_belong_to_others_are_left_alone(clone: Clone, run: Run, tmp_path: Path) -> None:
    clone.git("config", "core.hooksPath", str(tmp_path / "shared"))
    done = run("ckptkit", "hook", "install", clone.root)
    assert done.returncode == 2
    assert "core.hooksPath" in done.stderr
    assert not (tmp_path / "shared").exists()
    clone.git("config", "core.hooksPath", ".githooks")
    assert run("ckptkit", "hook", "install", clone.root).returncode == 0
    assert (clone.root / ".githooks" / "pre-push").is_file()


def test_not_a_clone(run: Run, tmp_path: Path) -> None:
    done = run("ckptkit", "hook", "install", tmp_path, GIT_CEILING_DIRECTORIES=str(tmp_path.parent))
    assert done.returncode == 2
    assert "git clone" in done.stderr


def test_with_git_lfs_itself(clone: Clone, tmp_path: Path) -> None:
    """Where git-lfs is installed: it sends nothing of a broken checkpoint, and everything of a sound one."""
    if shutil.which("git-lfs") is None:
        test_a_push_is_judged(clone, tmp_path, True, ".")
        return
    clone.git("lfs", "install", "--local", "--skip-smudge", "--skip-repo")
    clone.git("lfs", "track", "*.safetensors")
    fill(clone, broken_copy(tmp_path / "broken", infinite_scale))
    clone.commit("broken")
    assert "version https://git-lfs" in clone.git("show", f"HEAD:{SHARD}")
    assert "CK502" in clone.git("push", "origin", "main", ok=False)
    stored = tmp_path / "remote.git" / "lfs" / "objects"
    assert not list(stored.rglob("*")) if stored.exists() else True
    fill(clone, SOUND)
    clone.git("add", "--all")
    clone.git("commit", "--quiet", "--amend", "--message", "fixed")
    clone.git("push", "origin", "main")
    assert len([path for path in stored.rglob("*") if path.is_file()]) == 1


# -- pre-commit ------------------------------------------------------------------------------------------------------


def test_pre_commit_refuses_a_commit(clone: Clone, run: Run, tmp_path: Path) -> None:
    """The published hook, run by pre-commit from this environment instead of one that it would build."""
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    config = {"repos": [{"repo": "local", "hooks": [{**hook, "language": "system"}]}]}
    (clone.root / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config))
    home = {"PRE_COMMIT_HOME": str(tmp_path / "pre-commit")}
    assert run("pre-commit", "install", cwd=clone.root, **home).returncode == 0
    fill(clone, broken_copy(tmp_path / "broken", infinite_scale), "models/fp8")
    clone.git("add", "--all")
    done = run("git", "commit", "--message", "broken", cwd=clone.root, **home)
    assert done.returncode == 1
    assert "FP8 checkpoints are sound" in done.stdout + done.stderr
    assert "CK502" in done.stdout + done.stderr
    fill(clone, SOUND, "models/fp8")
    clone.git("add", "--all")
    done = run("git", "commit", "--message", "fixed", cwd=clone.root, **home)
    assert done.returncode == 0, done.stdout + done.stderr


def test_pre_commit_sees_through_pointers(clone: Clone, run: Run, tmp_path: Path) -> None:
    fill(clone, broken_copy(tmp_path / "broken", infinite_scale))
    clone.pointer()
    done = run("ckptkit", "hook", "check", SHARD, "config.json", cwd=clone.root)
    assert done.returncode == 1
    assert "CK502" in done.stderr
    fill(clone, SOUND)
    clone.pointer()
    assert run("ckptkit", "hook", "check", SHARD, cwd=clone.root).returncode == 0


@pytest.mark.parametrize("path", ["nope/x", "nope.safetensors"])
def test_a_file_that_does_not_exist_is_an_error(clone: Clone, run: Run, path: str) -> None:
    fill(clone, SOUND)
    done = run("ckptkit", "hook", "check", "config.json", path, cwd=clone.root)
    assert done.returncode == 2
    assert f"{path}: no such file" in done.stderr


# -- the GitHub Action -----------------------------------------------------------------------------------------------


def test_the_action_checks_a_checkpoint(run: Run, tmp_path: Path) -> None:
    """Its steps are shell scripts that take their inputs from the environment; the last one is run here."""
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    assert action["runs"]["using"] == "composite"
    step = action["runs"]["steps"][-1]
    assert set(step["env"].values()) == {f"${{{{ inputs.{name} }}}}" for name in ("paths", "level", "arguments")}
    sound_copy(tmp_path / "a model")
    broken_copy(tmp_path / "broken", infinite_scale)
    # A checkpoint that was downloaded may bring its own settings, and they must not silence its check.
    silenced = sound_copy(tmp_path / "silenced")
    (silenced / "README.md").write_text("---\ntags: [awq]\n---\n")
    (silenced / ".ckptkit.toml").write_text('ignore = ["CK630"]\n')
    for paths, code in (("a model", 0), ("silenced", 1), ("a model\nbroken\n", 1)):
        inputs = {"CKPTKIT_PATHS": paths, "CKPTKIT_LEVEL": "scales", "CKPTKIT_ARGUMENTS": "--quiet"}
        done = run("bash", "-e", "-o", "pipefail", "-c", step["run"], cwd=tmp_path, **inputs)
        assert done.returncode == code, done.stdout + done.stderr
    assert "::error" in done.stdout


# -- hf --------------------------------------------------------------------------------------------------------------


def test_hf_ckptkit(server: FakeHub, run: Run, environment: dict[str, str]) -> None:
    assert run("hf", "ckptkit", "--version", HF_HUB_OFFLINE="1").returncode != 0
    done = run("ckptkit", "hook", "hf")
    assert done.returncode == 0, done.stderr
    manifest = Path(environment["HOME"]) / ".local/share/hf/extensions/hf-ckptkit/manifest.json"
    assert json.loads(manifest.read_text())["short_name"] == "ckptkit"
    done = run("hf", "ckptkit", "validate", SOUND)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "clean" in done.stdout or "info" in done.stdout
    server.add("org/model", SOUND)
    done = run("hf", "ckptkit", "validate", "hf://org/model", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["traffic"]["requests"] > 0
    done = run("hf", "ckptkit", "validate", REAL / "llama" / "quark-fp8-file2file")
    assert done.returncode == 1
    assert "ckptkit" in run("hf", "extensions", "list").stdout
    assert run("ckptkit", "hook", "hf", "--remove").returncode == 0
    assert not manifest.exists()
