"""The page of formats says what the formats say of themselves; ``make docs`` has written it of this code."""

from __future__ import annotations

from ckptkit.conversion.document import render_formats_markdown
from tests.pages import ROOT


def test_the_page_is_what_the_formats_say() -> None:
    assert render_formats_markdown() == (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
