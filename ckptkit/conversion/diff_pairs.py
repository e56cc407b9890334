"""Which weight of one checkpoint is which of another: by name, by the name in memory, or as a part of a fused one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import NamedTuple

from ckptkit.conversion import grouped
from ckptkit.engines.architectures import INPUTS_FIRST
from ckptkit.engines.dimensions import Dimensions
from ckptkit.errors import plural
from ckptkit.measure.matrix import Matrix, fp8_matrices, made_matrices, plain_matrices
from ckptkit.model import names
from ckptkit.model.checkpoint import Checkpoint, OpaqueModule, QuantizedModule
from ckptkit.operations.operation import OperationError
from ckptkit.record import record
from ckptkit.storage.output import OutputTensor
from ckptkit.storage.payload import TensorRef, count

#: What the scheme of a weight in high precision is called.
NOT_QUANTIZED = "not quantized"
_WEIGHT = ".weight"


class Slice(NamedTuple):
    """Rows of a stored matrix, or of one expert's in a stack [E, N, K]."""

    expert: int | None
    first: int
    rows: int


class Stored(NamedTuple):
    """What one side has under the name of a weight: a module, quantized in FP8 or otherwise, or a plain tensor.

    ``tensor`` is None where a module in another quantization has no weight. ``part`` is set where only some of its rows
    are meant, and ``name`` is then what these are called. A ``turned`` stack of plain experts is stored as [E, K, N],
    and meant as [E, N, K]. ``numbers`` are what plain floats of an opaque module would be, None where nobody knows.
    """

    name: str
    tensor: TensorRef | None
    module: QuantizedModule | None = None
    opaque: OpaqueModule | None = None
    part: Slice | None = None
    turned: bool = False
    numbers: OutputTensor | None = None

    @property
    def subject(self) -> str:
        """The module's name, or the tensor's where it is no module's weight."""
        return self.name.removesuffix(_WEIGHT)

    @property
    def scheme(self) -> str:
        """How it is quantized, in words."""
        module = self.module or self.opaque
        return NOT_QUANTIZED if module is None else str(module.scheme)

    @property
    def storage(self) -> str:
        """What its values are stored in: an element type, and which elements share a scale."""
        if self.opaque is not None:
            return self.opaque.scheme.name
        return self.dtype if self.module is None else f"{self.dtype} {self.module.scheme.weight.granularity}"

    @property
    def has_numbers(self) -> bool:
        """Whether it is known what number each element is."""
        return self.opaque is None or self.numbers is not None

    @property
    def no_numbers(self) -> str:
        """Why a weight in another quantization is not measured."""
        return f"no numbers are read of weights in {self.storage}"

    @property
    def dtype(self) -> str:
        """The type of the stored elements."""
        return "" if self.tensor is None else self.tensor.dtype

    @property
    def stored_name(self) -> str:
        """The stored tensor's name, or what the part of it is called."""
        return self.name if self.tensor is None or self.part is not None else self.tensor.name

    def has_other_scheme(self, other: Stored) -> bool:
        """Whether the two are quantized differently."""
        if self.module is not None and other.module is not None:
            return self.module.scheme != other.module.scheme
        return self.scheme != other.scheme

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of its numbers, or of the part's."""
        stored = self.tensor if self.numbers is None else self.numbers
        shape = () if stored is None else stored.shape
        if self.turned:
            shape = (*shape[:-2], shape[-1], shape[-2])
        return shape if self.part is None else (self.part.rows, shape[-1])

    @property
    def is_plain(self) -> bool:
        """Whether it is stored as it is."""
        return self.module is None and self.opaque is None

    def matrices(self, *, stacked: bool) -> tuple[Matrix, ...]:
        """Its numbers; ``stacked``: a matrix for each expert. Raises OperationError where none are known of it."""
        if self.numbers is not None:
            found = made_matrices(self.numbers.operation, self.numbers.inputs, self.numbers.parameters)
        elif self.opaque is not None or self.tensor is None:
            raise OperationError(self.no_numbers)
        elif self.module is None:
            found = plain_matrices(self.tensor, stacked=stacked, turned=self.turned)
        else:
            scheme, scale = self.module.scheme, self.module.weight_scale
            found = fp8_matrices(self.tensor, scale, scheme.weight.granularity)
        if self.part is None:
            return found
        return (found[self.part.expert or 0].part(self.part.first, self.part.rows),)


