"""Scales that only calibration gives, taken from another checkpoint of the same model: they become constants."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from ckptkit.conversion.prepare.borrow import KV_ROLES, Twins, attention_scales, constants
from ckptkit.conversion.prepare.prepared import stand_in
from ckptkit.errors import ConversionRefused, Fault, UsageError, plural
from ckptkit.formats.preset import Preset
from ckptkit.model import names
from ckptkit.model.checkpoint import AttentionScales, Checkpoint, KVCache
from ckptkit.storage.output import OutputTensor
from ckptkit.storage.payload import TensorRef

#: What to do about scales that only calibration gives.
TAKE_FROM = "static scales take calibration: take them from a checkpoint of the same model, scales_from (--scales-from)"
_Made = dict[TensorRef, OutputTensor]


def taken(
    checkpoint: Checkpoint, donor: Checkpoint | None, preset: Preset
) -> tuple[Checkpoint, _Made, tuple[str, ...]]:
    """The checkpoint with the donor's scales of inputs and of the KV cache, how they are made, and what is told of it.

    Raises ConversionRefused, with every scale that is wanted and missing.
    """
    static = preset.scheme.has_static_input
    if donor is None:
        if static:
            raise _needs_calibration(checkpoint, preset)
        return checkpoint, {}, ()
    has_cache = donor.kv_cache is not None and donor.kv_cache.scheme is not None
    if not static and not has_cache:
        message = f"{donor.container.label} has no scales of a KV cache, and {preset.name} takes no others"
        raise UsageError(message, help="leave scales_from (--scales-from) out")
    made: _Made = {}
    faults: list[Fault] = []
    if static:
        checkpoint = _with_inputs(checkpoint, donor, made, faults)
    if has_cache:
        checkpoint = _with_cache(checkpoint, donor, made, faults)
    if faults:
        message = f"{donor.container.label} lacks scales that {checkpoint.container.label} needs"
        raise ConversionRefused(message, faults=faults)
    return checkpoint, made, tuple(_notes(made, donor))


def _notes(made: _Made, donor: Checkpoint) -> Iterator[str]:
    yield f"{plural(len(made), 'scale')} of inputs and of the KV cache taken from {donor.container.label}"


def _needs_calibration(checkpoint: Checkpoint, preset: Preset) -> ConversionRefused:
    fault = Fault(
        "calibration",
        f"{preset.name} has static inputs: their scales are measured on data",
        None,
        None,
        "an input scale for each module",
        "none",
        f"{TAKE_FROM}, or choose a dynamic scheme",
    )
    return ConversionRefused(f"{checkpoint.container.label}: {preset.name} needs calibration", faults=[fault])


def _with_inputs(checkpoint: Checkpoint, donor: Checkpoint, made: _Made, faults: list[Fault]) -> Checkpoint:
    modules = dict(checkpoint.modules)
    found, missing = input_scales(checkpoint, donor, modules)
    faults += missing
    for name, scale in found.items():
        made[stand_in(scale)] = scale
        modules[name] = modules[name]._replace(input_scale=stand_in(scale))
    return replace(checkpoint, modules=modules)


def input_scales(
    checkpoint: Checkpoint, donor: Checkpoint, wanted: Iterable[str]
) -> tuple[dict[str, OutputTensor], list[Fault]]:
    """The donor's static scales of inputs of some FP8 modules, as constants by module; and those that it lacks."""
    modules, twins = checkpoint.modules, Twins(checkpoint, donor)
    found: dict[str, TensorRef] = {}
    faults: list[Fault] = []
    for name in wanted:
        theirs = next((donor.modules[other] for other in twins.of(name) if other in donor.modules), None)
        if theirs is None or theirs.input_scale is None:
            what = "no such FP8 module" if theirs is None else f"{theirs.scheme.input or 'no'} inputs"
            faults.append(Fault("input-scale-missing", "no input scale to take", None, name, "a scale", what))
        elif theirs.input_scale.numel != 1:
            shape = str(list(theirs.input_scale.shape))
            faults.append(Fault("input-scale-shape", "not one scale", None, theirs.input_scale.name, "one", shape))
        else:
            found[name] = theirs.input_scale
    placed = [(scale, names.join(name, "input_scale"), modules[name].weight) for name, scale in found.items()]
    return dict(zip(found, constants(donor, placed), strict=True)), faults


def _with_cache(checkpoint: Checkpoint, donor: Checkpoint, made: _Made, faults: list[Fault]) -> Checkpoint:
    borrowed = attention_scales(checkpoint, donor)
    found: list[AttentionScales] = []
    for owner in checkpoint.attention_modules:
        scales = borrowed.scales.get(owner, {})
        missing = [role for role in KV_ROLES if role not in scales]
        if missing:
            roles = " and ".join(missing)
            faults.append(Fault("kv-scale-missing", f"no scale of {roles} to take", None, owner, "scales", "none"))
            continue
        made.update((stand_in(scales[role]), scales[role]) for role in KV_ROLES)
        found.append(AttentionScales(owner, stand_in(scales["k"]), stand_in(scales["v"])))
    return replace(checkpoint, kv_cache=KVCache(borrowed.scheme, tuple(found)))
