"""The parts of layers that engines load as one, compared with each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation
from ckptkit.checks.fused import FusedGroup
from ckptkit.checks.skip_lists import engines_that_build, readings_of
from ckptkit.engines.registry import engines
from ckptkit.errors import Fault
from ckptkit.model import names
from ckptkit.model.checkpoint import QuantizedModule
from ckptkit.model.granularity import PerTensor
from ckptkit.storage.payload import TensorRef

#: What the names of single experts have in them.
_EXPERTS = ".experts."


def uneven(context: Context, *, other_attention: bool) -> Iterator[FusedGroup]:
    """The layers, of linear and latent attention or all others, whose parts do not have one scheme or none."""
    return (group for group in context.uneven_groups if group.other_attention == other_attention)


def partly(context: Context, group: FusedGroup) -> Iterator[Fault]:
    """A fault where only some parts of a fused layer are quantized."""
    modules = context.checkpoint.modules if context.checkpoint else {}
    quantized = [name for name in group.members if name in modules]
    if 0 < len(quantized) < len(group.members):
        missing = ", ".join(names.last_part(name) for name in group.members if name not in quantized)
        found = f"quantized: {', '.join(names.last_part(name) for name in quantized)}; not: {missing}"
        message = f"{group.fused} is loaded as one layer, but only part of it is quantized"
        # What an engine calls quantized it builds so, as one layer, whatever is stored.
        casting = _casting(context, [name for name in group.members if name not in modules])
        apart = ("cast", casting) if casting else None
        yield Observation("fused-partly", message, None, group.owner, "all or none", found, apart=apart)


def _casting(context: Context, plain: list[str]) -> frozenset[str] | None:
    """The engines that build all of these parts in high precision quantized; None for no engine. Of an engine whose
    reading of the list is not known it is what the format's own library says."""
    declared = context.checkpoint.declared_only if context.checkpoint else ()
    known = readings_of(context).keys()
    found = set() if any(name not in declared for name in plain) else engines().keys() - known
    builders = [engines_that_build(context, name, quantized=True) or frozenset() for name in plain]
    return frozenset(found.union(known & frozenset.intersection(*builders))) or None


def differing(context: Context, group: FusedGroup) -> Iterator[Fault]:
    """A fault where the parts of a fused layer have different schemes."""
    modules = context.checkpoint.modules if context.checkpoint else {}
    schemes = {name: modules[name].scheme for name in group.members if name in modules}
    if len(schemes) > 1 and any(scheme != schemes[next(iter(schemes))] for scheme in schemes.values()):
        found = "; ".join(f"{names.last_part(name)}: {scheme}" for name, scheme in schemes.items())
        message = f"{group.fused} is loaded as one layer, but its parts have different schemes"
        yield Fault("fused-schemes", message, None, group.owner, "one scheme", found)


def experts_partly(context: Context) -> Iterator[Fault]:
    """A fault for each layer of which only some experts, or some of their projections, are quantized."""
    checkpoint = context.checkpoint
    plain: dict[str, list[str]] = {}
    for name in checkpoint.unquantized if checkpoint else ():
        owner = names.experts_owner(name) if _EXPERTS in name else None
        if owner is not None:
            plain.setdefault(owner, []).append(name)
    if checkpoint is None or not plain:
        return
    quantized: dict[str, list[str]] = {}
    for name in (*checkpoint.modules, *checkpoint.opaque):
        owner = names.experts_owner(name) if _EXPERTS in name else None
        if owner in plain:
            quantized.setdefault(owner, []).append(name)
    for owner, members in quantized.items():
        found = f"{len(members)} modules quantized, {len(plain[owner])} not, the first {plain[owner][0]}"
        message = "all experts of a layer are loaded as one, but only some are quantized"
        first = f"{owner}.0."
        variant = "experts" if any(name.startswith(first) for name in plain[owner]) else "experts-but-the-first"
        casting = _casting(context, plain[owner])
        apart = (f"{variant}/cast", casting) if casting else None
        yield Observation("experts-partly", message, None, owner, "all or none", found, variant=variant, apart=apart)


def experts_differing(context: Context) -> Iterator[Fault]:
    """A fault for each layer whose experts, or whose projections of experts, have different schemes."""
    checkpoint = context.checkpoint
    if checkpoint is None:
        return
    kinds = {kind.first.scheme for kind in checkpoint.alike if _EXPERTS in kind.first.name}
    others = {scheme for scheme, members in checkpoint.other_schemes.items() if _EXPERTS in members[0]}
    if len(kinds) + len(others) < 2:
        return
    found: dict[str, set[str]] = {}
    for modules in (checkpoint.modules, checkpoint.opaque):
        for name, module in modules.items():
            owner = names.experts_owner(name) if _EXPERTS in name else None
            if owner is not None:
                found.setdefault(owner, set()).add(str(module.scheme))
    for owner, schemes in found.items():
        if len(schemes) > 1:
            message = "all experts of a layer are loaded as one, but they have different schemes"
            told = "; ".join(sorted(schemes))
            yield Observation("experts-schemes", message, None, owner, "one scheme", told, variant="experts")


def weight_scalar(module: QuantizedModule) -> TensorRef | None:
    """The scale of a weight that has one for all of it."""
    return module.weight_scale if module.scheme.weight.granularity == PerTensor() else None


def input_scalar(module: QuantizedModule) -> TensorRef | None:
    """The static scale of inputs."""
    return module.input_scale


def differing_scalars(
    context: Context, scalar: Callable[[QuantizedModule], TensorRef | None]
) -> Iterator[tuple[FusedGroup, dict[str, float]]]:
    """The layers whose parts have different one-value scales, and these by last part of the name."""
    modules = context.checkpoint.modules if context.checkpoint else {}
    kinds = context.checkpoint.alike if context.checkpoint else ()
    if not any(scalar(kind.first) for kind in kinds):
        return
    for group in context.fused_groups:
        found = {}
        for name in group.members:
            scale = scalar(modules[name]) if name in modules else None
            read = context.scale_values.get(scale.name) if scale is not None else None
            if read is not None and read[1].size == 1:
                found[names.last_part(name)] = read[1].minimum
        if len(set(found.values())) > 1:
            yield group, found


def spread(values: dict[str, float]) -> str:
    """Values by name, in words."""
    return ", ".join(f"{last} {value:.4g}" for last, value in values.items())
