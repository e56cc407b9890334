"""Which dialect of a target holds a checkpoint, and how schemes change where none holds them as they are.

A weight keeps its value when its one scale stands for every channel or block as well. Of inputs nothing is stored but
static scales: computing others at run time changes what serving does, not what is stored. Such changes are part of a
plan and told; where stored numbers would go, the user has to allow it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field, replace
from itertools import chain

from ckptkit.conversion.losses import ALLOW_LOSS, find_losses
from ckptkit.conversion.request import ConversionRequest
from ckptkit.errors import Fault, plural
from ckptkit.formats.base import Changes, Draft
from ckptkit.formats.dialect import Capabilities, Dialect
from ckptkit.model.checkpoint import Checkpoint, QuantizedModule
from ckptkit.model.granularity import Granularity, PerBlock, PerChannel, PerGroup, PerTensor, PerToken
from ckptkit.model.scheme import InputKind, Quantization, Scheme
from ckptkit.record import record
from ckptkit.storage.output import Drop

#: The block size of a scheme that is made for a target that takes any.
_USUAL_BLOCK = (128, 128)


@record
class Adapted:
    """A checkpoint as a dialect of the target can hold it: what differs from the stored one, and why.

    ``dropped`` are stored numbers that the target has no place for: they go only where the user allows it.
    """

    dialect: Dialect
    checkpoint: Checkpoint
    changes: Changes = field(default_factory=Changes)
    drops: tuple[Drop, ...] = ()
    losses: tuple[Fault, ...] = ()
    dropped: tuple[Fault, ...] = ()

    @property
    def refusals(self) -> tuple[Fault, ...]:
        """Why the dialect does not hold the checkpoint."""
        return (*self.losses, *self.dropped)

    def with_changes(self, draft: Draft) -> Draft:
        """A writer's draft of the adapted checkpoint, with what was adapted."""
        changes = self.changes.joined(draft.changes)
        return replace(draft, changes=changes, drops=(*draft.drops, *self.drops))


def choose(checkpoint: Checkpoint, request: ConversionRequest) -> Adapted:
    """The first dialect that holds the checkpoint as it is, else the first that holds it with declared changes.

    Where no dialect does, the answer is that of the one with the fewest losses.
    """
    target, dialects = request.target, request.dialects
    whole = (Adapted(d, checkpoint, losses=tuple(find_losses(checkpoint, c, target.name))) for d, c in dialects)
    attempts: list[Adapted] = []
    for attempt in chain(whole, (_adapted(checkpoint, d, c, request) for d, c in dialects)):
        if not attempt.refusals:
            return attempt
        attempts.append(attempt)
    return min(attempts, key=lambda attempt: (len(attempt.losses), len(attempt.dropped)))


def _adapted(
    checkpoint: Checkpoint, dialect: Dialect, capabilities: Capabilities, request: ConversionRequest
) -> Adapted:
    """The checkpoint with schemes that a dialect has, as far as there are such."""
    target = request.target
    schemes = {scheme: next(reachable(scheme, capabilities), scheme) for scheme in checkpoint.schemes}
    changed: dict[str, Scheme | None] = {}
    modules: dict[str, QuantizedModule] = {}
    drops: list[Drop] = []
    for name, module in checkpoint.modules.items():
        scheme = schemes[module.scheme]
        if scheme != module.scheme:
            changed[name] = scheme
            module = module._replace(scheme=scheme)
            if module.input_scale is not None and not scheme.has_static_input:
                drops.append(Drop(module.input_scale, f"{target.name} has no static inputs beside such weights"))
                module = module._replace(input_scale=None)
        modules[name] = module
    result = replace(checkpoint, modules=modules)
    goes = tuple(_what_goes(checkpoint, schemes, target.name))
    return Adapted(
        dialect,
        result,
        Changes(
            schemes=changed,
            gives_up=tuple(fault.message for fault in goes),
            reasons=tuple(_reasons(checkpoint, schemes)),
        ),
        tuple(drops),
        tuple(find_losses(result, capabilities, target.name)),
        () if request.allow_lossy else goes,
    )


