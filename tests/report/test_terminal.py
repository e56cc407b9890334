"""Lines of styled texts: how wide they are, how they are cut, and what a console writes of them."""

from __future__ import annotations

import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console as RichConsole
from rich.text import Text

from ckptkit.report.terminal import Console, Line, columns, joined

STYLES = ("", "bold", "dim", "red", "bold red", "bold green", "bold yellow", "bold blue", "bold cyan")
#: Latin, accents, combining marks, arrows, Braille and box drawing, CJK in both widths, Hangul, Thai.
TEXT = st.text("ab é\u0301→×⡇━層ｶカ한ที…")
LINES = st.lists(st.tuples(TEXT, st.sampled_from(STYLES))).map(lambda pieces: Line(tuple(pieces)))


@given(TEXT)
def test_a_text_is_as_wide_as_a_library_for_terminals_says(text: str) -> None:
    assert columns(text) == cell_len(text)


@given(LINES)
def test_a_console_writes_what_a_library_for_terminals_writes(line: Line) -> None:
    for coloured in (True, False):
        theirs, ours = io.StringIO(), io.StringIO()
        system = "standard" if coloured else None
        console = RichConsole(file=theirs, force_terminal=True, color_system=system, soft_wrap=True, highlight=False)
        console.print(Text.assemble(*line.pieces))
        Console(80, is_coloured=coloured, file=ours).print(line)
        assert ours.getvalue() == theirs.getvalue()


@given(LINES, st.data())
def test_parts_of_a_line_are_the_line(line: Line, data: st.DataObject) -> None:
    offsets = sorted(data.draw(st.lists(st.integers(0, len(line.plain)))))
    parts = line.divided(offsets)
    assert [part.plain for part in parts] == [part.plain for part in Text(line.plain).divide(offsets)]
    styled = [(character, style) for text, style in line.pieces for character in text]
    assert [(character, style) for text, style in joined(parts).pieces for character in text] == styled
    assert line.stripped().plain == line.plain.rstrip() and line.columns == columns(line.plain)


def test_a_console_writes_to_the_stream_of_the_moment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, err = Console(80), Console(80, stderr=True)
    held = io.StringIO()
    monkeypatch.setattr(sys, "stdout", held)
    out.print(Line((("held", ""),)))
    err.print(joined(["said", Line((("!", "bold"),))]))
    assert held.getvalue() == "held\n" and capsys.readouterr() == ("", "said!\n")
    monkeypatch.setattr(sys, "stdout", None)
    out.print(Line((("nowhere", ""),)))
    assert out.encoding == "utf-8" and capsys.readouterr() == ("", "")
