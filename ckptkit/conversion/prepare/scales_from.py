"""Scales that only calibration gives, taken from another checkpoint of the same model: they become constants."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ckptkit.conversion.prepare.prepared import stand_in
from ckptkit.errors import ConversionRefused, Fault, UsageError, plural
from ckptkit.formats.preset import Preset
from ckptkit.model import names
from ckptkit.model.checkpoint import AttentionScales, Checkpoint, KVCache
from ckptkit.operations.outputs import computed
from ckptkit.storage.output import CONSTANT, OutputTensor
from ckptkit.storage.payload import TensorRef

_ROLES = ("k", "v")
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
        "take them from a checkpoint of the same model with scales_from (--scales-from), or choose a dynamic scheme",
    )
    return ConversionRefused(f"{checkpoint.container.label}: {preset.name} needs calibration", faults=[fault])


class _Twins:
    """Modules of the donor by the names of a checkpoint's: either may be stored as it is called in memory."""

    def __init__(self, checkpoint: Checkpoint, donor: Checkpoint) -> None:
        self._own = names.in_memory(checkpoint.linear_names, checkpoint.config)
        self._theirs = {other: name for name, other in names.in_memory(donor.linear_names, donor.config).items()}

    def of(self, name: str) -> tuple[str, ...]:
        """The names under which the donor may have a module."""
        other = self._own.get(name, name)
        return (name, other, self._theirs.get(name, name), self._theirs.get(other, other))

    def of_attention(self, owner: str) -> tuple[str, ...]:
        """The same for an attention module, which is known by what makes its keys."""
        made = (name for last in sorted(names.MAKES_KEYS) for name in self.of(names.join(owner, last)))
        return tuple(map(names.parent, made))


def _with_inputs(checkpoint: Checkpoint, donor: Checkpoint, made: _Made, faults: list[Fault]) -> Checkpoint:
    modules, twins = dict(checkpoint.modules), _Twins(checkpoint, donor)
    for name, module in modules.items():
        theirs = next((donor.modules[other] for other in twins.of(name) if other in donor.modules), None)
        if theirs is None or theirs.input_scale is None:
            found = "no such FP8 module" if theirs is None else f"{theirs.scheme.input or 'no'} inputs"
            faults.append(Fault("input-scale-missing", "no input scale to take", None, name, "a scale", found))
        elif theirs.input_scale.numel != 1:
            shape = str(list(theirs.input_scale.shape))
            faults.append(Fault("input-scale-shape", "not one scale", None, theirs.input_scale.name, "one", shape))
        else:
            scale = _constant(donor, theirs.input_scale, names.join(name, "input_scale"), module.weight)
            made[stand_in(scale)] = scale
            modules[name] = module._replace(input_scale=stand_in(scale))
    return replace(checkpoint, modules=modules)


def _with_cache(checkpoint: Checkpoint, donor: Checkpoint, made: _Made, faults: list[Fault]) -> Checkpoint:
    cache = donor.kv_cache
    theirs = {attention.module: attention.stored() for attention in cache.attention} if cache is not None else {}
    twins = _Twins(checkpoint, donor)
    beside = {names.parent(module.name): module.weight for module in checkpoint.modules.values()}
    beside |= {names.parent(name): weight for name, weight in checkpoint.unquantized.items()}
    found: list[AttentionScales] = []
    for owner in checkpoint.attention_modules:
        stored = next((theirs[other] for other in twins.of_attention(owner) if theirs.get(other)), {})
        missing = [role for role in _ROLES if role not in stored]
        if missing:
            roles = " and ".join(missing)
            faults.append(Fault("kv-scale-missing", f"no scale of {roles} to take", None, owner, "scales", "none"))
            continue
        scales = {
            role: _constant(donor, stored[role], names.join(owner, f"{role}_scale"), beside[owner]) for role in _ROLES
        }
        made.update((stand_in(scale), scale) for scale in scales.values())
        found.append(AttentionScales(owner, stand_in(scales["k"]), stand_in(scales["v"])))
    return replace(checkpoint, kv_cache=KVCache(cache.scheme if cache is not None else None, tuple(found)))


def _constant(donor: Checkpoint, scale: TensorRef, name: str, beside: TensorRef) -> OutputTensor:
    """A scale of the donor, in the shard of what it belongs to."""
    data = donor.container.read(scale).hex()
    parameters = {"dtype": scale.dtype, "shape": list(scale.shape), "hex": data}
    return computed(name, CONSTANT, (beside,), parameters, f"from {donor.container.label}")
