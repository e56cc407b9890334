"""CK7xx: modules that engines stack into one must be quantized alike."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context, FusedGroup
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import Level, OnConversion, rule
from ckptkit.errors import Fault, plural
from ckptkit.model import names
from ckptkit.model.granularity import PerTensor
from ckptkit.storage.payload import TensorRef


@rule("CK701", "fused-partly-quantized", Severity.ERROR, conversion=OnConversion.CARRIED)
def fused_partly_quantized(context: Context) -> Iterator[Fault]:
    """Of the modules that are loaded as one (q/k/v, gate/up), only some are quantized.

    Why it hurts: vLLM stops because one layer has one scheme. A part that the model does not have does not count:
    some layers share their values and store no v_proj.

    Example: q_proj in FP8, k_proj and v_proj in BF16.

    Mend: quantize all of them or none.
    """
    for group in context.fused_groups:
        if not group.rare:
            yield from _partly(context, group)


@rule("CK702", "fused-schemes-differ", Severity.ERROR, conversion=OnConversion.CARRIED)
def fused_schemes_differ(context: Context) -> Iterator[Fault]:
    """Modules that are loaded as one (q/k/v, gate/up) have different schemes.

    Why it hurts: vLLM applies the first part's scheme to all, or asserts.

    Example: q_proj per channel and k_proj per tensor, from two regular expressions that overlap by accident.

    Mend: quantize them with one scheme.
    """
    for group in context.fused_groups:
        if not group.rare:
            yield from _differing(context, group)


@rule("CK703", "rare-fused-group-uneven", Severity.WARNING, conversion=OnConversion.CARRIED)
def rare_fused_group_uneven(context: Context) -> Iterator[Fault]:
    """A less known set of modules that are loaded as one is not quantized alike.

    Why it hurts: linear attention (``in_proj_b`` and ``in_proj_a``, ``in_proj_qkv`` and ``in_proj_z``) and latent
    attention (``q_a_proj`` and ``kv_a_proj_with_mqa``) are merged too. Where the shapes fit, BF16 values land in an FP8
    parameter and only the answers show it.

    Example: ``in_proj_a`` in BF16 beside ``in_proj_b`` in FP8.

    Mend: quantize all members or none, and list all or none in the skip list.
    """
    for group in context.fused_groups:
        if group.rare:
            yield from _partly(context, group)
            yield from _differing(context, group)


def _partly(context: Context, group: FusedGroup) -> Iterator[Fault]:
    modules = context.checkpoint.modules if context.checkpoint else {}
    quantized = [name for name in group.members if name in modules]
    if 0 < len(quantized) < len(group.members):
        missing = ", ".join(names.last_part(name) for name in group.members if name not in quantized)
        found = f"quantized: {', '.join(names.last_part(name) for name in quantized)}; not: {missing}"
        message = f"{group.fused} is loaded as one layer, but only part of it is quantized"
        yield Fault("fused-partly", message, None, group.owner, "all or none", found)


def _differing(context: Context, group: FusedGroup) -> Iterator[Fault]:
    modules = context.checkpoint.modules if context.checkpoint else {}
    schemes = {name: modules[name].scheme for name in group.members if name in modules}
    if len(schemes) > 1 and any(scheme != schemes[next(iter(schemes))] for scheme in schemes.values()):
        found = "; ".join(f"{names.last_part(name)}: {scheme}" for name, scheme in schemes.items())
        message = f"{group.fused} is loaded as one layer, but its parts have different schemes"
        yield Fault("fused-schemes", message, None, group.owner, "one scheme", found)


@rule("CK704", "fused-weight-scales-differ", Severity.INFO, level=Level.SCALES)
def fused_weight_scales_differ(context: Context) -> Iterator[Fault]:
    """Per-tensor weight scales differ between modules that are loaded as one.

    Why it hurts: the fused layer has one scale, so engines requantize the parts to the largest while loading: a
    slower start and one more rounding.

    Example: q_proj 0.00084, k_proj 0.00098, v_proj 0.00091.

    Mend: requantize to the shared maximum once, offline, or quantize per channel.
    """
    kinds: dict[str, list[tuple[FusedGroup, str]]] = {}
    for group in context.fused_groups:
        values = _scalars(context, group, "weight_scale")
        if len(set(values.values())) > 1:
            kinds.setdefault(names.generalise(group.owner), []).append((group, _spread(values)))
    for kind, groups in kinds.items():
        group, found = groups[0]
        message = f"{group.fused} has one scale and its parts have several, in {plural(len(groups), 'layer')}"
        yield Fault("fused-weight-scales", message, None, kind, "one value", found)


@rule("CK705", "fused-input-scales-differ", Severity.WARNING, level=Level.SCALES, fix="unsafe")
def fused_input_scales_differ(context: Context) -> Iterator[Fault]:
    """Static input scales differ between modules that are loaded as one and hence see one input.

    Why it hurts: vLLM takes the largest, silently; for experts the value that is read last, or stops. TensorRT-LLM
    asserts, or takes the first.

    Example: q_proj 0.011, k_proj 0.013. Experts that see different tokens may differ and are not compared.

    Mend: set all of them to the largest, which is what engines do.
    """
    for group in context.fused_groups:
        values = _scalars(context, group, "input_scale")
        if len(set(values.values())) > 1:
            message = f"the parts of {group.fused} see one input, and their input scales differ"
            yield Fault("fused-input-scales", message, None, group.owner, "one value", _spread(values))


def _scalars(context: Context, group: FusedGroup, attribute: str) -> dict[str, float]:
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


def _spread(values: dict[str, float]) -> str:
    return ", ".join(f"{last} {value:.4g}" for last, value in values.items())
