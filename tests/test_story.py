"""README's story, typed into a shell on a real terminal: every command runs, and what is shown fits the width."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fixtures import demo
from fixtures.terminal import on_screen

SNAPSHOTS = Path(__file__).parent / "report" / "snapshots"
UPDATE = "CKPTKIT_UPDATE_SNAPSHOTS"
#: What the shell says when it waits for a line: nothing that a command prints.
PROMPT = "<ready>"
#: Exit codes of the story's commands: a broken checkpoint is one, all else ends well.
CODES = (1, 0, 0, 0, 0)


class Shell:
    """An interactive shell on a terminal."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._until_prompt()

    def type(self, line: str) -> str:
        """Type a line; what stands on the terminal until the shell is ready again, without colours and the line."""
        os.write(self._descriptor, f"{line}\n".encode())
        return on_screen(self._until_prompt()).partition("\n")[2]

    def _until_prompt(self) -> str:
        shown = b""
        while not shown.endswith(PROMPT.encode()):
            ready, _, _ = select.select([self._descriptor], [], [], 60)
            assert ready, f"the shell is silent after: {shown.decode()}"
            shown += os.read(self._descriptor, 1 << 16)
        return shown.decode().removesuffix(PROMPT)


@contextmanager
def shell(folder: Path, columns: int) -> Iterator[Shell]:
    """A shell in a folder, with our command on its path, on a terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**inherited, "PATH": path, "TERM": "xterm-256color", "PS1": PROMPT, "PS2": "", "LC_ALL": "C.UTF-8"}
    command = ["bash", "--norc", "--noprofile", "--noediting", "-i"]
    streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    with subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True, **streams) as process:
        os.close(theirs)
        try:
            yield Shell(ours)
        finally:
            os.write(ours, b"exit\n")
            process.wait(10)
            os.close(ours)


def settled(text: str) -> str:
    """What is printed, without what differs from run to run: how long it took, and by which call bytes were copied."""
    return re.sub(r"(written: \w+) \([^)]*\)", r"\1 (...)", text)


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_the_story_on_a_terminal(columns: int, tmp_path: Path) -> None:
    demo.build(tmp_path / "demo")
    shown = ""
    with shell(tmp_path / "demo", columns) as typed:
        for (command, _), code in zip(demo.story(), CODES, strict=True):
            shown += f"$ {command}\n{typed.type(command)}"
            assert typed.type("echo $?").strip() == str(code), shown
    for line in settled(shown).splitlines():
        # What is longer than the terminal is a command to copy.
        assert len(line) <= columns or line.startswith(("$ ", "    fix: ")), line
    path = SNAPSHOTS / f"story-{columns}.txt"
    if os.environ.get(UPDATE):
        path.write_text(settled(shown), encoding="utf-8")
    assert settled(shown) == path.read_text(encoding="utf-8"), f"if this is meant: {UPDATE}=1 pytest {__file__}"


def test_the_transcript_is_what_is_printed(tmp_path: Path) -> None:
    demo.build(tmp_path / "demo")
    for command, expected in demo.story():
        program, *arguments = command.split()
        assert program == "ckptkit"
        done = subprocess.run(
            [sys.executable, "-m", "ckptkit", *arguments],
            cwd=tmp_path / "demo",
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
        assert settled(done.stdout) == settled(expected), command


def test_the_story_is_played_by_make_demo(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fixtures.demo", str(tmp_path / "demo"), "--play"],
        cwd=Path(demo.__file__).parents[1],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    )
    assert [f"$ {command}" for command, _ in demo.story()] == re.findall(r"^\$ .*", done.stdout, re.MULTILINE)
    assert "the same model" in done.stdout
