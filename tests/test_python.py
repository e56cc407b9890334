"""At a Python prompt and in a notebook: short lines with counts, tables without markup of others, JSON as described."""

from __future__ import annotations

import inspect
import pydoc
import shutil
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import click
import pytest

import ckptkit
import ckptkit.hub
from ckptkit.checks import schema
from ckptkit.checks.finding import Finding
from ckptkit.cli import card, diff
from ckptkit.hub.upload import Uploaded
from ckptkit.shown import LONGEST_LINE, MOST_ROWS, Look, Shown
from tests.damage import load
from tests.report.test_hostile_reports import HOSTILE as CORPUS
from tests.report.test_hostile_reports import report_of

REAL = Path(__file__).resolve().parents[1] / "fixtures" / "real"
QUARK, BASE, CT = (REAL / "llama" / name for name in ("quark-fp8-kv", "bf16", "llmcompressor-fp8"))
#: Markup, a formula with a link in it, a colour, what turns text around, and more than any line has room for.
HOSTILE = "<script>alert(1)</script>\"'&$\\href{javascript:x}{y}$\x1b[31m\u202e" + "x" * 500


def schemas_of(value: object) -> str | None:
    """The schema that describes what ``to_json`` gives, by the class that gives it."""
    return {
        "Checkpoint": "manifest",
        "Comparison": "comparison",
        "Examination": "doctor",
        "Inventory": "summary",
        "Plan": "plan",
        "Result": "result",
        "Rule": "rules",
        "Serving": "serving",
        "Summary": "summary",
        "Uploaded": "upload",
        "Validation": "report",
    }.get(type(value).__name__)


def everything(folder: Path) -> Iterator[Shown]:
    """All that the functions return, of a sound checkpoint and a broken one, and what hangs on it."""
    yield from (checkpoint := ckptkit.open(QUARK), checkpoint.container)
    yield from (ckptkit.inspect(QUARK), ckptkit.inspect(BASE), ckptkit.inspect(REAL / "llama"))
    broken = broken_one(folder / "broken")
    answer = ckptkit.validate(broken, diff=True, matrix=True, tensor_parallel="1,2", skip_list=True)
    assert answer.fixes and answer.matrix and answer.skip_table and answer.findings
    yield from (answer, answer.fixes, answer.matrix, answer.skip_table, *answer.findings, *answer.matrix.rows)
    yield ckptkit.validate(broken, fix=True, output=folder / "fixed")
    yield ckptkit.plan(QUARK, to="ct")
    yield ckptkit.convert(QUARK, folder / "out", to="ct", fsync=False)
    yield from (ckptkit.diff(QUARK, folder / "out"), ckptkit.diff(QUARK, CT, level="headers"))
    measured = ckptkit.diff(BASE, CT)
    assert measured.errors is not None
    yield from (measured, measured.errors)
    yield from (ckptkit.serving(QUARK), ckptkit.serving(broken, engine="sglang"))
    yield from ckptkit.all_rules()
    yield ckptkit.model_card(folder / "out")
    yield ckptkit.examine()
    yield Uploaded("org/model", "0" * 40, "https://huggingface.co/x", None, "main", True, answer, 3, 4)


def broken_one(folder: Path, name: str = "") -> Path:
    """A checkpoint with scales in the wrong rank, and a module of this name that nobody declared."""
    checkpoint = load("llama/llmcompressor-dynamic")
    checkpoint.change(r".*\.weight_scale", lambda tensor: tensor._replace(shape=tensor.shape[:1]))
    checkpoint.block["ignore"] = []
    if name:
        checkpoint.put(f"{name}.weight", "BF16", (2, 2), b"\0" * 8)
        checkpoint.config["architectures"] = [name]
    return checkpoint.write(folder)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> list[Shown]:
    return list(everything(tmp_path_factory.mktemp("python")))