def reachable(scheme: Scheme, capabilities: Capabilities) -> Iterator[Scheme]:
    """The schemes that a dialect has and that leave every weight its value, the nearest first."""
    for weight in _finer(scheme.weight.granularity, capabilities):
        for inputs in _other_inputs(scheme.input, weight):
            if (type(weight), InputKind.of(inputs)) in capabilities.schemes:
                bounded = _bounded(inputs, capabilities)
                yield replace(scheme, weight=replace(scheme.weight, granularity=weight), input=bounded)


def _finer(granularity: Granularity, capabilities: Capabilities) -> Iterator[Granularity]:
    """Granularities in which one scale can stand several times."""
    yield granularity
    if isinstance(granularity, PerTensor):
        yield PerChannel()
        sizes = capabilities.block_sizes
        for size in (_USUAL_BLOCK,) if sizes is None else sorted(sizes):
            yield PerBlock(*size)


def _other_inputs(inputs: Quantization | None, weight: Granularity) -> Iterator[Quantization | None]:
    """The same inputs, then those that are computed at run time, which need no stored number."""
    yield inputs
    group = weight.columns if isinstance(weight, PerBlock) else None
    for granularity in (PerGroup(group),) if group else (PerToken(), PerTensor()):
        yield Quantization(granularity, dynamic=True)


def _bounded(inputs: Quantization | None, capabilities: Capabilities) -> Quantization | None:
    """Inputs with the upper bound that they have in a dialect: their own, the dialect's usual one, or none."""
    if inputs is None or (inputs.upper_bound is None) == (capabilities.input_bound is None):
        return inputs
    return replace(inputs, upper_bound=capabilities.input_bound)


def _reasons(checkpoint: Checkpoint, schemes: dict[Scheme, Scheme]) -> Iterator[str]:
    """What changes, in a sentence for each scheme."""
    for old, new in schemes.items():
        if old == new:
            continue
        what = []
        if old.weight != new.weight:
            kinds = f"{old.weight.granularity} to {new.weight.granularity}"
            what.append(f"weights go from {kinds}, the same scale several times: no value changes")
        if old.input != new.input:
            before = str(old.input) if old.input else "in high precision"
            what.append(
                f"inputs go from {before} to {new.input}: what is served differs a little, no stored value does"
            )
        yield f"{plural(len(checkpoint.schemes[old]), 'module')}: {'; '.join(what)}"


def _what_goes(checkpoint: Checkpoint, schemes: dict[Scheme, Scheme], target: str) -> Iterator[Fault]:
    """What the new schemes have no place for, or make coarser than it was."""
    for old, new in schemes.items():
        members = checkpoint.schemes[old]
        first = checkpoint.modules[members[0]]
        if _drops_scales(old, new):
            message = (
                f"{target} computes such inputs at run time: {plural(len(members), 'static input scale')} would go"
            )
            name = first.input_scale.name if first.input_scale else first.name
            yield _lossy("input-scales", message, name, str(new.input), str(old.input))
        elif _coarsens(old, new):
            modules = plural(len(members), "module")
            message = f"{target} has coarser inputs for such weights: {modules}"
            yield _lossy("inputs", message, first.name, str(new.input), str(old.input or "inputs in high precision"))


def gives_up(old: Scheme, new: Scheme) -> bool:
    """Whether a change of schemes leaves stored scales of inputs without a place, or makes inputs coarser."""
    return _drops_scales(old, new) or _coarsens(old, new)


def _drops_scales(old: Scheme, new: Scheme) -> bool:
    """Whether stored scales of inputs have no place any more."""
    return old.has_static_input and not new.has_static_input


def _coarsens(old: Scheme, new: Scheme) -> bool:
    """Whether inputs are quantized more coarsely than before."""
    return new.input is not None and _fineness(new.input) < _fineness(old.input)


def _fineness(inputs: Quantization | None) -> int:
    """How near to the inputs themselves what is computed at run time is, as a rank."""
    ranks = {PerTensor: 0, PerToken: 1, PerGroup: 2}
    return 3 if inputs is None else ranks.get(type(inputs.granularity), 0)


def _lossy(kind: str, message: str, tensor: str, expected: str, found: str) -> Fault:
    return Fault(kind, message, None, tensor, expected, found, ALLOW_LOSS)
