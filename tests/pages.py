"""Pages that are programs: their blocks of code, and how each language of them runs, in the folder of the demo.

=========  ======================================================================================================
bash       each line is typed into a shell; a comment ``# exit code 1`` says how it ends
console    a session: each line behind ``$`` is typed, and what follows it is what is printed (``...``: anything)
python     executed, in the session of the page
pycon      lines at Python's prompt and what it answers, in the same session
toml       settings: each table ``[tool.ckptkit]`` is read as the command reads it
json       the beginning of every document that a command prints with ``--json``
=========  ======================================================================================================
"""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
#: What a line of a shell ends with where it does not end well.
_CODE = re.compile(r"#.*exit code (\d+)(?::|$)")
#: Lines of shells that are not typed, by how they begin, and why.
NOT_TYPED = {
    "make demo": "the folder is made as it makes it",
    "cd build/demo": "the folder is entered",
    "pip install": "what it installs is what is tested; tests/interop/test_install.py installs it",
    "python -m benchmarks.gemm": "hours on a GPU; tests/kernels/test_bench.py rehearses it",
}
RUN = ("bash", "console", "python", "pycon", "toml", "json")


class Block(NamedTuple):
    """A block of code of a page."""

    language: str
    code: str


def pages() -> list[Path]:
    """README and everything that is written in docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, *languages: str) -> list[Block]:
    """The blocks of a page in its order, all or those in some languages."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [Block(*block) for block in found if block[0] in languages or not languages]


def play(
    page: Path, environment: Mapping[str, str] | None = None, names: Mapping[str, object] | None = None
) -> Iterator[str]:
    """Run what a page says in the current folder, in its order; what of it did not go as the page says.

    Shells have ``environment`` beside what is inherited, and Python knows ``names``.
    """
    session: dict[str, Any] = {**(names or {})}
    environment = {**os.environ, "COLUMNS": "120", **(environment or {})}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    for language, code in blocks(page, *RUN):
        if language == "bash":
            yield from _lines(code, environment)
        elif language == "console":
            yield from _session(code, environment)
        elif language == "python":
            exec(compile(code, page.name, "exec"), session)
        elif language == "pycon":
            yield from _at_a_prompt(code, session)
        elif language == "toml":
            _read_settings(code)
        else:
            yield from _begins_a_document(code)


def _lines(code: str, environment: Mapping[str, str]) -> Iterator[str]:
    for line in filter(None, code.splitlines()):
        if not line.startswith(("#", *NOT_TYPED)):
            yield from _typed(line, environment)[0]


def _session(code: str, environment: Mapping[str, str]) -> Iterator[str]:
    parts = re.split(r"^\$ (.*)\n", code, flags=re.MULTILINE)
    if parts[0]:
        yield f"a session begins with what is typed: {parts[0]}"
    for line, expected in zip(parts[1::2], parts[2::2], strict=True):
        wrong, shown = _typed(line, environment)
        yield from wrong
        if not _matches(expected, shown):
            yield f"{line}\nexpected:\n{expected}got:\n{shown}"


def _matches(expected: str, shown: str) -> bool:
    """Whether this is what was to be printed; what took how long differs from run to run."""
    pattern = re.escape(expected).replace(re.escape("..."), ".*?")
    return re.fullmatch(pattern, shown, re.DOTALL) is not None


def _typed(line: str, environment: Mapping[str, str]) -> tuple[list[str], str]:
    """A line in a shell: what went wrong, and what was printed."""
    promised = _CODE.search(line)
    command = ["bash", "-c", f'ckptkit() {{ "{sys.executable}" -m ckptkit "$@"; }}\n{line}']
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = subprocess.run(command, text=True, encoding="utf-8", env=environment, check=False, timeout=120, **streams)
    if done.returncode == int(promised[1] if promised else 0):
        return [], done.stdout
    return [f"{line}: exit code {done.returncode}\n{done.stdout}"], done.stdout


def _at_a_prompt(code: str, session: dict[str, Any]) -> Iterator[str]:
    wrong: list[str] = []
    example = doctest.DocTestParser().get_doctest(code, session, "page", None, None)
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=wrong.append, clear_globs=False)
    session.update(example.globs)
    yield from wrong


def _read_settings(code: str) -> None:
    """Raises UsageError for what is no setting, as the command would."""
    from ckptkit.checks.settings import PROJECT_KEYS, checked
    from ckptkit.storage.untrusted import parse_toml

    checked(parse_toml(code.encode())["tool"]["ckptkit"], "page", PROJECT_KEYS)


def _begins_a_document(code: str) -> Iterator[str]:
    import json

    from ckptkit.report.document import stamped

    promised = json.loads(code)
    name = promised["$schema"].rpartition(":")[2]
    if [*stamped({}, name).items()] != [*promised.items()]:
        yield f"no document begins so: {code}"
