"""A page's document as one HTML file that needs no network.

The document is gzipped and written in base64, so that no name in it can end the script that holds it; the page's own
scripts make text nodes of it. The only text from a checkpoint that stands in the HTML is escaped here. A policy in the
page names the scripts that may run by their hashes, and allows no connection.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ckptkit.errors import plural, printable
from ckptkit.report.document import stamped
from ckptkit.storage.json_text import compact_json

#: The page's own scripts, in the order in which they stand.
SCRIPTS = ("base.js", "filter.js", "tensors.js", "charts.js", "sections.js", "main.js")
#: The charting library that is embedded; vendor.json says which, and its hashes.
LIBRARY = "vendor/uPlot.iife.min.js"
_LIBRARY_STYLE = "vendor/uPlot.min.css"
_LIBRARY_LICENCE = "vendor/uPlot.LICENSE"

_FOLDER = Path(__file__).parent / "page"
#: The width of zlib's window that asks for a gzip header, which has no time and no name.
_GZIP = 31
_PLACE = re.compile(r"\{\{(\w+)\}\}")


def to_html(document: Mapping[str, Any]) -> str:
    """The page of a document as described by ``schemas/page.json``. The same document gives the same bytes."""
    document = stamped(document, "page")
    name = printable(str(document["path"])).rstrip("/").rpartition("/")[2] or printable(str(document["path"]))
    library = f"/*\n{part(_LIBRARY_LICENCE)}*/\n{part(LIBRARY)}"
    own = f'"use strict";\n(() => {{\n{"".join(map(part, SCRIPTS))}}})();\n'
    style = part(_LIBRARY_STYLE) + part("page.css")
    texts = {
        "title": f"{name}: ckptkit report",
        "heading": name,
        "verdict": verdict(document),
        "version": str(document["ckptkit"]),
        "uplot": json.loads(part("vendor/vendor.json"))["uplot"]["version"],
        "policy": "default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'unsafe-inline'; "
        f"script-src {_digest(library)} {_digest(own)}",
    }
    values = {name: html.escape(text) for name, text in texts.items()}
    values["badges"] = "\n".join(_badges(document))
    values |= {"style": style, "uplot_script": library, "script": own, "data": _packed(document)}
    return _PLACE.sub(lambda place: values[place[1]], part("page.html"))


def verdict(document: Mapping[str, Any]) -> str:
    """How the checkpoint stands, in one sentence."""
    counts = document["counts"]
    words = [plural(counts["error"], "error"), plural(counts["warning"], "warning"), plural(counts["info"], "note")]
    return f"{'Clean' if document['clean'] else 'Not clean'}: {', '.join(words)}."


def _badges(document: Mapping[str, Any]) -> Iterator[str]:
    """The same as the page shows it."""
    if document["clean"]:
        yield '<span class="badge good">clean</span>'
    for severity, word in (("error", "error"), ("warning", "warning"), ("info", "note")):
        number = int(document["counts"][severity])
        if number:
            yield f'<span class="badge {severity}">{plural(number, word)}</span>'


@cache
def part(name: str) -> str:
    """A file of the page; read once."""
    return (_FOLDER / name).read_text(encoding="utf-8")


def _packed(document: Mapping[str, Any]) -> str:
    """The document for ``main.js`` to unpack."""
    packer = zlib.compressobj(9, zlib.DEFLATED, _GZIP)
    packed = packer.compress(compact_json(document).encode("ascii")) + packer.flush()
    return base64.b64encode(packed).decode("ascii")


def _digest(script: str) -> str:
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
