"""What the tests of traps share: converting, and looking at what came out."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import ckptkit
from ckptkit.conversion.plan import Plan
from ckptkit.errors import ConversionRefused
from ckptkit.views.matrix import MatrixRow
from tests.damage import CONFIG

#: Syncing to disk is another test's business, and takes most of the time.
convert = partial(ckptkit.convert, fsync=False)


def codes(folder: Path) -> set[str]:
    """The codes of all findings but notes."""
    return {finding.code for finding in ckptkit.validate(folder).findings if finding.severity.value != "info"}


def block_of(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    block: dict[str, Any] = document["quantization_config"]
    return block


def refusal(folder: Path, to: str, mode: str | None = None) -> set[str]:
    """The kinds of the faults for which a conversion is refused; nothing may be left behind."""
    destination = folder.parent / "refused"
    with pytest.raises(ConversionRefused) as error:
        convert(folder, destination, to=to, mode=mode)
    assert not destination.exists()
    return {fault.kind for fault in error.value.faults}


def notes(plan: Plan) -> str:
    return "\n".join(plan.notes)


def row_of(engine: str, folder: Path) -> MatrixRow:
    """An engine's verdict."""
    table = ckptkit.validate(folder, matrix=True).matrix
    assert table is not None
    return next(row for row in table.rows if row.engine == engine)
