"""Every kind of fault that the reading half of the storage layer can report has a test that expects it."""

from __future__ import annotations

import ast
from pathlib import Path

import ckptkit.storage

READERS = ("header", "header_faults", "index", "agreement", "source", "container")

#: Calls whose first argument is a kind: the record itself, and the readers' shorthands for it.
_MAKERS = {"Fault", "add", "fault", "_note"}


def reported_kinds() -> set[str]:
    """The kinds that the source code names."""
    kinds: set[str] = set()
    for module in READERS:
        tree = ast.parse((Path(ckptkit.storage.__path__[0]) / f"{module}.py").read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if name in _MAKERS and isinstance(node.args[0].value, str):
                    kinds.add(node.args[0].value)
    return kinds


def test_every_kind_is_expected_by_a_test() -> None:
    kinds = reported_kinds()
    assert len(kinds) > 30
    here = Path(__file__).resolve()
    tests = "\n".join(path.read_text(encoding="utf-8") for path in here.parent.glob("test_*.py") if path != here)
    hostile = here.parents[2] / "fixtures" / "hostile"
    tests += "\n".join(path.read_text(encoding="utf-8") for path in hostile.glob("*.py"))
    assert sorted(kind for kind in kinds if f'"{kind}"' not in tests) == []
