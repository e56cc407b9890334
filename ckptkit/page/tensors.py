"""Every tensor of a checkpoint in little room: what differs in numbers only is written once.

A name is pieces of text with numbers between them: ``model.layers.17.mlp.up_proj.weight`` is the pieces
``["model.layers.", ".mlp.up_proj.weight"]`` and the number 17. Tensors with the same pieces, dtype and shape are one
kind, which lists the numbers of its tensors one after the other. A tensor's row is its place when all kinds are written
out in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from ckptkit.record import record
from ckptkit.storage.payload import TensorRef

#: Numbers of more digits stay text: a browser's numbers are exact up to 2**53.
_LONGEST = 15


class TensorKind(NamedTuple):
    """Tensors that differ in the numbers in their names and in their shards only.

    ``numbers`` has ``len(pieces) - 1`` of them for each tensor, ``shards`` the place of the shard in the table's list,
    as (shard, how many tensors in a row) pairs.
    """

    pieces: tuple[str, ...]
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    tensors: int
    numbers: tuple[int, ...]
    shards: tuple[tuple[int, int], ...]

    def to_json(self) -> dict[str, Any]:
        """A JSON object, as in the part ``tensors`` of ``schemas/page.json``."""
        return {
            "pieces": list(self.pieces),
            "dtype": self.dtype,
            "shape": list(self.shape),
            "bytes": self.nbytes,
            "count": self.tensors,
            "numbers": list(self.numbers),
            "shards": [number for run in self.shards for number in run],
        }


@record
class TensorTable:
    """All tensors, the largest kinds first; ``names`` are those of the rows."""

    shards: tuple[str, ...]
    kinds: tuple[TensorKind, ...]
    names: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """A JSON object, as in the part ``tensors`` of ``schemas/page.json``."""
        return {"shards": list(self.shards), "kinds": [kind.to_json() for kind in self.kinds]}


def tensor_table(tensors: Iterable[TensorRef]) -> TensorTable:
    """The table of these tensors."""
    places: dict[str, int] = {}
    grouped: dict[tuple[tuple[str, ...], str, tuple[int, ...], int], list[tuple[str, tuple[int, ...], int]]] = {}
    for tensor in tensors:
        pieces, numbers = split(tensor.name)
        shard = places.setdefault(tensor.shard, len(places))
        key = (pieces, tensor.dtype, tensor.shape, tensor.nbytes)
        grouped.setdefault(key, []).append((tensor.name, numbers, shard))
    kinds, names = [], []
    for (pieces, dtype, shape, nbytes), members in sorted(grouped.items(), key=lambda item: -item[0][3]):
        flat = tuple(number for _, numbers, _ in members for number in numbers)
        runs = _runs([shard for _, _, shard in members])
        kinds.append(TensorKind(pieces, dtype, shape, nbytes, len(members), flat, runs))
        names += [name for name, _, _ in members]
    return TensorTable(tuple(places), tuple(kinds), tuple(names))


def split(name: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The pieces of a name and the numbers between them; put together they are the name again.

    >>> split("model.layers.17.mlp.experts.3.up_proj.weight")
    (('model.layers.', '.mlp.experts.', '.up_proj.weight'), (17, 3))
    >>> split("layers.007.x"), split("7")
    ((('layers.007.x',), ()), (('', ''), (7,)))
    """
    owner, dot, last = name.rpartition(".")
    pieces, numbers = _split(owner)
    if _is_number(last):
        return (*pieces[:-1], f"{pieces[-1]}{dot}", ""), (*numbers, int(last))
    return (*pieces[:-1], f"{pieces[-1]}{dot}{last}"), numbers


@lru_cache(maxsize=1 << 15)
def _split(owner: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    pieces, numbers = [""], []
    for place, part in enumerate(owner.split(".")):
        dot = "." if place else ""
        if _is_number(part):
            pieces[-1] += dot
            pieces.append("")
            numbers.append(int(part))
        else:
            pieces[-1] += f"{dot}{part}"
    return tuple(pieces), tuple(numbers)


def _is_number(part: str) -> bool:
    """Whether a part is a number that is written back as it was."""
    return part.isascii() and part.isdigit() and len(part) <= _LONGEST and (part == "0" or part[0] != "0")


def _runs(values: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Equal neighbours counted: [4, 4, 5] -> ((4, 2), (5, 1))."""
    found: list[tuple[int, int]] = []
    for value in values:
        if found and found[-1][0] == value:
            found[-1] = (value, found[-1][1] + 1)
        else:
            found.append((value, 1))
    return tuple(found)
