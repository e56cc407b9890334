"""The parts of layers that engines load as one, compared with each other."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context, FusedGroup
from ckptkit.errors import Fault
from ckptkit.model import names
from ckptkit.model.granularity import PerTensor
from ckptkit.storage.payload import TensorRef


def partly(context: Context, group: FusedGroup) -> Iterator[Fault]:
    """A fault where only some parts of a fused layer are quantized."""
    modules = context.checkpoint.modules if context.checkpoint else {}
    quantized = [name for name in group.members if name in modules]
    if 0 < len(quantized) < len(group.members):
        missing = ", ".join(names.last_part(name) for name in group.members if name not in quantized)
        found = f"quantized: {', '.join(names.last_part(name) for name in quantized)}; not: {missing}"
        message = f"{group.fused} is loaded as one layer, but only part of it is quantized"
        yield Fault("fused-partly", message, None, group.owner, "all or none", found)


def differing(context: Context, group: FusedGroup) -> Iterator[Fault]:
    """A fault where the parts of a fused layer have different schemes."""
    modules = context.checkpoint.modules if context.checkpoint else {}
    schemes = {name: modules[name].scheme for name in group.members if name in modules}
    if len(schemes) > 1 and any(scheme != schemes[next(iter(schemes))] for scheme in schemes.values()):
        found = "; ".join(f"{names.last_part(name)}: {scheme}" for name, scheme in schemes.items())
        message = f"{group.fused} is loaded as one layer, but its parts have different schemes"
        yield Fault("fused-schemes", message, None, group.owner, "one scheme", found)


def scalars(context: Context, group: FusedGroup, attribute: str) -> dict[str, float]:
    """The one-value scales of a group's members, by last part of the name."""
    modules = context.checkpoint.modules if context.checkpoint else {}
    found = {}
    for name in group.members:
        module = modules.get(name)
        if module is None or (attribute == "weight_scale" and module.scheme.weight.granularity != PerTensor()):
            continue
        scale: TensorRef | None = getattr(module, attribute)
        read = context.scale_values.get(scale.name) if scale is not None else None
        if read is not None and read[1].count == 1:
            found[names.last_part(name)] = read[1].minimum
    return found


def spread(values: dict[str, float]) -> str:
    """Values by name, in words."""
    return ", ".join(f"{last} {value:.4g}" for last, value in values.items())