class Pair(NamedTuple):
    """What both sides have of a weight; None where one has nothing."""

    left: Stored | None
    right: Stored | None


class Whole(NamedTuple):
    """A fused weight of one side of which the other one stores the parts."""

    stored: Stored
    is_left: bool
    parts: tuple[str, ...]

    def words(self) -> tuple[str, str]:
        """What each side stores, the left one first."""
        whole = f"one tensor {list(self.stored.shape)}"
        single = f"{plural(len(self.parts), 'part')}, the first {self.parts[0]}"
        return (whole, single) if self.is_left else (single, whole)


@record
class Pairs:
    """``weights``: every pair, the left side's in file order first; ``wholes``: fused weights that were taken apart.

    ``reasons``: name of a fused weight -> why it cannot be taken apart although the other side has its parts.
    """

    weights: tuple[Pair, ...]
    wholes: tuple[Whole, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)


def stored_weights(checkpoint: Checkpoint) -> dict[str, Stored]:
    """Every weight and plain tensor by the name that its tensor has where it is not quantized; modules come first."""
    found: dict[str, Stored] = {}
    for module in checkpoint.modules.values():
        found[module.weight.name] = Stored(module.weight.name, module.weight, module)
    for opaque in checkpoint.opaque.values():
        name = grouped.weight_name(opaque)
        found[name] = Stored(name, opaque.weight, opaque=opaque, numbers=grouped.plain_weight(opaque))
    for tensor in checkpoint.plain:
        found.setdefault(tensor.name, Stored(tensor.name, tensor))
    return found


def pair_up(left: Checkpoint, right: Checkpoint) -> Pairs:
    """Pair the weights of two checkpoints."""
    ours, theirs = stored_weights(left), stored_weights(right)
    alone = [_without(ours, theirs), _without(theirs, ours)]
    renamed = _renamed(alone[0], alone[1], left, right) if all(alone) else {}
    for name, other in renamed.items():
        del alone[0][name], alone[1][other]
    wholes, parts, reasons = _taken_apart(alone, left, right) if all(alone) else ([], {}, {})
    taken = {part for whole in wholes for part in whole.parts}
    pairs: list[Pair] = []
    for name, item in ours.items():
        if name in parts:
            pairs += parts[name]
        elif name not in alone[0]:
            pairs.append(_turned(item, theirs[renamed.get(name, name)], left, right))
        elif name not in taken:
            pairs.append(Pair(item, None))
    for name, item in alone[1].items():
        if name in parts:
            pairs += parts[name]
        elif name not in taken:
            pairs.append(Pair(None, item))
    return Pairs(tuple(pairs), tuple(wholes), reasons)


def _turned(ours: Stored, theirs: Stored, left: Checkpoint, right: Checkpoint) -> Pair:
    """Both sides of a weight; a plain stack [E, K, N] beside a quantized one [E, N, K] is meant as that is."""
    if ours.is_plain == theirs.is_plain or len(ours.shape) != 3 or len(theirs.shape) != 3:
        return Pair(ours, theirs)
    plain, other, checkpoint = (ours, theirs, left) if ours.is_plain else (theirs, ours, right)
    experts, rows, columns = other.shape
    named = Dimensions.of(checkpoint.config).architecture or ""
    if plain.shape == (experts, columns, rows) and (rows != columns or named.startswith(INPUTS_FIRST)):
        plain = plain._replace(turned=True)
    return Pair(plain, other) if ours.is_plain else Pair(other, plain)


def _without(own: dict[str, Stored], other: dict[str, Stored]) -> dict[str, Stored]:
    return {name: item for name, item in own.items() if name not in other}


def _renamed(
    ours: Mapping[str, Stored], theirs: Mapping[str, Stored], left: Checkpoint, right: Checkpoint
) -> dict[str, str]:
    """Names of the left side -> names of the right one that transformers takes for the same, or saves instead."""
    memory = {name: own for own, name in _in_memory(theirs, right).items()}
    return {own: memory[name] for own, name in _in_memory(ours, left).items() if name in memory}


