"""A card from names and words that want to write it themselves: nothing ends its context, and --check passes after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ckptkit
from ckptkit.card.facts import END, START, contradictions
from ckptkit.card.markdown import cell, code, fenced, from_cell, shell_word
from ckptkit.card.section import Card, make, write
from ckptkit.card.serving import served_name
from ckptkit.errors import printable
from tests.damage import MutableCheckpoint, load

HOSTILE = (
    "a|b",
    "a\\|b",
    "a`b",
    "```",
    "`` ` ``",
    "x\n# Owned",
    "x\n---\nlicense: owned\n---\n",
    "x\r\nowned: true",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](https://evil.example)",
    "![](https://evil.example/pixel)",
    "**bold** _it_ ~~no~~ *x*",
    START,
    END,
    f"{END}\n{START}",
    "<!-- open",
    "-->",
    "\x1b]0;owned\x07",
    "\x7f\x9b31m",
    "a\0b",
    "\u202egpj.exe",
    "\u2028# Owned",
    "\udcff",
    " padded ",
    "-rf",
    "--port=1",
    "$(touch owned)",
    "'; touch owned; '",
    "",
)


def parsed(text: str) -> list[Any]:
    """What a Markdown renderer sees below the metadata."""
    from markdown_it import MarkdownIt

    body = text.split("\n---\n", 1)[1]
    tokens = MarkdownIt("commonmark").enable("table").parse(body)
    return [inner for token in tokens for inner in (token, *(token.children or ()))]


def shape(text: str) -> list[tuple[str, str]]:
    """The structure of a card, without its words."""
    plain = ("text", "code_inline", "text_special")
    return [(token.type, token.tag) for token in parsed(text) if token.type not in plain]


def checked(folder: Path, **options: str) -> Card:
    """A card that is written, and right afterwards complete, true and unchanged."""
    card = make(ckptkit.open(folder), folder, **options)  # type: ignore[arg-type]
    write(card)
    again = make(ckptkit.open(folder), folder)
    assert not again.changed and contradictions(ckptkit.open(folder), again.before or "") == []
    text = card.after
    assert text.count(START) == text.count(END) == 1
    assert all(printable(line) == line for line in text.split("\n"))
    return card


def harmless(text: str, clean: str) -> None:
    """The same structure as a card of harmless words, and the same metadata."""
    from huggingface_hub import ModelCard

    assert shape(text) == shape(clean)
    html = [token.content.strip() for token in parsed(text) if token.type in ("html_block", "html_inline")]
    assert html == [START, END]
    assert ModelCard(text).data.to_dict() == ModelCard(clean).data.to_dict()  # type: ignore[no-untyped-call]


def checkpoint_with(module: str = "model.plain", version: str = "1.0") -> MutableCheckpoint:
    checkpoint = load("llama/llmcompressor-dynamic")
    checkpoint.put(f"{module}.weight", "BF16", (2, 2), b"\x80\x3f" * 4)
    checkpoint.block["ignore"].append(module)
    checkpoint.block["version"] = version
    return checkpoint


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = checkpoint_with().write(tmp_path_factory.mktemp("clean") / "name")
    return checked(folder, name="org/name", converted_from="org/other").after


@pytest.mark.parametrize("text", [text for text in HOSTILE if "\udcff" not in text and text], ids=ascii)
def test_a_tensors_name_and_a_configs_word(text: str, clean: str, tmp_path: Path) -> None:
    folder = checkpoint_with(f"model.{text}.proj", text).write(tmp_path / "name")
    harmless(checked(folder, name="org/name", converted_from="org/other").after, clean)


@pytest.mark.parametrize("text", [text for text in HOSTILE if text.strip()], ids=ascii)
def test_names_that_are_given(text: str, clean: str, tmp_path: Path) -> None:
    folder = checkpoint_with().write(tmp_path / "name")
    card = checked(folder, name=f"org/{text}", converted_from=text)
    harmless(card.after, clean)


@pytest.mark.parametrize("text", [text for text in HOSTILE if text and "/" not in text and "\0" not in text], ids=ascii)
def test_a_folders_name(text: str, clean: str, tmp_path: Path) -> None:
    folder = checkpoint_with().write(tmp_path / text)
    harmless(checked(folder, converted_from="org/other").after, clean)


def test_what_a_shell_gets(tmp_path: Path) -> None:
    """The name in the command is one word, whatever it holds; what is not printable is spelled out."""
    for text in HOSTILE:
        line = f"vllm serve {shell_word(text)}"
        expected = printable(text)
        assert served_name(line) == (f"./{expected}" if expected.startswith("-") else expected)


@given(st.text())
def test_a_cell_reads_back(text: str) -> None:
    once = cell(text)
    assert from_cell(once) == printable(text).strip()
    assert cell(from_cell(once)) == once
    assert START not in once and END not in once and "|" not in once.replace("\\|", "")


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.text(alphabet=st.sampled_from("`a| <!-\\>*_[]()\n\x1b")))
def test_contexts_hold(text: str) -> None:
    from markdown_it import MarkdownIt

    markdown = MarkdownIt("commonmark").enable("table")
    for shown in (cell(text) or "x", code(text)):
        tokens = markdown.parse(f"| a | b |\n|---|---|\n| {shown} | z |\n")
        assert [token.type for token in tokens].count("td_open") == 2
        inner = [child.type for token in tokens for child in token.children or ()]
        assert set(inner) <= {"text", "code_inline", "text_special"}
    (fence,) = markdown.parse(fenced(printable(text), "sh"))
    assert fence.type == "fence" and fence.content == printable(text) + "\n"
