"""What the site does to pages: files beside docs/, which GitHub shows, are linked to where GitHub shows them."""

from __future__ import annotations

import re
from typing import Any

_FILES = "https://github.com/ckptkit/ckptkit/blob/main/"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The hook that mkdocs calls with the text of each page.

    >>> on_page_markdown("[README](../README.md), [Rules](rules.md)")
    '[README](https://github.com/ckptkit/ckptkit/blob/main/README.md), [Rules](rules.md)'
    """
    return re.sub(r"\]\(\.\./(?=\w)", f"]({_FILES}", markdown)
