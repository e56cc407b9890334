"""Names and labels that want to say something themselves, in every format for programs and for people."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptkit import api
from ckptkit.checks import schema
from ckptkit.checks.finding import Finding, Severity
from ckptkit.checks.registry import Level
from ckptkit.checks.runner import Report
from ckptkit.report import findings_text
from ckptkit.storage.json_text import json_text
from tests.damage import load
from tests.report.conftest import FORMATS, make_rule, rendered, terminal

HOSTILE = (
    "::error::owned",
    "  ::error::owned",
    "##[add-mask]owned",
    "a\n::error::owned",
    "a%0A::error::owned",
    "a\r\n::stop-commands::owned",
    "\x1b[31mred",
    "\x7f",
    "\x9b31m\x85",
    "\u202egpj.exe",
    "\u2028\u2029",
    "\udcff",
    "\ud800",
    "\0",
    "\ufffe",
    "\U000e0001",
    "]]><owned/>\"'&",
)
RULES = {"CK301": make_rule("CK301", "channel-scale-rank", Severity.ERROR)}


def report_of(text: str) -> Report:
    """A report in which everything that may come from a file is this text."""
    finding = Finding("CK301", "channel-scale-rank", Severity.ERROR, text, text, text, text, text, text)
    return Report(text, text, text, Level.SCALES, (finding,), 1, 1)


def is_harmless(output: str) -> bool:
    return all(character.isprintable() or character == "\n" for character in output) and not re.search(
        r"^\s*(?!::(?:error|warning|notice) (?:file|title)=)(?:::|##\[)", output, re.MULTILINE
    )


@pytest.mark.parametrize("name", [*FORMATS, "text"])
@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_nothing_gets_through(text: str, name: str) -> None:
    report = report_of(text)
    if name == "text":
        out, stream = terminal()
        findings_text.show_report(report, out=out)
        output = stream.getvalue()
    else:
        output = rendered(name, [report], RULES, {text: text})
    assert is_harmless(output)
    output.encode()
    if name in ("json", "sarif"):
        json.loads(output, parse_constant=pytest.fail)
        assert not re.search(r"(?<!\\)(?:\\\\)*\\ud[89a-f]", re.sub(r"\\ud[89ab]..\\ud[c-f]..", "", output))
    if name == "junit":
        ElementTree.fromstring(output.partition("\n")[2])
    if name == "github":
        assert len(output.split("\n")) == 2
    if name == "concise":
        assert len(output.split("\n")) == 3


@given(
    st.recursive(
        st.none() | st.floats() | st.text() | st.integers(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_json_is_json_and_says_the_same(document: object) -> None:
    text = json_text(document)
    assert all(character.isprintable() or character == "\n" for character in text)
    read = json.loads(text, parse_constant=pytest.fail)
    if "\\ud" not in ascii(document) and not re.search("nan|inf", repr(document)):
        assert read == document


@pytest.mark.parametrize("bits", ["c07f", "0000", "807f"])
def test_no_scale_is_a_number_above_zero(bits: str, tmp_path: Path) -> None:
    """NaN, zero, infinity: the summary says null, which is JSON, and one such scale does not hide the others."""
    checkpoint = load("llama/llmcompressor-fp8-kv")
    scales = list(checkpoint.places(r".*\.weight_scale"))
    shard, first = scales[0]
    shard[first] = shard[first]._replace(data=bytes.fromhex(bits))
    summary = json.loads(
        json_text(api.inspect(checkpoint.write(tmp_path / "one")).to_json()), parse_constant=pytest.fail
    )
    (weights,) = [scale for scale in summary["scales"] if scale["kind"] == "weight"]
    assert 0 < weights["min"] <= weights["max"]
    for shard, name in scales:
        shard[name] = shard[name]._replace(data=bytes.fromhex(bits))
    summary = json.loads(
        json_text(api.inspect(checkpoint.write(tmp_path / "all")).to_json()), parse_constant=pytest.fail
    )
    (weights,) = [scale for scale in summary["scales"] if scale["kind"] == "weight"]
    assert weights["min"] is weights["max"] is None
    assert schema.faults("summary", summary, file="summary") == []


@pytest.mark.parametrize("value", [float("nan"), 7, {"a": 1}, None])
def test_an_architecture_is_a_word(value: object, tmp_path: Path) -> None:
    checkpoint = load("llama/llmcompressor-dynamic")
    checkpoint.config["architectures"] = [value]
    assert api.inspect(checkpoint.write(tmp_path / "checkpoint")).architecture is None
