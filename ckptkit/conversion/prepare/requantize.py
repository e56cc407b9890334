"""FP8 modules under other scales: as a preset that the user names, or where the target cannot hold them as they are.

Only where the user allows it, since every value is rounded once more. The nearest is done that a target holds: codes
whose blocks stay keep their bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from ckptkit.conversion.adapt import choose
from ckptkit.conversion.losses import ALLOW_LOSS
from ckptkit.conversion.prepare.prepared import TWO_FOLDERS, Prepared, stand_in
from ckptkit.conversion.prepare.scales_from import TAKE_FROM, input_scales
from ckptkit.conversion.prepare.select import selected
from ckptkit.conversion.request import ConversionRequest
from ckptkit.errors import Fault, plural
from ckptkit.formats.base import Changes
from ckptkit.formats.preset import Preset
from ckptkit.model import names
from ckptkit.model.checkpoint import Checkpoint, QuantizedModule
from ckptkit.model.scheme import Scheme
from ckptkit.operations import requantize
from ckptkit.operations.dequantize import block_shape
from ckptkit.operations.outputs import computed
from ckptkit.storage.output import Drop, OutputTensor
from ckptkit.storage.payload import TensorRef

#: What rounding E4M3 codes to E4M3 under unrelated scales costs: half a step of three bits, over all mantissas.
_USUAL_ERROR = "about 2.6 % of a weight's norm"


def step(prepared: Prepared, request: ConversionRequest) -> Prepared:
    """Modules get the scheme of a preset: the one that is named, or the first with which the target holds them all."""
    checkpoint = prepared.checkpoint
    if not checkpoint.modules or request.target.weight_dtype is not None:
        return prepared
    if request.scheme is not None:
        return prepared if request.preset is None else _by(prepared, request.preset, request)
    if not choose(checkpoint, request).losses:
        return prepared
    allowing = replace(request, allow_lossy=True)
    for one in sorted(request.target.presets, key=lambda known: not known.usual):
        attempt = _by(prepared, one, allowing)
        if not attempt.refusals and not choose(attempt.checkpoint, allowing).losses:
            return attempt if request.allow_lossy else _by(prepared, one, request)
    return prepared


def _by(prepared: Prepared, preset: Preset, request: ConversionRequest) -> Prepared:
    """The checkpoint with the modules that are meant by a preset."""
    checkpoint, scheme = prepared.checkpoint, preset.scheme
    wanted = selected(checkpoint.modules, request.modules)
    members = {name: checkpoint.modules[name] for name in wanted if checkpoint.modules[name].scheme != scheme}
    inputs, missing = _input_scales(checkpoint, members, preset, request)
    faults = [*missing, *_faults(prepared, members, preset)]
    faults += () if request.allow_lossy else _rounded(members, preset)
    if faults or not members:
        return prepared.then(checkpoint, {}, refusals=tuple(faults))
    modules: dict[str, QuantizedModule] = dict(checkpoint.modules)
    made: dict[TensorRef, OutputTensor] = {}
    drops: list[Drop] = []
    for name, module in members.items():
        changed = module._replace(scheme=scheme)
        if module.weight_scale is not None and module.scheme.weight != scheme.weight:
            codes, scale = _outputs(module, module.weight_scale, preset)
            made |= {stand_in(codes): codes, stand_in(scale): scale}
            changed = changed._replace(weight=stand_in(codes), weight_scale=stand_in(scale))
            drops.append(Drop(module.weight_scale, "the codes have other scales"))
        if module.input_scale is not None and not scheme.has_static_input:
            drops.append(Drop(module.input_scale, f"{preset.name} computes the scales of inputs at run time"))
            changed = changed._replace(input_scale=None)
        if name in inputs:
            made[stand_in(inputs[name])] = inputs[name]
            changed = changed._replace(input_scale=stand_in(inputs[name]))
        modules[name] = changed
    changes = Changes(
        lossy=frozenset({"requantize"}) if made else frozenset(),
        gives_up=tuple(_given_up(members, scheme)),
        reasons=(*_reasons(checkpoint, members, preset), *_taken(inputs, request)),
    )
    return prepared.then(replace(checkpoint, modules=modules), made, tuple(drops), changes)


def _outputs(module: QuantizedModule, scale: TensorRef, preset: Preset) -> tuple[OutputTensor, OutputTensor]:
    """The new codes and their scale."""
    old, new = (block_shape(scheme.weight.granularity) for scheme in (module.scheme, preset.scheme))
    given = requantize.parameters(preset.arithmetic, scale, old, new)
    inputs = (module.weight, scale)
    codes = computed(module.weight.name, "requantize", inputs, given, f"{preset.name}: other scales, codes anew")
    name = names.join(module.name, "weight_scale")
    return codes, computed(name, "requantization-scale", inputs, given, "largest magnitudes over 448")


def _input_scales(
    checkpoint: Checkpoint, members: Mapping[str, QuantizedModule], preset: Preset, request: ConversionRequest
) -> tuple[dict[str, OutputTensor], list[Fault]]:
    """Static scales of inputs that a preset needs and that are not stored, from another checkpoint; what is missing."""
    bare = [name for name, module in members.items() if module.input_scale is None]
    if not bare or not preset.scheme.has_static_input:
        return {}, []
    if request.scales is not None:
        return input_scales(checkpoint, request.scales, bare)
    message = f"{preset.name} has static inputs; without a scale for them: {plural(len(bare), 'module')}"
    help_text = f"{TAKE_FROM}, or choose a scheme that computes them at run time"
    return {}, [Fault("input-scales", message, None, bare[0], "a stored input scale", "none", help_text)]


def _taken(inputs: Mapping[str, OutputTensor], request: ConversionRequest) -> Iterator[str]:
    if inputs and request.scales is not None:
        yield f"{plural(len(inputs), 'scale')} of inputs come from {request.scales.container.label}"


def _faults(prepared: Prepared, members: Mapping[str, QuantizedModule], preset: Preset) -> Iterator[Fault]:
    """What a preset needs and does not find."""
    fresh = [m for m in members.values() if m.scheme.weight != preset.scheme.weight]
    made = {module.name: what for module in fresh if (what := prepared.operation_of(module.weight)) is not None}
    if made:
        name, what = next(iter(made.items()))
        message = f"{preset.name} takes stored weights, and {what} makes those of {plural(len(made), 'module')} first"
        yield Fault("two-operations", message, None, name, "one change of values", "two", TWO_FOLDERS)
    whole_blocks = min(block_shape(preset.scheme.weight.granularity)) > 0
    stacks = [module for module in members.values() if module.experts is not None and not whole_blocks]
    if stacks:
        message = f"{preset.name} has no scales for a stack of experts ({plural(len(stacks), 'module')})"
        yield Fault("stacked-experts", message, None, stacks[0].name, "2-D weights", "3-D", "split them first")


def _rounded(members: Mapping[str, QuantizedModule], preset: Preset) -> Iterator[Fault]:
    """What the user has to allow."""
    codes = [module for module in members.values() if module.scheme.weight != preset.scheme.weight]
    if codes:
        message = f"{preset.name} rounds the values of {plural(len(codes), 'module')} once more, by {_USUAL_ERROR}"
        expected, found = str(preset.scheme.weight), str(codes[0].scheme.weight)
        yield Fault("requantize", message, None, codes[0].name, expected, found, ALLOW_LOSS)
    static = [module for module in members.values() if module.input_scale is not None]
    if static and not preset.scheme.has_static_input:
        message = f"{plural(len(static), 'static input scale')} would go: {preset.name} computes them at run time"
        expected, found = str(preset.scheme.input), str(static[0].scheme.input)
        yield Fault("input-scales", message, None, static[0].name, expected, found, ALLOW_LOSS)


def _given_up(members: Mapping[str, QuantizedModule], scheme: Scheme) -> Iterator[str]:
    static = sum(module.input_scale is not None for module in members.values())
    if static and not scheme.has_static_input:
        yield f"{plural(static, 'static input scale')} go: inputs are quantized at run time"


def _reasons(checkpoint: Checkpoint, members: Mapping[str, QuantizedModule], preset: Preset) -> Iterator[str]:
    for old, names_of in checkpoint.schemes.items():
        count = sum(name in members for name in names_of)
        if count and old.weight != preset.scheme.weight:
            kinds = f"{old.weight.granularity} to {preset.scheme.weight.granularity} scales"
            told = f"every value is rounded once more, {_USUAL_ERROR}; what it is here is measured when it is written"
            yield f"{preset.name}: {plural(count, 'module')} from {kinds}; {told}"
        elif count:
            inputs = f"inputs go from {old.input or 'high precision'} to {preset.scheme.input or 'high precision'}"
            yield f"{preset.name}: {plural(count, 'module')} keep their codes; {inputs}"
