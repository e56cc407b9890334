"""Replacing files of a folder, stopped at every step in every state, and failing at every step. Prints what it saw."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path

from ckptkit.errors import CkptkitError
from ckptkit.storage.replace import finish_interrupted, replacing
from ckptkit.storage.source import LocalSource
from tests.faults.steps import FAILURES, fail_and_stop, fail_everywhere, walk

OLD = {"a.safetensors": b"old a", "config.json": b"old config", "README.md": b"stays", "sub/b.json": b"old b"}
NEW = {"a.safetensors": b"new a", "config.json": b"new config", "sub/b.json": b"new b"}
AFTER = {**OLD, **NEW}


def prepare(folder: Path) -> Callable[[], object]:
    root = folder / "checkpoint"
    for name, data in OLD.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return lambda: fix(root)


def fix(root: Path) -> None:
    """What a --fix does, with files written as the writer writes them."""
    with replacing(root) as staged:
        for name, data in NEW.items():
            (staged / name).parent.mkdir(exist_ok=True)
            handle = os.open(staged / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            os.write(handle, data)
            os.close(handle)


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def describe(folder: Path) -> str:
    """Names and contents, but of the marker only whether it is there: inodes and times differ from run to run."""
    return json.dumps(
        {
            str(path.relative_to(folder)): "" if "complete" in path.name else path.read_bytes().decode()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
    )


def check_reading(folder: Path) -> None:
    """Whole and old, whole and new, or refused; the next look finishes it or takes it back."""
    root = folder / "checkpoint"
    now = files_in(root)
    refused = False
    try:
        LocalSource(root)
    except CkptkitError:
        refused = True
    assert refused or now in (OLD, AFTER), "a mixture is read as a checkpoint"
    finish_interrupted(root)
    assert files_in(root) in (OLD, AFTER), "the interrupted --fix cannot be finished"
    assert os.listdir(folder) == ["checkpoint"], "something is left"


def check_fixing(folder: Path) -> None:
    """The next --fix does its work."""
    root = folder / "checkpoint"
    fix(root)
    assert files_in(root) == AFTER, "the next --fix does not do its work"
    assert os.listdir(folder) == ["checkpoint"], "something is left"


def check_failure(folder: Path, done: bool) -> None:
    """Done means new; anything else means old, or half changed and refused; the next --fix does its work."""
    assert not done or files_in(folder / "checkpoint") == AFTER, "done and not done"
    check_reading(folder)
    check_fixing(folder)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    walked = walk(prepare, describe, check_reading, check_fixing)
    failed = fail_everywhere(prepare, check_failure, FAILURES)
    both = fail_and_stop(prepare, check_reading, check_fixing)
    deepest = max(len(path) for path in walked.states.values())
    print(
        json.dumps(
            {
                "stopped": walked.stopped,
                "states": len(walked.states),
                "deepest": deepest,
                "failed": failed,
                "failed and stopped": both,
            }
        )
    )
