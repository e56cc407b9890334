"""The page as HTML: nothing from a checkpoint is read as markup or code, nothing is fetched, and it is small."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from ckptkit import __version__
from ckptkit.page.document import Page
from ckptkit.report import html
from tests.page.conftest import NASTY, hostile, huge, whole
from tests.report.test_hostile_reports import HOSTILE

__all__ = ["hostile", "huge", "whole"]  # fixtures
FOLDER = Path(html.__file__).parent / "page"
#: What a page of any checkpoint may take.
MOST_BYTES = 5_000_000


class Reader(HTMLParser):
    """Elements with their attributes, and the text of scripts, styles, title and headings."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open = tag

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        self.texts.append((self._open, data))


def data_of(page: str) -> Any:
    """The document in a page."""
    (packed,) = re.findall(r'<script id="data" type="application/gzip">([A-Za-z0-9+/=]*)</script>', page)
    return json.loads(gzip.decompress(base64.b64decode(packed)))


def test_a_page_holds_its_document(whole: Page) -> None:
    document = whole.to_json()
    page = html.to_html(document)
    assert data_of(page) == {
        "$schema": "urn:ckptkit:schema:page",
        "ckptkit": __version__,
        **json.loads(json.dumps(document)),
    }
    assert html.to_html(document) == page, "the same document gives the same bytes"


@pytest.mark.parametrize("text", [NASTY, *HOSTILE], ids=ascii)
def test_no_text_of_a_checkpoint_is_markup(text: str, whole: Page) -> None:
    """Its path is the one text that stands in the HTML itself; all others are in the document."""
    document = whole.to_json()
    plain, named = Reader(html.to_html(document)), Reader(html.to_html({**document, "path": f"models/{text}"}))
    assert [tag for tag, _ in named.elements] == [tag for tag, _ in plain.elements]
    (heading,) = (words for tag, words in named.texts if tag == "h1" and words.strip())
    assert heading.isprintable()
    html.to_html({**document, "path": text}).encode()


def test_hostile_names_are_in_the_document_and_nowhere_else(hostile: Page) -> None:
    page = html.to_html(hostile.to_json())
    assert "owned" not in page
    stored = {name for name in hostile.tensors.names if "owned" in name}
    assert len(stored) > 5
    kinds = data_of(page)["tensors"]["kinds"]
    assert {"".join(f"{piece}" for piece in kind["pieces"]) for kind in kinds} >= {f"{NASTY}..weight"}


def test_nothing_is_fetched(whole: Page) -> None:
    reader = Reader(html.to_html(whole.to_json()))
    for tag, attributes in reader.elements:
        assert tag not in ("link", "img", "iframe", "object", "embed", "form", "base")
        assert not {"src", "srcset", "action", "background", "poster"} & attributes.keys(), tag
        assert attributes.get("href", "#") is not None and str(attributes.get("href", "#")).startswith("#")
    styles = "".join(text for tag, text in reader.texts if tag == "style")
    assert "@import" not in styles and "url(" not in styles


def test_only_the_page_s_own_scripts_may_run(whole: Page) -> None:
    reader = Reader(html.to_html(whole.to_json()))
    (policy,) = (a["content"] for _, a in reader.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none'; ")
    allowed = set(re.findall(r"'(sha256-[^']+)'", policy))
    scripts = [text for tag, text in reader.texts if tag == "script"][1:]
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    assert len(scripts) == 2 and {f"sha256-{base64.b64encode(digest).decode()}" for digest in digests} == allowed
    assert "unsafe-inline" not in policy.partition("script-src")[2] and "unsafe-eval" not in policy


@pytest.mark.parametrize("name", html.SCRIPTS)
def test_scripts_make_text_of_texts(name: str) -> None:
    script = (FOLDER / name).read_text(encoding="utf-8")
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|fetch\(", script
    )
    assert "http" not in script.replace("http://www.w3.org/2000/svg", "")
    assert script.count("\n") < 400 and script.startswith("// ")


def test_parts_cannot_end_the_elements_that_hold_them() -> None:
    for path in FOLDER.rglob("*"):
        if path.suffix in (".js", ".css"):
            assert not re.search(r"</(script|style)|<!--", path.read_text(encoding="utf-8"), re.IGNORECASE), path


def test_every_file_of_the_page_is_in_use() -> None:
    ours = {path.name for path in FOLDER.iterdir() if path.is_file()}
    assert ours == {*html.SCRIPTS, "page.html", "page.css"}


def test_what_is_embedded_is_what_was_published() -> None:
    vendor = json.loads((FOLDER / "vendor" / "vendor.json").read_text(encoding="utf-8"))
    files = {name: one["sha256"] for package in vendor.values() for name, one in package["files"].items()}
    present = {path.name: path.read_bytes() for path in (FOLDER / "vendor").iterdir() if path.name != "vendor.json"}
    assert {name: hashlib.sha256(data).hexdigest() for name, data in present.items()} == files
    assert any(name.endswith("LICENSE") for name in files)
    assert vendor["uplot"]["version"].encode() in present["uPlot.iife.min.js"][:200]


def test_a_hundred_thousand_tensors_stay_small(huge: Page) -> None:
    page = html.to_html(huge.to_json())
    assert huge.inventory.tensors == 100_000 and len(data_of(page)["tensors"]["kinds"]) == 2_000
    assert len(page) < MOST_BYTES / 5


def test_a_hundred_thousand_names_without_a_pattern_stay_small(whole: Page) -> None:
    """No two of them alike: the worst that a table of names can be."""
    digest = (hashlib.sha256(str(number).encode()).hexdigest()[:24] for number in range(100_000))
    kinds = [
        {
            "pieces": [name],
            "dtype": "F8_E4M3",
            "shape": [8, 8],
            "bytes": 64,
            "count": 1,
            "numbers": [],
            "shards": [0, 1],
        }
        for name in digest
    ]
    document = {**whole.to_json(), "tensors": {"shards": ["model.safetensors"], "kinds": kinds}}
    assert len(html.to_html(document)) < MOST_BYTES


@pytest.mark.parametrize(
    ("counts", "words"),
    [((0, 0, 2), "Clean: 0 errors, 0 warnings, 2 notes."), ((1, 2, 0), "Not clean: 1 error, 2 warnings, 0 notes.")],
)
def test_how_it_stands_is_said_without_scripts(counts: tuple[int, int, int], words: str, whole: Page) -> None:
    stated = dict(zip(("error", "warning", "info"), counts, strict=True))
    page = html.to_html({**whole.to_json(), "counts": stated, "clean": not counts[0] + counts[1]})
    (noscript,) = re.findall(r"<noscript>.*?</noscript>", page)
    assert words in noscript
