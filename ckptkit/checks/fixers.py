"""The fixes that exist, by the code of the rule whose findings they mend."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding
from ckptkit.edits.changes import Edit

Safety = Literal["safe", "unsafe"]
#: The edits that mend one finding; none if this finding is beyond the fix.
FixFunction = Callable[[Context, Finding], Iterable[Edit]]

_MODULES = ("compressed_tensors", "config", "files", "kv_cache", "quark", "tensors", "values")


@dataclass(frozen=True)
class Fixer:
    """A fix and whether it may be made without asking. Its documentation is the docstring of its function."""

    code: str
    safety: Safety
    function: FixFunction


_FIXERS: dict[str, list[Fixer]] = {}


def fix(safety: Safety, *codes: str) -> Callable[[FixFunction], FixFunction]:
    """Register a function as a fix for the findings of these rules."""

    def register(function: FixFunction) -> FixFunction:
        for code in codes:
            _FIXERS.setdefault(code, []).append(Fixer(code, safety, function))
        return function

    return register


def all_fixers() -> Mapping[str, tuple[Fixer, ...]]:
    """Every fix, by code; several for one code belong to different formats."""
    for module in _MODULES:
        importlib.import_module(f"ckptkit.rules.fixes.{module}")
    return {code: tuple(fixers) for code, fixers in sorted(_FIXERS.items())}
