"""``ckptkit`` as a user without privileges: ``python as_nobody.py FOLDER ARGUMENTS...`` for tests that run as root.

Everything is imported before the privileges go, since nobody may be able to read the interpreter's folder: the same
command has to have been run once for that, on a copy of FOLDER that is thrown away. Without root it just runs.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from ckptkit.cli import main as command_line

NOBODY = 65534


def import_all(folder: Path, arguments: list[str]) -> None:
    """Do the same work on a copy that may be written, without a word."""
    with tempfile.TemporaryDirectory() as place, open(os.devnull, "w") as null:
        copy = Path(shutil.copytree(folder, Path(place) / "copy"))
        for path in (copy, *copy.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        warm = [argument.replace(str(folder), str(copy)).replace("@OUT@", f"{place}/out") for argument in arguments]
        stdout, stderr, argv = sys.stdout, sys.stderr, sys.argv
        try:
            for words in (warm, ["inspect", f"{place}/absent"]):  # an error is printed by code of its own
                sys.stdout, sys.stderr, sys.argv = null, null, ["ckptkit", *words]
                with suppress(SystemExit):
                    command_line.main()
        finally:
            sys.stdout, sys.stderr, sys.argv = stdout, stderr, argv
    import ckptkit.report.internal  # noqa: F401


if __name__ == "__main__":
    out, folder, *given = sys.argv[1:]
    import_all(Path(folder), given)
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    sys.argv = ["ckptkit", *(argument.replace("@OUT@", out) for argument in given)]
    command_line.main()
