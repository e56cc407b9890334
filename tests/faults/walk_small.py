"""Hooks, the manifest of ``hf`` and the model card, stopped at every step in every state, and failing at every step."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

from ckptkit.card.section import make, write
from ckptkit.errors import CkptkitError
from ckptkit.hub import extension, hooks
from tests.faults.steps import FAILURES, fail_and_stop, fail_everywhere, halved, interrupt_everywhere, walk

USERS = "#!/bin/sh\necho the user's own\n"
ROOT = Path(__file__).resolve().parents[2]
CHECKPOINT = ROOT / "fixtures" / "real" / "llama" / "quark-ptpc"
CARD_BEFORE = "---\nlicense: mit\n---\n# Theirs\n"

Work = Callable[[], object]


def tree(folder: Path) -> dict[str, str]:
    """Every file's name, whether it can be executed, and its content; what has a date is cut off there."""
    return {
        str(path.relative_to(folder)): f"{os.access(path, os.X_OK)} {path.read_text().partition('installed_at')[0]}"
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def describe(folder: Path) -> str:
    return json.dumps(tree(folder))


# -- the git hook ----------------------------------------------------------------------------------------------------


def no_git(path: Path) -> object:
    """Where the hooks of a clone are, without asking git a thousand times."""
    return SimpleNamespace(hooks=lambda: path / "hooks")


def a_users_hook(folder: Path) -> None:
    (folder / "hooks").mkdir(parents=True, exist_ok=True)
    (folder / "hooks" / "pre-push").write_text(USERS)
    (folder / "hooks" / "pre-push").chmod(0o755)


def before_install(folder: Path) -> Work:
    a_users_hook(folder)
    return lambda: hooks.install(folder)


def before_uninstall(folder: Path) -> Work:
    a_users_hook(folder)
    hooks.install(folder)
    return lambda: hooks.uninstall(folder)


def hook_is_active(folder: Path) -> None:
    """The user's hook is in its place, or ours with the user's behind it; each whole and executable."""
    found = tree(folder / "hooks")
    active = found.get("pre-push", "none")
    ours = "Installed by ckptkit" in active and active.startswith("True") and active.endswith("fi\n")
    assert active == f"True {USERS}" or ours, f"the active hook is {active!r}"
    assert not ours or found.get("pre-push.before-ckptkit") == f"True {USERS}", "the user's hook is lost"


def install_again(folder: Path) -> None:
    hooks.install(folder)
    hook_is_active(folder)
    assert sorted(tree(folder / "hooks")) == ["pre-push", "pre-push.before-ckptkit"], "something is left"


def uninstall_again(folder: Path) -> None:
    try:
        hooks.uninstall(folder)
    except CkptkitError:
        assert sorted(tree(folder / "hooks")) == ["pre-push"], "nothing to uninstall, and something is left"
    assert tree(folder / "hooks") == {"pre-push": f"True {USERS}"}, "not as it was"


# -- hf's manifest ---------------------------------------------------------------------------------------------------


def before_register(folder: Path) -> Work:
    os.environ["HOME"] = str(folder)
    return extension.register


def before_unregister(folder: Path) -> Work:
    os.environ["HOME"] = str(folder)
    extension.register()
    return extension.unregister


def manifest_is_whole(folder: Path) -> None:
    os.environ["HOME"] = str(folder)
    manifest = extension.folder() / "manifest.json"
    if manifest.exists():
        assert json.loads(manifest.read_text())["short_name"] == "ckptkit", "half a manifest"


def register_again(folder: Path) -> None:
    os.environ["HOME"] = str(folder)
    extension.register()
    manifest_is_whole(folder)
    assert sorted(tree(extension.folder())) == [".latest_commit", "manifest.json"], "something is left"


def unregister_again(folder: Path) -> None:
    os.environ["HOME"] = str(folder)
    with suppress(CkptkitError):
        extension.unregister()
    assert not extension.folder().exists(), "something is left"


# -- the card --------------------------------------------------------------------------------------------------------


def before_card(folder: Path) -> Work:
    shutil.copytree(CHECKPOINT, folder / "model", dirs_exist_ok=True)
    (folder / "model" / "README.md").write_text(CARD_BEFORE)
    return lambda: write_card(folder)


def write_card(folder: Path) -> None:
    from ckptkit import api

    write(make(api.open(folder / "model"), folder / "model"))


def describe_card(folder: Path) -> str:
    return json.dumps(tree_of_names(folder / "model"))


def tree_of_names(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in sorted(folder.iterdir())}


def card_is_whole(folder: Path) -> None:
    text = (folder / "model" / "README.md").read_text()
    assert text == CARD_BEFORE or ("# Theirs" in text and text.endswith("end -->\n")), "half a card"


def card_again(folder: Path) -> None:
    card_is_whole(folder)
    write_card(folder)
    assert "ckptkit:quantization:end" in (folder / "model" / "README.md").read_text()
    names = {path.name for path in CHECKPOINT.iterdir()} | {"README.md"}
    assert set(tree_of_names(folder / "model")) == names, "something is left"


WALKS: dict[str, tuple[Callable[[Path], Work], Callable[[Path], str], tuple[Callable[[Path], None], ...]]] = {
    "hook install": (before_install, describe, (hook_is_active, install_again, uninstall_again)),
    "hook uninstall": (before_uninstall, describe, (hook_is_active, install_again, uninstall_again)),
    "hf": (before_register, describe, (manifest_is_whole, register_again, unregister_again)),
    "hf --remove": (before_unregister, describe, (manifest_is_whole, register_again, unregister_again)),
    "card": (before_card, describe_card, (card_is_whole, card_again)),
}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    hooks.GitRepository = SimpleNamespace(at=no_git)  # type: ignore[assignment,misc]
    counted: dict[str, int] = {}
    for name, (prepare, state, checks) in WALKS.items():
        counted[f"{name}: stopped"] = walk(prepare, state, *checks).stopped
        counted[f"{name}: failed"] = fail_everywhere(prepare, lambda folder, done: checks[0](folder), FAILURES)  # noqa: B023
        counted[f"{name}: failed and stopped"] = fail_and_stop(prepare, *checks)
        counted[f"{name}: interrupted"] = interrupt_everywhere(prepare, lambda folder, done: checks[1](folder), 2)  # noqa: B023
        counted[f"{name}: by halves"] = halved(prepare, checks[0])
    print(json.dumps(counted))
