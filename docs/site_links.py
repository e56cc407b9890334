"""What the site does to pages, and the look at it: ``python docs/site_links.py build/site``.

Files beside docs/, which GitHub shows, are linked to where GitHub shows them. Nothing in a page of the site may come
from elsewhere: it is read without network.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

_FILES = "https://github.com/ckptkit/ckptkit/blob/main/"
#: Attributes by which a page takes something into itself, and what an address elsewhere begins with.
_TAKEN = {"src", "srcset", "data", "poster", "action"}
_ELSEWHERE = re.compile(r"(?:https?:)?//")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The hook that mkdocs calls with the text of each page.

    >>> on_page_markdown("[README](../README.md), [Rules](rules.md)")
    '[README](https://github.com/ckptkit/ckptkit/blob/main/README.md), [Rules](rules.md)'
    """
    return re.sub(r"\]\(\.\./(?=\w)", f"]({_FILES}", markdown)


def on_post_template(output_content: str, template_name: str, **_: Any) -> str:
    """The hook for pages of the theme: that for addresses that lead nowhere would have to know where the site lies."""
    return "" if template_name == "404.html" else output_content


class _Page(HTMLParser):
    """What a page takes from elsewhere. Where its links lead is not taken, and a link element names what is."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        wanted = [given[name] for name in given if name in _TAKEN]
        if tag == "link" and given.get("rel") not in ("canonical", "alternate"):
            wanted.append(given.get("href", ""))
        self.taken += [address for address in wanted if _ELSEWHERE.match(address)]


def taken_from_elsewhere(site: Path) -> Iterator[str]:
    """Every page and style sheet with the address of what it takes from the network."""
    for path in sorted(site.rglob("*.html")):
        page = _Page()
        page.feed(path.read_text(encoding="utf-8"))
        yield from (f"{path.relative_to(site)}: {address}" for address in page.taken)
    for path in sorted(site.rglob("*.css")):
        found = re.findall(r"(?:url\(|@import )[\"' ]*((?:https?:)?//[^\"')]+)", path.read_text(encoding="utf-8"))
        yield from (f"{path.relative_to(site)}: {address}" for address in found)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    faults = [*taken_from_elsewhere(folder)]
    if not (folder / "index.html").exists():
        faults.append(f"there is no site in {folder}")
    sys.exit("\n".join(faults) or None)
