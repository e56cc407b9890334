"""Faults and refusals in lines, as a reader of a table compares them: kind and words, and what stands below each."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from ckptkit.errors import CkptkitError, Fault, json_path
from ckptkit.formats.base import ConfigFault


def told(faults: Iterable[Fault]) -> list[str]:
    """A line for each fault; below it one for what it states, for its place in the config unless that is all that the
    fault says, and for each of its edits."""
    lines: list[str] = []
    for fault in faults:
        where = ": ".join(place for place in (fault.file, fault.tensor) if place and place != "config.json")
        lines.append(f"{fault.kind}: {f'{where}: ' if where else ''}{fault.message}")
        stated = {"expected": fault.expected, "found": fault.found, "help": fault.help}
        lines += [f"  {name} {value}" for name, value in stated.items() if value is not None]
        if isinstance(fault, ConfigFault):
            place = json_path(fault.path)
            lines += [f"  at {place}"] if fault.path and fault.message != f"{place} is not valid" else []
            lines += [f"  fix {edit}"[:100] for edit in fault.edits]
    return lines


def refused(call: Callable[[], object]) -> list[str]:
    """The kind of the error that a call raises and its words, its faults, and its help."""
    with pytest.raises(CkptkitError) as caught:
        call()
    error = caught.value
    helped = [f"help: {error.help}"] if error.help else []
    return [f"{type(error).__name__}: {error.message}", *told(error.faults), *helped]
