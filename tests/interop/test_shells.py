"""Completion in the shells themselves: what is typed, a tab, and what then stands on the line or below it."""

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

from ckptkit.checks.registry import by_code
from tests.interop.environments import EnvironmentBuildError, ensure_program

#: How a shell begins that reads no files of its user's, and sets completion up from a script.
SETUP = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], "source {script}"),
    "zsh": (["zsh", "-f", "-i"], "autoload -U compinit && compinit -u -D; source {script}"),
}
#: What is typed before the tab, and words of what the shell then shows.
TYPED = [
    ("ckptkit valid", ["ckptkit validate "]),
    ("ckptkit validate --for vl", ["--for vllm "]),
    ("ckptkit validate --for vllm,tr", ["vllm,trtllm", "vllm,transformers"]),
    ("ckptkit validate --level s", ["--level scales "]),
    ("ckptkit rule CK301", ["CK301 "]),
    ("ckptkit convert quark-to-mo", ["quark-to-mo"]),
    ("ckptkit convert --to bf", ["--to bf16 "]),
    ("ckptkit convert --scheme ptpc", ["--scheme ptpc_fp8 "]),
    ("ckptkit hook unin", ["hook uninstall "]),
    ("ckptkit inspect Llama-3.1-8B-FP8-b", ["Llama-3.1-8B-FP8-broken/"]),
    ("ckptkit report --to qua", ["--to quark "]),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the command on its path, the script of each shell, and a checkpoint's folder to complete."""
    home = tmp_path_factory.mktemp("home")
    (home / "bin").mkdir()
    (home / "Llama-3.1-8B-FP8-broken").mkdir()
    command = home / "bin" / "ckptkit"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ckptkit "$@"\n')
    command.chmod(0o755)
    for shell in ("bash", "zsh", "fish"):
        words = [sys.executable, "-m", "ckptkit", "completion", shell, "--output-file", str(home / f"script.{shell}")]
        subprocess.run(words, check=True)
    return home


def environment(place: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CKPTKIT_", "XDG_"))}
    path = f"{place / 'bin'}:{os.environ['PATH']}"
    return {**kept, "HOME": str(place), "PATH": path, "TERM": "xterm", "PS1": "<ready>", "LC_ALL": "C.UTF-8"}


def needed(shell: str) -> None:
    try:
        ensure_program(shell)
    except EnvironmentBuildError as error:
        pytest.skip(str(error))


@contextmanager
def terminal(shell: str, place: Path) -> Iterator[int]:
    """An interactive shell with completion set up; the terminal's other end."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
    command, setup = SETUP[shell]
    streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    with subprocess.Popen(command, cwd=place, env=environment(place), start_new_session=True, **streams) as process:
        os.close(theirs)
        try:
            os.write(
                ours, f"PS1='<ready>'; {setup.format(script=place / f'script.{shell}')}; echo it''begins\n".encode()
            )
            shown_until(ours, ["itbegins", "<ready>"], 20)
            yield ours
        finally:
            process.kill()
            process.wait(10)
            os.close(ours)


def shown_until(descriptor: int, words: list[str], seconds: float) -> str:
    """What is shown until all words stand there."""
    shown = b""
    while select.select([descriptor], [], [], seconds)[0]:
        shown += os.read(descriptor, 1 << 16)
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x07", "", shown.decode(errors="replace"))
        if all(word in text for word in words):
            return text
    raise AssertionError(f"{words} are not in {shown.decode(errors='replace')!r}")


@pytest.mark.parametrize("shell", list(SETUP))
def test_a_tab_completes(shell: str, place: Path) -> None:
    needed(shell)
    with terminal(shell, place) as typed:
        for line, words in TYPED:
            os.write(typed, f"{line}\t\t".encode())
            shown_until(typed, words, 15)
            os.write(typed, b"\x15")  # Control-U: the line goes


def fish(code: str, place: Path) -> str:
    """What fish prints after it has read the script."""
    needed("fish")
    command = ["fish", "--no-config", "-c", f"source {place / 'script.fish'}; {code}"]
    done = subprocess.run(command, cwd=place, env=environment(place), capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize(("line", "words"), TYPED)
def test_fish_completes(line: str, words: list[str], place: Path) -> None:
    offered = [offer.partition("\t")[0] for offer in fish(f"complete -C '{line}'", place).splitlines()]
    assert {word.split()[-1] for word in words} <= set(offered) and len(offered) <= 2


def test_fish_shows_whole_what_rules_say(place: Path) -> None:
    summary = by_code("CK302").plain_summary
    assert fish("complete -C 'ckptkit rule CK302'", place) == f"CK302\t{summary}\n" and "," in summary
