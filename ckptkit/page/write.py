"""Writing a page: one HTML file, whole or not at all, and never over another."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ckptkit.errors import OutputError
from ckptkit.storage.beside import write_beside
from ckptkit.storage.copy import write_error
from ckptkit.storage.locate import PathLike, non_empty

if TYPE_CHECKING:
    from ckptkit.page.document import Page


def check_place(destination: PathLike) -> Path:
    """The place of a page, before anything is looked at. Raises OutputError where a page cannot be written."""
    place = Path(non_empty(destination))
    if os.path.lexists(place):
        raise OutputError(f"{place} exists", help="choose a new name, or remove it; nothing is ever overwritten")
    if not place.parent.is_dir():
        raise OutputError(f"{place.parent} does not exist", help="create it first")
    if not os.access(place.parent, os.W_OK | os.X_OK):
        raise OutputError(f"{place.parent} cannot be written", help="choose a folder that you may write to")
    return place


def write_page(page: Page, destination: PathLike) -> int:
    """Write a page as one HTML file that needs no network, in one rename; its bytes.

    Raises OutputError where it cannot be written, or something is there already.
    """
    from ckptkit.report.html import to_html

    place = check_place(destination)
    data = to_html(page.to_json()).encode()
    try:
        write_beside(place, data)
    except OSError as error:
        raise write_error(error, str(place)) from error
    return len(data)
