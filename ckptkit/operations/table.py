"""The table of operations: the built-in ones, a file for each family, and those of other packages."""

from __future__ import annotations

from functools import lru_cache

from ckptkit import plugins
from ckptkit.errors import UsageError
from ckptkit.operations import cast, dequantize, metadata, mx, nvfp4, quantize, repeat, requantize, scaling
from ckptkit.operations.operation import Operation

_FAMILIES = (metadata, cast, repeat, dequantize, mx, nvfp4, scaling, quantize, requantize)
BUILT_IN: dict[str, Operation] = {entry.name: entry for family in _FAMILIES for entry in family.OPERATIONS}


def operation(name: str) -> Operation:
    """The operation of a name. Raises UsageError with the names that exist."""
    found = BUILT_IN.get(name) or _third_party().get(name)
    if found is None:
        known = ", ".join((*BUILT_IN, *_third_party()))
        raise UsageError(f"there is no operation {name!r}", help=f"operations: {known}")
    return found


def operations() -> tuple[Operation, ...]:
    """Every operation: the built-in ones first, then those of other packages."""
    return (*BUILT_IN.values(), *_third_party().values())


@lru_cache(maxsize=1)
def _third_party() -> dict[str, Operation]:
    """What the entry points name: an Operation, or several. Raises UsageError with the package to blame."""
    found: dict[str, Operation] = {}
    for plugin in plugins.plugins(plugins.OPERATIONS):
        provided = plugin.value if isinstance(plugin.value, (tuple, list)) else (plugin.value,)
        for entry in provided:
            if not isinstance(entry, Operation):
                raise plugins.refused(f"{plugin.origin} is not a ckptkit operation", plugin.package)
            if entry.name in BUILT_IN or entry.name in found:
                raise plugins.refused(f"{plugin.origin} takes a name that is in use: {entry.name}", plugin.package)
            found[entry.name] = entry
    return found
