"""JSON documents as commands print them: with the schema that describes them and the version that wrote them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ckptkit import __version__
from ckptkit.storage.json_text import json_text

if TYPE_CHECKING:
    from ckptkit.errors import CkptkitError


def stamped(document: Mapping[str, Any], schema: str) -> dict[str, Any]:
    """A document with the id of the schema in ``ckptkit/schemas`` that describes it, and our version.

    >>> list(stamped({"path": "model"}, "report"))
    ['$schema', 'ckptkit', 'path']
    """
    return {"$schema": f"urn:ckptkit:schema:{schema}", "ckptkit": __version__, **document}


def failure(path: str, error: CkptkitError) -> dict[str, Any]:
    """One of several checkpoints that could not be looked at, as a document of its own."""
    return stamped({"path": path, **error.to_json()}, "error")


def document_text(document: Mapping[str, Any], schema: str) -> str:
    """One stamped document as text."""
    return json_text(stamped(document, schema))