class Tables(HTMLParser):
    """Reads tables, and knows every element, every attribute and the text of every cell."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.rows: list[list[str]] = []
        self.caption = ""
        self.feed(html)
        self.close()
        assert self.opened == [], "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.opened.append(tag)
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.opened.pop() == tag

    def handle_data(self, data: str) -> None:
        if "caption" in self.opened:
            self.caption += data
        elif self.opened and self.opened[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def html(value: Shown) -> str:
    return value._repr_html_()


def is_inert(parsed: Tables) -> bool:
    allowed = {"table", "caption", "code", "thead", "tbody", "tfoot", "tr", "th", "td"}
    return parsed.elements <= allowed and parsed.attributes <= {"class", "scope", "colspan"}


def test_lines_are_short_and_say_what_it_is(shown: list[Shown]) -> None:
    for value in shown:
        line = repr(value)
        assert len(line) < LONGEST_LINE and line.isprintable()
        assert line.startswith(f"<{type(value).__name__} ") and line.endswith(">")


def test_lines_count() -> None:
    answer = ckptkit.validate(BASE.parent / "quark-fp8-file2file")
    errors, warnings, notes = answer.counts.values()
    assert f": {errors} error" in repr(answer) and f", {warnings} warning" in repr(answer)
    assert f", {notes} note" in repr(answer) and errors + warnings + notes == len(answer.findings) > 0
    assert "the same model" in repr(ckptkit.diff(QUARK, QUARK, level="headers"))
    assert "14 tensors changed" in repr(ckptkit.plan(REAL / "llama" / "quark-ptpc", to="ct"))
    assert "35 tensors" in repr(ckptkit.inspect(REAL / "llama" / "quark-ptpc"))


def test_tables_are_tables(shown: list[Shown]) -> None:
    for value in shown:
        parsed = Tables(html(value))
        assert is_inert(parsed) and type(value).__name__ in parsed.caption
        assert len({len(row) for row in parsed.rows}) <= 1, f"{value!r}: rows differ in length"
    with_rows = {type(value).__name__ for value in shown if Tables(html(value)).rows}
    assert with_rows == {type(value).__name__ for value in shown}


def test_a_table_shows_the_findings(tmp_path: Path) -> None:
    answer = ckptkit.validate(broken_one(tmp_path / "broken"))
    parsed = Tables(html(answer))
    assert parsed.rows[0][:3] == ["severity", "code", "rule"]
    assert [row[1] for row in parsed.rows[1:]] == [finding.code for finding in answer.findings]


def test_what_is_long_is_cut_and_counted() -> None:
    class Long(Shown):
        def _look(self) -> Look:
            return Look("n" * 400, ["f" * 400], ("a", "b"), ((n, "c" * 999) for n in range(10**9)), 10**9)

    assert len(repr(Long())) < LONGEST_LINE
    parsed = Tables(html(Long()))
    assert len(parsed.rows) == 1 + MOST_ROWS + 1 and parsed.rows[-1] == [f"and {10**9 - MOST_ROWS:,} more"]
    assert len(html(Long())) < 30_000


def test_hostile_names_are_text(tmp_path: Path) -> None:
    folder = broken_one(tmp_path / HOSTILE[:40].replace("/", ""), HOSTILE)
    answer = ckptkit.validate(folder, matrix=True, skip_list=True, diff=True)
    assert answer.matrix and answer.skip_table and answer.fixes
    found = [answer, *answer.findings, answer.matrix, answer.skip_table, answer.fixes, ckptkit.inspect(folder)]
    found += [ckptkit.open(folder), ckptkit.open(folder).container, ckptkit.diff(folder, CT, level="headers")]
    for value in found:
        text = html(value)
        assert is_inert(Tables(text)) and text.replace("\n", "").isprintable()
        assert "<script" not in text and len(repr(value)) < LONGEST_LINE and repr(value).isprintable()
        text.encode()
        # Notebooks typeset what stands between dollars, unless they are told not to.
        assert text.startswith('<table class="ckptkit tex2jax_ignore mathjax_ignore">')
    assert any("alert(1)" in cell for row in Tables(html(answer.skip_table)).rows for cell in row)


@pytest.mark.parametrize("text", [*CORPUS, HOSTILE], ids=ascii)
def test_whatever_a_file_says_is_text(text: str) -> None:
    report = report_of(text)
    for value in (report, *report.findings):
        shown = html(value)
        assert is_inert(Tables(shown)) and shown.replace("\n", "").isprintable() and repr(value).isprintable()
        shown.encode()


def test_documents_are_as_described(shown: list[Shown]) -> None:
    described = set()
    for value in shown:
        name = schemas_of(value)
        if name is not None:
            described.add(type(value).__name__)
            assert schema.faults(name, value.to_json(), file=name) == []  # type: ignore[attr-defined]
    assert len(described) == 11
    with pytest.raises(ckptkit.CkptkitError) as refused:
        ckptkit.open(REAL / "nowhere")
    assert schema.faults("error", refused.value.to_json(), file="error") == []


def below(cls: type) -> Iterator[type]:
    for child in cls.__subclasses__():
        yield child
        yield from below(child)


def test_no_class_has_a_line_of_its_own() -> None:
    """A dataclass makes itself a repr, of every field, unless it is told not to."""
    ours = [cls for cls in below(Shown) if cls.__module__.startswith("ckptkit.")]
    assert len(ours) >= 15
    assert [cls for cls in ours if cls.__repr__ is not Shown.__repr__] == []


def test_every_public_class_is_shown() -> None:
    """What a function returns, and what its parts are, errors and words apart."""
    public = [getattr(ckptkit, name) for name in ckptkit.__all__]
    classes = [value for value in public if is_dataclass(value)]
    assert len(classes) >= 17 and all(issubclass(cls, Shown) for cls in classes if isinstance(cls, type))
    returned = {
        str(inspect.signature(value).return_annotation).split("[")[-1].split(",")[0].strip("] ")
        for value in public
        if inspect.isfunction(value)
    }
    assert returned - {"None", "int"} <= set(ckptkit.__all__)


def public() -> list[str]:
    return [*ckptkit.__all__, *(f"hub.{name}" for name in ckptkit.hub.__all__)]


@pytest.mark.parametrize("name", public())
def test_help_is_for_people(name: str) -> None:
    value: Any = ckptkit
    for part in name.split("."):
        value = getattr(value, part)
    if inspect.isfunction(value):
        assert inspect.getdoc(value)
        text = pydoc.plain(pydoc.render_doc(value))
        assert "<lambda>" not in text and " at 0x" not in text and "<function" not in text
    elif inspect.isclass(value):
        assert inspect.getdoc(value)
        text = str(inspect.signature(value)) if value.__module__ != "ckptkit.hub" else ""
        assert "<lambda>" not in text and " at 0x" not in text


def test_only_what_is_public_is_completed() -> None:
    assert dir(ckptkit) == sorted(ckptkit.__all__)
    assert dir(ckptkit.hub) == ["GuardedHfApi", "guard"]
    assert all(getattr(ckptkit, name) is not None for name in dir(ckptkit))


def names_of(command: click.Command) -> list[set[str]]:
    """The long names of each option, as Python would spell them."""
    options = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
    return [{name[2:].replace("-", "_") for name in option.opts if name.startswith("--")} for option in options]


@pytest.mark.parametrize(
    ("command", "function", "printing"),
    [
        (diff.command, ckptkit.diff, {"json", "limit", "all", "plan"}),
        (card.command, ckptkit.model_card, {"check", "print", "write", "base", "json"}),
    ],
)
def test_keywords_are_options(command: click.Command, function: Any, printing: set[str]) -> None:
    keywords = set(inspect.signature(function).parameters)
    assert [names for names in names_of(command) if not names & (keywords | printing)] == []


def test_a_finding_tells_what_to_do(tmp_path: Path) -> None:
    findings = ckptkit.validate(broken_one(tmp_path / "broken")).findings
    finding = next(found for found in findings if found.help)
    rows = dict(Tables(html(finding)).rows[1:])
    assert rows["help"] == finding.help and rows["expected"] == finding.expected
    assert {field.name for field in fields(Finding)} >= {"help", "expected"}


def test_results_can_be_copied_and_compared(tmp_path: Path) -> None:
    """Lines of their own change nothing else about them."""
    copy = shutil.copytree(QUARK, tmp_path / "copy")
    assert ckptkit.rule("CK301") == ckptkit.rule("CK301")
    assert ckptkit.validate(copy, level="headers").findings == ckptkit.validate(QUARK, level="headers").findings
