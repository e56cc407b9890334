"""Where everything that is printed goes and in what manner: colour, how much, to the terminal or into a file.

Commands and renderers ask here and nowhere else. The command line configures it once for each run.
"""

from __future__ import annotations

import io
import os
import sys
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ckptkit.record import record
from ckptkit.report.encoding import SPELLED_OUT

if TYPE_CHECKING:
    from rich.console import Console

#: Columns where there is no terminal to ask.
_WIDTH = 120
#: Columns of a terminal that does not tell, and lines, of which nothing printed depends.
_USUAL, _LINES = 80, 25
#: Narrower than this, nothing fits: a terminal that says less is taken to be this wide.
_NARROWEST = 40


@record
class Manner:
    """How a command prints.

    ``quiet``: the answer alone. ``verbose``: everything that is counted otherwise. ``machine``: one JSON document on
    standard output, errors included. ``exit_zero``: findings and differences are no failure.
    """

    color: str = "auto"
    quiet: bool = False
    verbose: bool = False
    machine: bool = False
    exit_zero: bool = False


class _State:
    """What this run was told, and what it has printed so far for a file."""

    def __init__(self) -> None:
        self.manner = Manner()
        self.file: Path | None = None
        self.held: io.StringIO | None = None
        self.stdout: Any = None


_state = _State()


def manner() -> Manner:
    """How this run prints."""
    return _state.manner


def configure(**changes: Any) -> None:
    """Change how this run prints, by fields of :class:`Manner`."""
    _state.manner = replace(_state.manner, **changes)
    console.cache_clear()


def reset() -> None:
    """Print as nobody has asked for anything, to standard output."""
    global _state
    if _state.held is not None and sys.stdout is _state.held:
        sys.stdout = _state.stdout
    _state = _State()
    console.cache_clear()


def to_file(path: Path) -> None:
    """Hold what goes to standard output from now on, for :func:`finish` to put into a file.

    Raises OutputError where it cannot be written, or is a checkpoint's own.
    """
    from ckptkit.storage.output_file import check_output_file

    check_output_file(path)
    if _state.held is None:
        _state.held, _state.stdout = io.StringIO(), sys.stdout
        sys.stdout = _state.held
    _state.file = path
    console.cache_clear()


def finish(code: int) -> int:
    """Put what was held into its file, whole or not at all; the exit code of the run.

    What was interrupted, or failed before it printed anything, leaves the file as it was. Raises OutputError.
    """
    held, file, wanted = _state.held, _state.file, _state.manner
    if held is not None:
        sys.stdout = _state.stdout
        _state.held = None
    if held is not None and file is not None and code in (0, 1, 2) and (code < 2 or held.getvalue()):
        from ckptkit.storage.output_file import write_output_file

        write_output_file(file, held.getvalue().encode("utf-8", SPELLED_OUT))
    return 0 if code == 1 and wanted.exit_zero else code


@lru_cache(maxsize=2)
def console(*, stderr: bool = False) -> Console:
    """The one console for standard output, and the one for standard error."""
    from rich.console import Console

    class Ours(Console):
        """A console that leaves a closed pipe to whoever runs the command: rich would end the process with 1."""

        def on_broken_pipe(self) -> None:
            raise

    stream = sys.stderr if stderr else sys.stdout  # None where it was closed: what is printed goes nowhere
    terminal = stream is not None and stream.isatty()
    coloured = _coloured(terminal)
    made = Ours(
        stderr=stderr,
        markup=False,
        emoji=False,
        highlight=False,
        soft_wrap=True,
        width=_columns_of(stream) if terminal else _WIDTH,
        height=_LINES,  # without one, rich would not believe the width of a terminal that says it is dumb
        force_terminal=terminal,
        color_system=None if not coloured else "auto" if terminal and not _is_dumb() else "standard",
        no_color=not coloured,
    )
    if terminal and made.width < _NARROWEST:
        made.width = _NARROWEST
    return made


def _columns_of(stream: Any) -> int:
    """Columns of a terminal, whatever it calls itself: rich asks none that says it is dumb."""
    asked = os.environ.get("COLUMNS", "")
    if asked.isascii() and asked.isdigit() and int(asked):
        return int(asked)
    try:
        return os.get_terminal_size(stream.fileno()).columns or _USUAL
    except (OSError, ValueError):
        return _USUAL


def _coloured(terminal: bool) -> bool:
    """Whether to colour: what was asked for, then NO_COLOR and FORCE_COLOR, then whether somebody looks."""
    asked = _state.manner.color
    if asked != "auto":
        return asked == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR", "0") not in ("", "0"):
        return True
    return terminal and not _is_dumb()


def _is_dumb() -> bool:
    return os.environ.get("TERM", "").lower() in ("dumb", "unknown")
