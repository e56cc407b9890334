"""Writing a page: one HTML file, whole or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckptkit.storage.locate import PathLike
from ckptkit.storage.output_file import check_output_file, write_output_file

if TYPE_CHECKING:
    from ckptkit.page.document import Page


def write_page(page: Page, destination: PathLike) -> int:
    """Write a page as one HTML file that needs no network, over what was there, in one rename; its bytes.

    Raises OutputError where it cannot be written, or would take the place of a checkpoint's own file.
    """
    from ckptkit.report.html import to_html

    check_output_file(destination)
    data = to_html(page.to_json()).encode()
    write_output_file(destination, data)
    return len(data)
