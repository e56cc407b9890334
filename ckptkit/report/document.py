"""JSON documents as commands print them: with the schema that describes them and the version that wrote them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckptkit import __version__
from ckptkit.storage.json_text import json_text


def stamped(document: Mapping[str, Any], schema: str) -> dict[str, Any]:
    """A document with the id of the schema in ``ckptkit/schemas`` that describes it, and our version.

    >>> list(stamped({"path": "model"}, "report"))
    ['$schema', 'ckptkit', 'path']
    """
    return {"$schema": f"urn:ckptkit:schema:{schema}", "ckptkit": __version__, **document}


def document_text(document: Mapping[str, Any], schema: str) -> str:
    """One stamped document as text."""
    return json_text(stamped(document, schema))
