"""Lines, paragraphs and tables: what is wrapped and what never is, whatever a text holds."""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from ckptkit.report import layout
from ckptkit.report.layout import paragraph, print_line, table

#: What a careless renderer reads as markup, as an escape sequence of the terminal and as an emoji.
HOSTILE = "[/x]\x1b[31m:x:\\"
SHOWN = "[/x]\\x1b[31m:x:\\"


def printed(width: int = 40, *, terminal: bool = False) -> tuple[Console, StringIO]:
    stream = StringIO()
    color = None if terminal else "auto"
    return Console(file=stream, width=width, soft_wrap=True, force_terminal=terminal, color_system=color), stream


def test_text_is_never_read_as_markup() -> None:
    out, stream = printed(80)
    print_line(out, HOSTILE, (HOSTILE, "bold"), "\n")
    paragraph(out, HOSTILE)
    table(out, ("count", "name"), [("1", HOSTILE), ("2", [(HOSTILE, "red"), "[red]"])])
    table(out, ("name", "why"), [(HOSTILE, HOSTILE)], prose=True)
    lines = stream.getvalue().splitlines()
    assert lines[0] == f"{SHOWN}{SHOWN}\\n"
    assert lines[1] == SHOWN
    assert lines[3:5] == [f"     1  {SHOWN}", f"     2  {SHOWN}[red]"]
    assert lines[6] == f" {SHOWN}  {SHOWN}"


def test_a_line_is_not_wrapped() -> None:
    out, stream = printed(20)
    print_line(out, "model.layers.0.self_attn.q_proj.weight is long")
    assert stream.getvalue() == "model.layers.0.self_attn.q_proj.weight is long\n"


def test_a_paragraph_is_wrapped_between_words() -> None:
    out, stream = printed(20)
    paragraph(out, "  one two three four model.layers.0.self_attn.q_proj five", indent=4)
    assert stream.getvalue().splitlines() == [
        "  one two three four",
        "    model.layers.0.self_attn.q_proj",
        "    five",
    ]


def test_width_is_counted_in_columns_and_not_in_characters() -> None:
    out, stream = printed(10)
    paragraph(out, "層層層 層層層")
    table(out, ("a", "b"), [("層層", "x"), ("abcd", "y")])
    assert stream.getvalue().splitlines() == ["層層層", "層層層", " a     b", " 層層  x", " abcd  y"]


@pytest.mark.parametrize("width", [40, 20])
def test_only_prose_is_wrapped_and_no_line_ends_in_blanks(width: int) -> None:
    name = "model.layers.0.self_attn.k_proj"
    out, stream = printed(width)
    table(out, ("count", "name", "scheme"), [("1", name, "[64, 64]"), ("22", "lm_head", "")])
    lines = stream.getvalue().splitlines()
    assert lines == [
        " count  name                             scheme",
        f"     1  {name}  [64, 64]",
        "    22  lm_head",
    ]


def test_prose_fills_what_is_left() -> None:
    out, stream = printed(40)
    table(out, ("name", "why"), [("k_proj", "attention scales sit beside the attention"), ("q", "")], prose=True)
    assert stream.getvalue().splitlines() == [
        " name    why",
        " k_proj  attention scales sit beside the",
        "         attention",
        " q",
    ]


def test_prose_goes_below_where_little_is_left() -> None:
    out, stream = printed(30)
    rows = [("self_attn.k_proj", "attention scales sit beside it"), ("q", "")]
    table(out, ("name", "why"), rows, prose=True)
    assert stream.getvalue().splitlines() == [
        " name",
        "      why",
        " self_attn.k_proj",
        "      attention scales sit",
        "      beside it",
        " q",
    ]


def test_columns_that_do_not_fit_a_terminal_go_below_whole() -> None:
    out, stream = printed(30, terminal=True)
    rows = [("reshape", "*.weight_scale BF16 []", "BF16 [64, 1]", "a reason of some words"), ("rename", "a", "b", "")]
    table(out, ("operation", "tensor", "becomes", "why"), rows, prose=True)
    assert stream.getvalue().splitlines() == [
        " operation",
        "      tensor",
        "      becomes",
        "      why",
        " reshape",
        "      *.weight_scale BF16 []",
        "      BF16 [64, 1]",
        "      a reason of some words",
        " rename",
        "      a",
        "      b",
    ]
    out, stream = printed(30, terminal=True)
    table(out, ("module", "vLLM", "SGLang", "Quark"), [("mlp.down_proj", "built", "-", "built")])
    assert stream.getvalue().splitlines() == [
        " module         vLLM   SGLang",
        "      Quark",
        " mlp.down_proj  built  -",
        "      built",
    ]


def test_nothing_is_printed_past_the_layout() -> None:
    """Markup would be read again where somebody prints to a console directly."""
    root = Path(layout.__file__).parents[1]
    printing = [
        path.name
        for path in root.rglob("*.py")
        if re.search(r"\b(out|console\(.*\))\.print\(", path.read_text(encoding="utf-8"))
    ]
    assert printing == ["layout.py"]
