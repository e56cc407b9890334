"""CK7xx: modules that engines stack into one must be quantized alike."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.errors import Fault
from ckptkit.model import names
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.rules.context import Context
from ckptkit.rules.finding import Severity
from ckptkit.rules.registry import OnConversion, rule


@rule("CK701", "fused-partly-quantized", Severity.ERROR, conversion=OnConversion.CARRIED)
def fused_partly_quantized(context: Context) -> Iterator[Fault]:
    """Of the modules that are loaded as one (q/k/v, gate/up), only some are quantized.

    vLLM stops with "Found different quantization schemes" or "Detected some but not all shards".

    Mend: quantize all of them or none.
    """
    for owner, fused, members in _groups(context.checkpoint):
        quantized = [name for name in members if context.checkpoint and name in context.checkpoint.modules]
        if 0 < len(quantized) < len(members):
            missing = [names.last_part(name) for name in members if name not in quantized]
            found = ", ".join(names.last_part(name) for name in quantized)
            message = f"{fused} is loaded as one layer, but only part of it is quantized"
            yield Fault(
                "fused-partly",
                message,
                None,
                owner,
                "all or none",
                f"quantized: {found}; not: {', '.join(missing)}",
            )


@rule("CK702", "fused-schemes-differ", Severity.ERROR, conversion=OnConversion.CARRIED)
def fused_schemes_differ(context: Context) -> Iterator[Fault]:
    """Modules that are loaded as one (q/k/v, gate/up) have different schemes.

    vLLM applies the first part's scheme to all, or asserts.

    Mend: quantize them with one scheme.
    """
    checkpoint = context.checkpoint
    for owner, fused, members in _groups(checkpoint):
        schemes = {
            names.last_part(name): checkpoint.modules[name].scheme
            for name in members
            if checkpoint is not None and name in checkpoint.modules
        }
        if len(set(schemes.values())) > 1:
            found = "; ".join(f"{last}: {scheme}" for last, scheme in schemes.items())
            message = f"{fused} is loaded as one layer, but its parts have different schemes"
            yield Fault("fused-schemes", message, None, owner, "one scheme", found)


def _groups(checkpoint: Checkpoint | None) -> Iterator[tuple[str, str, list[str]]]:
    """(owner, fused name, its stored parts) for every fused group with more than one part."""
    if checkpoint is None:
        return
    wanted = {part: fused for fused, parts in names.FUSED_GROUPS.items() for part in parts}
    found: dict[tuple[str, str], list[str]] = {}
    for name in (*checkpoint.modules, *checkpoint.unquantized):
        fused = wanted.get(names.last_part(name))
        if fused is not None:
            found.setdefault((names.parent(name), fused), []).append(name)
    for (owner, fused), members in found.items():
        if len(members) > 1:
            yield owner, fused, members
