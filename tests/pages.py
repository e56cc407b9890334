"""Pages that are programs: their blocks of code, and how each language of them runs, in the folder of the demo."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: What a line of a shell ends with where it does not end well.
_CODE = re.compile(r"#.*exit code (\d+)(?::|$)")


def pages() -> list[Path]:
    """README and everything that is written in docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, *languages: str) -> list[tuple[str, str]]:
    """The blocks of a page in these languages, in its order: language and code."""
    found = re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [(language, code) for language, code in found if language in languages]


def play(page: Path) -> Iterator[str]:
    """Run what a page says in the current folder, in its order; what of it did not go as the page says."""
    session: dict[str, object] = {}
    for language, code in blocks(page, "bash", "python", "pycon"):
        if language == "bash":
            yield from _typed(code)
        elif language == "python":
            exec(compile(code, page.name, "exec"), session)
        else:
            yield from _at_a_prompt(code, session)


def _typed(code: str) -> Iterator[str]:
    """What sets up the place is not typed again; our commands are."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for line in (line for line in code.splitlines() if line.startswith("ckptkit ")):
        promised = _CODE.search(line)
        command = ["bash", "-c", line]
        done = subprocess.run(
            command, capture_output=True, text=True, encoding="utf-8", env={**os.environ, "PATH": path}, check=False
        )
        if done.returncode != int(promised[1] if promised else 0):
            yield f"{line}: exit code {done.returncode}\n{done.stdout}{done.stderr}"


def _at_a_prompt(code: str, session: dict[str, object]) -> Iterator[str]:
    wrong: list[str] = []
    example = doctest.DocTestParser().get_doctest(code, session, "page", None, None)
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=wrong.append, clear_globs=False)
    session.update(example.globs)
    yield from wrong