def _in_memory(stored: Mapping[str, Stored], checkpoint: Checkpoint) -> dict[str, str]:
    """The names that tensors have once they are loaded."""
    owners = {tensor.module for tensor in checkpoint.container.tensors.values()}
    known = names.in_memory(owners, checkpoint.config)
    found = {}
    for name in stored:
        owner, dot, last = name.rpartition(".")
        found[name] = f"{names.common(known.get(owner, owner))}{dot}{last}"
    return found


def _taken_apart(
    alone: list[dict[str, Stored]], left: Checkpoint, right: Checkpoint
) -> tuple[list[Whole], dict[str, list[Pair]], dict[str, str]]:
    """Fused weights of one side of which the other one has all parts, these pairs by the fused weight's name."""
    wholes: list[Whole] = []
    found: dict[str, list[Pair]] = {}
    reasons: dict[str, str] = {}
    common = [{_common(item): item for item in side.values()} for side in alone]
    for is_left, checkpoint in ((True, left), (False, right)):
        own, other = alone[0] if is_left else alone[1], common[1] if is_left else common[0]
        for name, item in own.items():
            groups = [group for group in _part_names(item) if all(part in other for part in group)]
            if not groups or len(groups) != (item.shape[0] if len(item.shape) == 3 else 1):
                continue
            pieces = _slices(item, [[other[part] for part in group] for group in groups])
            reason = _why_not(item, pieces, [other[part] for part in groups[0]], checkpoint)
            if reason is not None:
                reasons[name] = reason
                continue
            wholes.append(Whole(item, is_left, tuple(piece.name for piece, _ in pieces)))
            parts = [(item._replace(name=piece.name, part=own_part), piece) for piece, own_part in pieces]
            found[name] = [Pair(*(both if is_left else both[::-1])) for both in parts]
    return wholes, found, reasons


def _part_names(item: Stored) -> Iterator[list[str]]:
    """What the parts of a fused weight, or of each expert of a stack, would be called."""
    owner, _, last = names.common(item.subject).rpartition(".")
    fused = names.FUSED_GROUPS.get(last)
    if len(item.shape) == 3:
        for expert in range(item.shape[0]):
            yield [f"{owner}.{expert}.{part}{_WEIGHT}" for part in fused or (last,)]
    elif len(item.shape) == 2 and fused:
        yield [f"{owner}.{part}{_WEIGHT}" for part in fused]


def _common(item: Stored) -> str:
    """The name of a part, as :func:`_part_names` has it."""
    return f"{names.common(item.subject)}{_WEIGHT}" if item.name.endswith(_WEIGHT) else item.name


def _slices(item: Stored, groups: list[list[Stored]]) -> list[tuple[Stored, Slice]]:
    found = []
    for expert, group in enumerate(groups):
        first = 0
        for part in group:
            rows = part.shape[0] if part.shape else 0
            found.append((part, Slice(expert if len(item.shape) == 3 else None, first, rows)))
            first += rows
    return found


def _why_not(
    item: Stored, pieces: list[tuple[Stored, Slice]], first: list[Stored], checkpoint: Checkpoint
) -> str | None:
    """Why the rows of a fused weight are not those of the parts; None where they are."""
    shapes = {part.shape[1:] for part, _ in pieces}
    unknown = next((one for one in (item, *(part for part, _ in pieces)) if not one.has_numbers), None)
    if unknown is not None:
        return unknown.no_numbers
    if any(len(part.shape) != 2 for part, _ in pieces) or len(shapes) != 1:
        return "its parts have shapes of their own"
    rows, (columns,) = sum(part.shape[0] for part in first), shapes.pop()
    named = Dimensions.of(checkpoint.config).architecture or ""
    transposed = item.shape[-2:] == (columns, rows)
    if item.shape[-2:] != (rows, columns) and not transposed:
        return f"{list(item.shape[-2:])} is not the {[rows, columns]} of its parts"
    if transposed and (item.shape[-2:] != (rows, columns) or named.startswith(INPUTS_FIRST)):
        return f"it is stored as [inputs, outputs], its parts as {list(first[0].shape)}"
    if count(item.shape) != sum(count(part.shape) for part, _ in pieces):
        return "its parts have other shapes from expert to expert"
    return None
