"""Weights with their scales as runs of rows: cut, and put one after the other. Bytes are ranges of what is stored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ckptkit.conversion.prepare.prepared import stand_in
from ckptkit.errors import Fault
from ckptkit.model import names
from ckptkit.model.checkpoint import QuantizedModule
from ckptkit.model.granularity import Granularity, PerBlock, PerChannel, PerTensor
from ckptkit.operations.outputs import computed
from ckptkit.storage.output import CONCAT, SLICE, OutputTensor
from ckptkit.storage.payload import TensorRef, count

#: What keeps every value where parts have one scale each.
_BY_CHANNELS = (
    "write every scale once for each channel first, which keeps all values (ckptkit convert --granularity channel), "
    "into a folder of its own, then put the parts of that together"
)


@dataclass
class Made:
    """What has been put together so far: operations by their stand-ins, tensors that others stand for, and refusals."""

    tensors: dict[TensorRef, OutputTensor] = field(default_factory=dict)
    used: dict[TensorRef, str] = field(default_factory=dict)
    refusals: list[Fault] = field(default_factory=list)

    def slice(self, source: TensorRef, name: str, first: int, shape: tuple[int, ...], reason: str) -> TensorRef:
        """A run of elements of a stored tensor, from number ``first`` on."""
        return self._add(computed(name, SLICE, (source,), {"first": first, "shape": list(shape)}, reason))

    def concat(self, sources: Sequence[TensorRef], name: str, shape: tuple[int, ...], reason: str) -> TensorRef:
        """Stored tensors one after the other."""
        return self._add(computed(name, CONCAT, tuple(sources), {"shape": list(shape)}, reason))

    def _add(self, tensor: OutputTensor) -> TensorRef:
        ref = stand_in(tensor)
        self.tensors[ref] = tensor
        return ref

    def refuse(self, module: str, message: str, expected: str, found: str, help: str | None = None) -> None:
        """Note why something cannot be done, and what to do instead."""
        self.refusals.append(Fault("arrangement", message, None, module, expected, found, help))


def units(granularity: Granularity, rows: int) -> int | None:
    """How many rows share a run of scales, so that cuts between them cut scales; None where all rows do."""
    if isinstance(granularity, PerTensor):
        return None
    return granularity.rows if isinstance(granularity, PerBlock) else 1


def scale_width(granularity: Granularity, columns: int) -> int:
    """The scales of one run of rows."""
    return -(-columns // granularity.columns) if isinstance(granularity, PerBlock) else 1


def is_known(granularity: Granularity) -> bool:
    """Whether runs of rows have runs of scales."""
    return isinstance(granularity, (PerTensor, PerChannel, PerBlock))


def cut(module: QuantizedModule, parts: dict[str, tuple[int, int]], made: Made) -> Iterator[QuantizedModule]:
    """Parts of a module: name -> its first row and its rows, counted over all experts of a stack.

    A part lies within one expert. Scales of whole tensors are repeated. Cuts inside a block are noted as refusals.
    """
    rows, columns = module.weight.shape[-2:]
    granularity, scale = module.scheme.weight.granularity, module.weight_scale
    height, width = units(granularity, rows), scale_width(granularity, columns)
    if scale is None or not is_known(granularity):
        made.refuse(module.name, "cannot be cut", "scales of tensors, channels or blocks", str(granularity))
        return
    per_expert = 1 if height is None else -(-rows // height)
    for name, (first, size) in parts.items():
        expert, start = divmod(first, rows)
        weight = made.slice(
            module.weight,
            names.join(name, "weight"),
            first * columns,
            (size, columns),
            f"rows of {names.last_part(module.name)}",
        )
        if height is not None and (start % height or (start + size != rows and size % height)):
            message = f"{name} would begin or end inside a block of {height} rows"
            made.refuse(module.name, message, f"rows in multiples of {height}", f"rows {start} to {start + size}")
            return
        own = scale
        if height is not None:
            lines = -(-size // height)
            at = (expert * per_expert + start // height) * width
            shape = (lines, width) if isinstance(granularity, PerBlock) else (lines,)
            own = made.slice(
                scale, names.join(name, "weight_scale"), at, shape, f"scales of {names.last_part(module.name)}"
            )
        elif module.experts is not None and scale.numel > 1:
            own = made.slice(
                scale, names.join(name, "weight_scale"), expert, (), f"scales of {names.last_part(module.name)}"
            )
        yield QuantizedModule(name, module.scheme, weight, own, module.input_scale)


def joined(
    name: str, members: Sequence[QuantizedModule], experts: int | None, made: Made, same: dict[TensorRef, TensorRef]
) -> QuantizedModule | None:
    """Modules one below the other, or as a stack of so many experts; None where they do not fit, which is noted.

    ``same`` maps scales of whole tensors to the one that has the same bytes.
    """
    first = members[0]
    granularity = first.scheme.weight.granularity
    columns = first.weight.shape[-1]
    if any(m.scheme != first.scheme or m.weight.shape[-1] != columns or m.weight_scale is None for m in members):
        made.refuse(name, "its parts have different schemes or columns", str(first.scheme), "others")
        return None
    scales = [member.weight_scale for member in members if member.weight_scale is not None]
    rows = sum(member.weight.shape[0] for member in members)
    height = units(granularity, rows)
    ragged = [m for m in members[:-1] if height is not None and m.weight.shape[0] % height]
    if experts is not None and height is not None and members[-1].weight.shape[0] % height and len(members) > experts:
        ragged.append(members[-1])
    if not is_known(granularity) or len({scale.dtype for scale in scales}) > 1 or ragged:
        found = f"{ragged[0].name} has {ragged[0].weight.shape[0]} rows" if ragged else "several, or groups"
        expected = f"parts of whole blocks of {height} rows" if ragged else "scales of one kind"
        made.refuse(name, "its parts cannot be put together", expected, found)
        return None
    inputs = {None if m.input_scale is None else same.get(m.input_scale, m.input_scale) for m in members}
    whole = {same.get(scale, scale) for scale in scales} if height is None else set()
    if len(inputs) > 1 or (len(whole) > 1 and (experts is None or len(members) > experts)):
        message = "its parts have scales of their own: one for all would round them"
        made.refuse(name, message, "one scale", "several", None if len(inputs) > 1 else _BY_CHANNELS)
        return None
    reason = f"parts of {names.last_part(name)}, one after the other"
    stack = () if experts is None else (experts,)
    shape = (*stack, rows // (experts or 1), columns)
    stacked = experts is not None
    weight_name = name if stacked else names.join(name, "weight")
    weight = made.concat([member.weight for member in members], weight_name, shape, reason)
    scale = scales[0]
    if height is None and stacked:
        scale = made.concat(scales, f"{name}_scale", stack, reason)
    elif height is not None:
        scale_name = f"{name}_scale" if stacked else names.join(name, "weight_scale")
        scale = made.concat(scales, scale_name, granularity.scale_shape(shape), reason)
    else:
        made.used.update((other, "the same value as its neighbours'") for other in scales[1:])
    for member in members[1:]:
        if member.input_scale is not None:
            made.used[member.input_scale] = "the same value as its neighbours'"
    if count(scale.shape) != count(granularity.scale_shape(shape)):
        made.refuse(name, "its scales do not fit", str(list(granularity.scale_shape(shape))), str(list(scale.shape)))
        return None
    return QuantizedModule(name, first.scheme, weight, scale, first.input_scale)
