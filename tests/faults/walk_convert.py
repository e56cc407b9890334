"""Conversions and fixes into a new folder, stopped, interrupted and failing at every step, and writing by halves."""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from ckptkit import api
from ckptkit.storage import writer
from tests.damage import CT, QUARK_SHARDED, REAL, load
from tests.faults.one_thread import alone
from tests.faults.steps import FAILURES, FAST, fail_everywhere, halved, interrupt_everywhere, run, walk

Work = Callable[[], object]
Files = dict[str, bytes]


def to_ct(folder: Path) -> Work:
    shutil.copytree(REAL / QUARK_SHARDED, folder / "source", dirs_exist_ok=True)
    return lambda: api.convert(folder / "source", folder / "out", to="ct", jobs=1)


def to_bf16(folder: Path) -> Work:
    """Every weight is computed, and none copied."""
    shutil.copytree(REAL / CT, folder / "source", dirs_exist_ok=True)
    return lambda: api.convert(folder / "source", folder / "out", to="bf16", jobs=1)


def fixed_copy(folder: Path) -> Work:
    checkpoint = load(CT)
    checkpoint.rename(r"(.*)\.weight_scale", r"\1.weight_scale_inv")
    checkpoint.write(folder / "source")
    return lambda: api.fix(folder / "source", output=folder / "out")


def files_in(folder: Path) -> Files:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Walked:
    """One piece of work, and what it makes undisturbed."""

    def __init__(self, prepare: Callable[[Path], Work]) -> None:
        self.prepare = prepare
        with TemporaryDirectory(dir=FAST) as place:
            prepare(Path(place))()
            self.source, self.out = files_in(Path(place) / "source"), files_in(Path(place) / "out")

    def describe(self, folder: Path) -> str:
        """What lies there: a staging folder is removed by the next run, whatever it holds."""
        return json.dumps([(folder / "out").exists(), len(list(folder.iterdir())) > 1 + (folder / "out").exists()])

    def check(self, folder: Path) -> None:
        """The source as it was, the destination whole or absent; the next run does its work, and nothing is left."""
        assert files_in(folder / "source") == self.source, "the source is not what it was"
        if (folder / "out").exists():
            assert files_in(folder / "out") == self.out, "half a destination"
            shutil.rmtree(folder / "out")
        assert run(self.prepare(folder)) == "done", "the next run does not do its work"
        assert files_in(folder / "out") == self.out, "the next run makes something else"
        assert {path.name for path in folder.iterdir()} == {"source", "out"}, "something is left"

    def check_ended(self, folder: Path, done: bool) -> None:
        """Done means there, and anything else not; what could be removed has been, by the run itself."""
        assert (folder / "out").exists() or not done, "done and not done"
        left = {path.name for path in folder.iterdir()} - {"source", "out"}
        assert not left or not done, "something is left by a run that is done"
        self.check(folder)

    def check_interrupted(self, folder: Path, done: bool) -> None:
        """As the message says: nothing unfinished is left, however often Ctrl-C was pressed."""
        assert {path.name for path in folder.iterdir()} <= {"source", "out"}, "something unfinished is left"
        self.check_ended(folder, done)

    def check_whole(self, folder: Path) -> None:
        """Everything is there, without another run."""
        assert files_in(folder / "out") == self.out, "something is lost"


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    writer._run = alone  # type: ignore[assignment]
    reach = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    counted: dict[str, int] = {}
    for prepare in (to_ct, to_bf16, fixed_copy):
        walked, name = Walked(prepare), prepare.__name__
        counted[f"{name}: stopped"] = walk(walked.prepare, walked.describe, walked.check).stopped
        counted[f"{name}: failed"] = fail_everywhere(walked.prepare, walked.check_ended, FAILURES)
        counted[f"{name}: interrupted"] = interrupt_everywhere(walked.prepare, walked.check_interrupted, reach)
        counted[f"{name}: by halves"] = halved(walked.prepare, walked.check_whole)
    print(json.dumps(counted))
