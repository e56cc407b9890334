"""CK636 rope-parameters-mixed, and its fix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding, Severity
from ckptkit.checks.registry import OnConversion, fix, rule
from ckptkit.edits.changes import Edit, Path, RemoveKey
from ckptkit.errors import Fault
from ckptkit.model.names import TEXT_CONFIGS


@rule(
    "CK636",
    "rope-parameters-mixed",
    Severity.INFO,
    conversion=OnConversion.CARRIED,
    unreported="found by loading what one release of a library saves of Gemma 3 with the next",
)
def rope_parameters_mixed(context: Context) -> Iterator[Fault]:
    """``rope_parameters`` holds parameters for each type of layer, and single values beside them.

    Why it hurts: one release of transformers takes every value for the parameters of a type of layer and stops while it
    reads the config, and so does each engine that runs with it. Those before and after read what belongs to a type.

    Example: ``"rope_type": "default"`` beside ``"full_attention": {...}``, as the release before it saves Gemma 3.

    Fix: remove the values beside the types of layers: nothing reads them.
    """
    for way, stray in _mixed(context.config):
        message = "values stand beside the parameters of types of layers"
        yield Fault(
            "rope-mixed", message, "config.json", ".".join(map(str, way)), "parameters of types alone", ", ".join(stray)
        )


@fix("safe", "CK636")
def leave_out_single_values(context: Context, finding: Finding) -> Iterator[Edit]:
    """Leave out what stands beside the parameters of types of layers."""
    for way, stray in _mixed(context.config):
        yield from (RemoveKey((*way, key)) for key in stray)


def _mixed(config: Mapping[str, Any]) -> Iterator[tuple[Path, list[str]]]:
    """The way to each object of parameters that is nested by types of layers, and its keys of single values."""
    for way in ((), *((key,) for key in TEXT_CONFIGS)):
        level = config.get(way[0]) if way else config
        rope = level.get("rope_parameters") if isinstance(level, Mapping) else None
        types = level.get("layer_types") if isinstance(level, Mapping) else None
        if isinstance(rope, Mapping) and isinstance(types, list):
            stray = [key for key, value in rope.items() if not isinstance(value, Mapping)]
            if any(rope[key] is not None for key in stray) and any(key in types for key in rope):
                yield (*way, "rope_parameters"), stray
