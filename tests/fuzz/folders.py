"""Commands on a mutated folder, in this process: one exit code of ours each, and the folder as it was."""

from __future__ import annotations

import io
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from types import FrameType

import click

from ckptkit.cli.main import cli
from ckptkit.errors import CkptkitError
from tests.damage import load
from tests.fuzz.mutate import Choose, Files, mutate_folder
from tests.raw import write_files

_FAST = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
#: Small exports of every format and layout.
FIXTURES = (
    *("llama/llmcompressor-dynamic-kv", "llama/llmcompressor-fp8", "llama/quark-ptpc-sharded", "llama/quark-fp8-kv"),
    *("llama/modelopt-fp8-kv", "llama-block-aligned/quark-block", "qwen3_moe/quark-ptpc-experts", "llama/bf16"),
)
#: ``@`` is the folder, ``@new`` a folder that does not exist yet, ``@same`` the fixture as it was.
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("inspect", "@", "--json"),
    ("inspect", "@"),
    ("inspect", "@", "--plot"),
    ("report", "@", "--to", "ct", "--tp", "1,2", "--json"),
    ("report", "@", "@same", "--level", "full", "--json"),
    ("validate", "@", "--json"),
    ("validate", "@", "--level", "full", "--output-format", "sarif"),
    ("validate", "@", "--diff", "--unsafe-fixes"),
    ("validate", "@", "--matrix", "--tp", "1,2,3", "--skip-list"),
    ("validate", "@", "--fix", "--unsafe-fixes", "--output", "@new"),
    ("convert", "--to", "ct", "--dry-run", "--json", "@"),
    ("convert", "--to", "ct", "--allow-lossy", "--no-fsync", "@", "@new"),
    ("convert", "--to", "quark", "--no-fsync", "@", "@new"),
    ("convert", "--to", "fp8", "--allow-lossy", "--no-fsync", "@", "@new"),
    ("convert", "--to", "bf16", "--no-fsync", "@", "@new"),
    ("diff", "@", "@same"),
    ("diff", "@same", "@", "--json"),
    ("card", "@", "--print"),
    ("serve", "@", "--tp", "3"),
    ("validate", "@", "--fix"),
)
#: Seconds of this process's time that a command may take.
PATIENCE = 5


class HangError(BaseException):
    """A command that takes too long. Nothing may catch it."""


class FuzzError(AssertionError):
    """What no input may bring about: a foreign exception, a hang, a folder that changed."""


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Raise HangError after so many seconds of work, which other programs do not use up."""

    def late(signum: int, frame: FrameType | None) -> None:
        raise HangError

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def run(arguments: Sequence[str]) -> int:
    """The exit code of a command, as ``main`` would give it. Raises FuzzError where that would speak of a defect."""
    out, err = io.StringIO(), io.StringIO()
    try:
        with redirect_stdout(out), redirect_stderr(err), patience(PATIENCE):
            code = cli.main(list(arguments), standalone_mode=False, prog_name="ckptkit")
    except SystemExit as end:
        code = end.code
    except (CkptkitError, click.ClickException):
        return 2
    except HangError:
        raise FuzzError(f"{arguments[0]}: more than {PATIENCE} s") from None
    except Exception as error:
        frames = "".join(traceback.format_exception(error)[-4:])
        raise FuzzError(f"{' '.join(arguments)}: {frames}") from error
    shown = out.getvalue() + err.getvalue()
    if any(not (char.isprintable() or char in "\n\t") for char in shown):
        raise FuzzError(f"{' '.join(arguments)}: control characters are printed")
    return code if isinstance(code, int) else 0


def attack(choose: Choose, commands: Sequence[tuple[str, ...]] = COMMANDS) -> Counter[str]:
    """Mutate a fixture and run the commands on it; how often each exit code came."""
    fixture = FIXTURES[choose(len(FIXTURES))]
    original = load(fixture).to_files()
    return on_files(mutate_folder(original, choose), original, commands)


def on_files(files: Files, original: Files, commands: Sequence[tuple[str, ...]] = COMMANDS) -> Counter[str]:
    """Run the commands on a folder of these files. Raises FuzzError."""
    codes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="ckptkit-fuzz-", dir=_FAST) as place, _working_in(place):
        folder, same = write_files(Path(place) / "folder", files), write_files(Path(place) / "same", original)
        folder.mkdir(exist_ok=True)
        words = {"@": str(folder), "@same": str(same), "@new": f"{place}/new"}
        for command in commands:
            in_place = "--fix" in command and "@new" not in command
            before = {} if in_place else _contents(folder)
            codes[f"{command[0]} {run([words.get(word, word) for word in command])}"] += 1
            if not in_place and _contents(folder) != before:
                raise FuzzError(f"{' '.join(command)}: the folder is not what it was")
            shutil.rmtree(f"{place}/new", ignore_errors=True)
            if sorted(os.listdir(place)) != ["folder", "same"]:
                raise FuzzError(f"{' '.join(command)}: something is left: {sorted(os.listdir(place))}")
    return codes


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def _working_in(place: str) -> Iterator[None]:
    """No pyproject.toml of ours has a say."""
    before = os.getcwd()
    os.chdir(place)
    try:
        yield
    finally:
        with suppress(OSError):
            os.chdir(before)


def main() -> int:
    """``python -m tests.fuzz.folders COUNT SEED``: random folders; prints exit codes by command, or what was wrong."""
    import json
    import random

    count, seed = int(sys.argv[1]), int(sys.argv[2])
    codes: Counter[str] = Counter()
    wrong = 0
    for number in range(count):
        generator = random.Random(seed * 1_000_000 + number)
        try:
            codes += attack(lambda n: generator.randrange(n))  # noqa: B023
        except FuzzError as error:
            wrong += 1
            print(f"input {number} of seed {seed}: {error}", file=sys.stderr, flush=True)
    print(
        json.dumps(
            {"inputs": count, "commands": sum(codes.values()), "codes": dict(sorted(codes.items())), "wrong": wrong}
        )
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
