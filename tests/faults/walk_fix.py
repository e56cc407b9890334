"""``--fix`` in place through the one writer, stopped at every step in every state, and failing at every step."""

from __future__ import annotations

import json
import os
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

from ckptkit import api
from ckptkit.conversion.apply_fixes import write_in_place
from ckptkit.edits.changes import RebuildIndex, SetKey, SetMetadata
from ckptkit.edits.workspace import Workspace
from ckptkit.errors import CkptkitError
from ckptkit.storage.replace import finish_interrupted
from tests.faults.steps import FAILURES, fail_everywhere, halved, walk

FIXTURE = Path(__file__).resolve().parents[2] / "fixtures" / "real" / "llama" / "quark-ptpc-sharded"
OLD = {path.name: path.read_bytes() for path in FIXTURE.iterdir()}


def prepare(folder: Path) -> Callable[[], object]:
    root = folder / "checkpoint"
    shutil.copytree(FIXTURE, root, dirs_exist_ok=True)
    return lambda: fix(root)


def fix(root: Path) -> None:
    """Edits of every kind of file that a fix changes: shards, index, config."""
    finish_interrupted(root)
    container = api.open_files(root)
    edits = [SetMetadata(header.shard, "format", "fixed") for header in container.headers]
    workspace = Workspace.of(container).apply([*edits, RebuildIndex(), SetKey(("fixed",), True)])
    write_in_place(SimpleNamespace(workspace=workspace), container.source, root)  # type: ignore[arg-type]


def now(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in root.iterdir()}


def after() -> dict[str, bytes]:
    """What an undisturbed fix makes."""
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        prepare(Path(place))()
        return now(Path(place) / "checkpoint")


NEW = after()


def describe(folder: Path) -> str:
    """Which files are old and which new. Without a marker it is all the same what lies beside."""
    beside = folder / ".checkpoint.ckptkit-replace"
    places = {name: [data == OLD.get(name), data == NEW.get(name)] for name, data in now(folder / "checkpoint").items()}
    staged = sorted(os.listdir(beside)) if (beside / ".complete").exists() else beside.exists()
    return json.dumps([places, staged])


def check(folder: Path) -> None:
    """Whole and old, whole and new, or refused; then the next --fix does its work, and nothing is left."""
    root = folder / "checkpoint"
    try:
        api.open_files(root)
        assert now(root) in (OLD, NEW), "a mixture is read as a checkpoint"
    except CkptkitError as error:
        assert "half changed" in error.message
    fix(root)
    assert now(root) == NEW, "the next --fix does not do its work"
    assert os.listdir(folder) == ["checkpoint"], "something is left"


def check_failure(folder: Path, done: bool) -> None:
    """Done means new."""
    assert not done or now(folder / "checkpoint") == NEW, "done and not done"
    check(folder)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    walked = walk(prepare, describe, check)
    failed = fail_everywhere(prepare, check_failure, FAILURES if "all" in sys.argv else {"EIO": FAILURES["EIO"]})
    short = halved(prepare, check)
    print(json.dumps({"stopped": walked.stopped, "states": len(walked.states), "failed": failed, "by halves": short}))
