"""CK115 path-outside-folder."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import rule
from ckptkit.errors import Fault


@rule(
    "CK115",
    "path-outside-folder",
    Severity.ERROR,
    unreported="a security check: following such a path reads a file outside the checkpoint",
)
def path_outside_folder(context: Context) -> Iterator[Fault]:
    """An index entry or a symbolic link points outside the checkpoint folder, or at something that is no file.

    Why it hurts: loading it would read a file that is not part of the checkpoint. What cannot be listed, or whose name
    is not UTF-8, is left out by every reader, and no Hub takes it.

    Example: an index that places a tensor in ``../../home/user/.ssh/id_ed25519``.

    Fix: replace links by files; do not trust an index that names ``../`` or absolute paths.
    """
    yield from context.faults(
        "outside-folder",
        "index-outside-folder",
        "broken-link",
        "linked-folder",
        "not-a-file",
        "file-unreadable",
        "folder-unreadable",
        "file-name",
    )
